// What every header here stands on: how a function is declared, and the few functions of mathematics that are needed.
//
// Freestanding: no standard library. The headers compile with GCC and Clang for any host, with nvcc, and with NVRTC,
// where functions are callable from host and device alike.
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define DIFFBMP_INLINE __host__ __device__ __forceinline__
#else
#define DIFFBMP_INLINE inline __attribute__((always_inline))
#endif

namespace diffbmp {

// Under CUDA the compiler declares these itself; elsewhere they are the compiler's builtins.
#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
DIFFBMP_INLINE float floor_of(float x) { return ::floorf(x); }
DIFFBMP_INLINE double floor_of(double x) { return ::floor(x); }
DIFFBMP_INLINE float sqrt_of(float x) { return ::sqrtf(x); }
DIFFBMP_INLINE double sqrt_of(double x) { return ::sqrt(x); }
DIFFBMP_INLINE float log2_of(float x) { return ::log2f(x); }
DIFFBMP_INLINE double log2_of(double x) { return ::log2(x); }
#else
DIFFBMP_INLINE float floor_of(float x) { return __builtin_floorf(x); }
DIFFBMP_INLINE double floor_of(double x) { return __builtin_floor(x); }
DIFFBMP_INLINE float sqrt_of(float x) { return __builtin_sqrtf(x); }
DIFFBMP_INLINE double sqrt_of(double x) { return __builtin_sqrt(x); }
DIFFBMP_INLINE float log2_of(float x) { return __builtin_log2f(x); }
DIFFBMP_INLINE double log2_of(double x) { return __builtin_log2(x); }
#endif

template <class T>
DIFFBMP_INLINE T smaller(T a, T b) {
  return b < a ? b : a;
}

template <class T>
DIFFBMP_INLINE T larger(T a, T b) {
  return a < b ? b : a;
}

template <class T>
DIFFBMP_INLINE T absolute(T a) {
  return a < T(0) ? -a : a;
}

// False for an infinity or a NaN, whatever -ffast-math has to say.
template <class T>
DIFFBMP_INLINE bool is_finite(T a) {
  return a - a == T(0);
}

}  // namespace diffbmp
