// What the headers of this folder need of a compiler, and nothing of a standard library: they are included by the
// CPU kernel (GCC, Clang, MSVC) and by CUDA kernels that NVRTC compiles at run time.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define DIFFBMP_FN __host__ __device__ __forceinline__
#elif defined(__GNUC__) || defined(__clang__)
#define DIFFBMP_FN inline __attribute__((always_inline))
#else
#define DIFFBMP_FN inline
#endif
