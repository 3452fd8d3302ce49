// Vectors of floats as GCC's and Clang's vector extensions give them: the same source for SSE2, AVX2 and NEON.
#pragma once

#include <cstring>

#ifndef DIFFBMP_LANES
#error "DIFFBMP_LANES, the number of floats in a vector, comes from the build (4 or 8)."
#endif

// The inner loops are worth what they cost only when nothing in them is a call.
#define DIFFBMP_INLINE inline __attribute__((always_inline))
#define DIFFBMP_INLINE_LAMBDA __attribute__((always_inline))

namespace diffbmp {
namespace {

constexpr int lanes = DIFFBMP_LANES;

typedef float vfloat __attribute__((vector_size(4 * DIFFBMP_LANES)));
typedef int vint __attribute__((vector_size(4 * DIFFBMP_LANES)));
typedef float vfloat4 __attribute__((vector_size(16)));

DIFFBMP_INLINE vfloat load(const float* from) {
  vfloat value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
DIFFBMP_INLINE vfloat4 load4(const float* from) {
  vfloat4 value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
DIFFBMP_INLINE void store(float* to, vfloat value) { std::memcpy(to, &value, sizeof value); }

DIFFBMP_INLINE vfloat broadcast(float value) { return value - vfloat{}; }
DIFFBMP_INLINE vint truncate(vfloat value) { return __builtin_convertvector(value, vint); }
DIFFBMP_INLINE vfloat to_float(vint value) { return __builtin_convertvector(value, vfloat); }

DIFFBMP_INLINE vfloat iota() {
#if DIFFBMP_LANES == 8
  return vfloat{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return vfloat{0, 1, 2, 3};
#endif
}

// All bits set in the first `count` lanes.
DIFFBMP_INLINE vint first_lanes(int count) { return iota() < broadcast(static_cast<float>(count)); }

DIFFBMP_INLINE vfloat keep(vfloat value, vint mask) {
  vint bits;
  std::memcpy(&bits, &value, sizeof bits);
  bits &= mask;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

DIFFBMP_INLINE float sum(vfloat value) {
  float total = 0;
  for (int k = 0; k < lanes; ++k) total += value[k];
  return total;
}

DIFFBMP_INLINE vfloat maximum(vfloat a, vfloat b) { return a > b ? a : b; }

DIFFBMP_INLINE float largest(vfloat value) {
  float result = value[0];
  for (int k = 1; k < lanes; ++k) result = value[k] > result ? value[k] : result;
  return result;
}

// Numbers of a vector, one at a time. Taken out two by two: as fast as by way of memory, and no load waits for a store.
struct Lanes {
  unsigned at[lanes];
  DIFFBMP_INLINE explicit Lanes(vint value) {
    typedef unsigned long long vlong __attribute__((vector_size(4 * DIFFBMP_LANES)));
    vlong pairs;
    std::memcpy(&pairs, &value, sizeof pairs);
    for (int k = 0; k < lanes; k += 2) {
      const unsigned long long pair = pairs[k / 2];
      at[k] = static_cast<unsigned>(pair);
      at[k + 1] = static_cast<unsigned>(pair >> 32);
    }
  }
};

// Four floats of each lane become four vectors: out[c][k] = rows[k][c].
DIFFBMP_INLINE void transpose(const vfloat4* rows, vfloat* out) {
#if DIFFBMP_LANES == 8
  const auto join = [](vfloat4 low, vfloat4 high) {
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
  };
  const vfloat r0 = join(rows[0], rows[4]), r1 = join(rows[1], rows[5]);
  const vfloat r2 = join(rows[2], rows[6]), r3 = join(rows[3], rows[7]);
  const vfloat a = __builtin_shufflevector(r0, r1, 0, 8, 1, 9, 4, 12, 5, 13);
  const vfloat b = __builtin_shufflevector(r0, r1, 2, 10, 3, 11, 6, 14, 7, 15);
  const vfloat c = __builtin_shufflevector(r2, r3, 0, 8, 1, 9, 4, 12, 5, 13);
  const vfloat d = __builtin_shufflevector(r2, r3, 2, 10, 3, 11, 6, 14, 7, 15);
  out[0] = __builtin_shufflevector(a, c, 0, 1, 8, 9, 4, 5, 12, 13);
  out[1] = __builtin_shufflevector(a, c, 2, 3, 10, 11, 6, 7, 14, 15);
  out[2] = __builtin_shufflevector(b, d, 0, 1, 8, 9, 4, 5, 12, 13);
  out[3] = __builtin_shufflevector(b, d, 2, 3, 10, 11, 6, 7, 14, 15);
#else
  const vfloat a = __builtin_shufflevector(rows[0], rows[1], 0, 4, 1, 5);
  const vfloat b = __builtin_shufflevector(rows[0], rows[1], 2, 6, 3, 7);
  const vfloat c = __builtin_shufflevector(rows[2], rows[3], 0, 4, 1, 5);
  const vfloat d = __builtin_shufflevector(rows[2], rows[3], 2, 6, 3, 7);
  out[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  out[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  out[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  out[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
#endif
}

}  // namespace
}  // namespace diffbmp
