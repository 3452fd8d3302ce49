// The few things that differ between a card and a build of the same sources for the host, which the tests run.
//
// A host build is given a header before this one, which defines DIFFBMP_ON_HOST, CUDA's own names (threadIdx,
// __syncthreads, __shfl_xor_sync, ...) and arrays in shared memory that check every access. So that they can, elements
// of shared arrays are only ever read whole (`const T value = array[i]`) or written whole (`array[i] = value`).
#pragma once

#include "diffbmp/base.h"

// `blocks`: how many are to fit on a multiprocessor at least. Named for every kernel, since without it the assembler
// aims so high on some cards that it spills.
#define DIFFBMP_KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)

#ifndef DIFFBMP_ON_HOST
#define DIFFBMP_SHARED(T, name, count) __shared__ T name[count]
#endif

namespace diffbmp {

#ifndef DIFFBMP_ON_HOST
template <class T>
using Shared = T*;

__device__ __forceinline__ float half_to_float(unsigned short bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
#endif

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kLanes = 32;

DIFFBMP_INLINE int clamped(int value, int low, int high) { return larger(low, smaller(value, high)); }

}  // namespace diffbmp
