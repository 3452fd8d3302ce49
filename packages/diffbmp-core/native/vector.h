// Vectors of the compiler's own kind, as wide as the target that this file is compiled for, and the few operations
// that need to know the target: floor, and reading the 2 x 2 texels that bilinear interpolation wants.
#pragma once

#include <stdint.h>
#include <string.h>

#include "diffbmp/base.h"

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace diffbmp {
namespace {  // compiled once per target: nothing here may be shared between objects

#if defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class Real>
struct VectorOf;

template <>
struct VectorOf<float> {
  typedef float V __attribute__((vector_size(kVectorBytes)));
  typedef int32_t M __attribute__((vector_size(kVectorBytes)));  // of comparisons
  typedef int32_t I __attribute__((vector_size(kVectorBytes)));
};

template <>
struct VectorOf<double> {
  typedef double V __attribute__((vector_size(kVectorBytes)));
  typedef int64_t M __attribute__((vector_size(kVectorBytes)));
  typedef int32_t I __attribute__((vector_size(kVectorBytes / 2)));
};

template <class Real>
using Vec = typename VectorOf<Real>::V;
template <class Real>
using Mask = typename VectorOf<Real>::M;
template <class Real>
using Ints = typename VectorOf<Real>::I;
template <class Real>
constexpr int kLanes = kVectorBytes / int(sizeof(Real));

template <class Real>
DIFFBMP_INLINE Vec<Real> load(const Real* from) {
  Vec<Real> v;
  memcpy(&v, from, sizeof v);
  return v;
}

template <class Real>
DIFFBMP_INLINE void store(Real* to, Vec<Real> v) {
  memcpy(to, &v, sizeof v);
}

template <class Real>
DIFFBMP_INLINE Vec<Real> splat(Real value) {
  return value - Vec<Real>{};  // -0.0 stays -0.0; nothing is known about the lanes that could keep it from a broadcast
}

template <class Real>
DIFFBMP_INLINE Vec<Real> lane_numbers() {
  Vec<Real> v;
  for (int l = 0; l < kLanes<Real>; ++l) v[l] = Real(l);
  return v;
}

template <class Real>
DIFFBMP_INLINE Real lane_sum(Vec<Real> v) {
  Real sums[kLanes<Real>];
  memcpy(sums, &v, sizeof v);
  for (int n = kLanes<Real> / 2; n > 0; n /= 2)
    for (int l = 0; l < n; ++l) sums[l] += sums[l + n];
  return sums[0];
}

template <class Real>
DIFFBMP_INLINE bool any(Mask<Real> m) {
#if defined(__AVX__)
  return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#elif defined(__SSE2__)
  return _mm_movemask_epi8((__m128i)m) != 0;
#else
  typedef int64_t Wide __attribute__((vector_size(16)));
  const Wide w = (Wide)m;
  return (w[0] | w[1]) != 0;
#endif
}

// Towards minus infinity; for magnitudes under 2^31.
DIFFBMP_INLINE Vec<float> floor_lanes(Vec<float> x) {
#if defined(__AVX__)
  return (Vec<float>)_mm256_floor_ps((__m256)x);
#elif defined(__aarch64__)
  return (Vec<float>)vrndmq_f32((float32x4_t)x);
#else
  const Vec<float> whole = __builtin_convertvector(__builtin_convertvector(x, Ints<float>), Vec<float>);
  return whole - (whole > x ? splat(1.0f) : Vec<float>{});
#endif
}

DIFFBMP_INLINE Vec<double> floor_lanes(Vec<double> x) {
#if defined(__AVX__)
  return (Vec<double>)_mm256_floor_pd((__m256d)x);
#elif defined(__aarch64__)
  return (Vec<double>)vrndmq_f64((float64x2_t)x);
#else
  Vec<double> whole;
  for (int l = 0; l < kLanes<double>; ++l) whole[l] = double(int32_t(x[l]));
  return whole - (whole > x ? splat(1.0) : Vec<double>{});
#endif
}

template <class Real>
DIFFBMP_INLINE Ints<Real> to_ints(Vec<Real> x) {
  return __builtin_convertvector(x, Ints<Real>);
}

DIFFBMP_INLINE Ints<float> splat_int(int32_t value) { return value - Ints<float>{}; }

// One value per lane, from consecutive addresses at[index].
template <class Real>
DIFFBMP_INLINE Vec<Real> gather(const Real* at, const int32_t* index) {
  Vec<Real> v;
  for (int l = 0; l < kLanes<Real>; ++l) v[l] = at[index[l]];
  return v;
}

// Of each lane the 2 x 2 values at[index], at[index + 1], below[index], below[index + 1].
template <class Real>
DIFFBMP_INLINE void gather_cell(const Real* at, const Real* below, const int32_t* index, Vec<Real>& t00, Vec<Real>& t10,
                                Vec<Real>& t01, Vec<Real>& t11) {
  t00 = gather(at, index);
  t10 = gather(at + 1, index);
  t01 = gather(below, index);
  t11 = gather(below + 1, index);
}

#if defined(__AVX2__)
// One 64-bit load a lane and row instead of two of 32 bits, and half as many shuffles as a gather does.
DIFFBMP_INLINE void cell_of_eight(const float* at, const float* below, const int32_t* index, __m256& t00, __m256& t10,
                                  __m256& t01, __m256& t11) {
  __m128 upper[4], lower[4];
  for (int l = 0; l < 8; l += 2) {
    const int64_t first = index[l], second = index[l + 1];
    upper[l / 2] = _mm_loadh_pi(_mm_castpd_ps(_mm_load_sd((const double*)(at + first))), (const __m64*)(at + second));
    lower[l / 2] =
        _mm_loadh_pi(_mm_castpd_ps(_mm_load_sd((const double*)(below + first))), (const __m64*)(below + second));
  }
  const __m256 upper_even = _mm256_insertf128_ps(_mm256_castps128_ps256(upper[0]), upper[2], 1);
  const __m256 upper_odd = _mm256_insertf128_ps(_mm256_castps128_ps256(upper[1]), upper[3], 1);
  const __m256 lower_even = _mm256_insertf128_ps(_mm256_castps128_ps256(lower[0]), lower[2], 1);
  const __m256 lower_odd = _mm256_insertf128_ps(_mm256_castps128_ps256(lower[1]), lower[3], 1);
  t00 = _mm256_shuffle_ps(upper_even, upper_odd, 0x88);
  t10 = _mm256_shuffle_ps(upper_even, upper_odd, 0xdd);
  t01 = _mm256_shuffle_ps(lower_even, lower_odd, 0x88);
  t11 = _mm256_shuffle_ps(lower_even, lower_odd, 0xdd);
}

template <>
DIFFBMP_INLINE void gather_cell<float>(const float* at, const float* below, const int32_t* index, Vec<float>& t00,
                                       Vec<float>& t10, Vec<float>& t01, Vec<float>& t11) {
  __m256 a, b, c, d;
  cell_of_eight(at, below, index, a, b, c, d);
  t00 = (Vec<float>)a;
  t10 = (Vec<float>)b;
  t01 = (Vec<float>)c;
  t11 = (Vec<float>)d;
}
#endif

// The four values at[index] .. at[index + 3] per lane: one texel of a colour texture.
template <class Real>
DIFFBMP_INLINE void gather_texel(const Real* at, const int32_t* index, Vec<Real>* rgba) {
#if defined(__AVX2__)
  if constexpr (sizeof(Real) == 4) {
    // Four texels as rows are turned into four channels as rows.
    for (int block = 0; block < kLanes<Real> / 4; ++block) {
      const int32_t* i = index + 4 * block;
      __m128 a = _mm_loadu_ps(at + i[0]), b = _mm_loadu_ps(at + i[1]);
      __m128 c = _mm_loadu_ps(at + i[2]), d = _mm_loadu_ps(at + i[3]);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      memcpy((char*)&rgba[0] + 16 * block, &a, 16);
      memcpy((char*)&rgba[1] + 16 * block, &b, 16);
      memcpy((char*)&rgba[2] + 16 * block, &c, 16);
      memcpy((char*)&rgba[3] + 16 * block, &d, 16);
    }
    return;
  }
#endif
  for (int c = 0; c < 4; ++c) rgba[c] = gather(at + c, index);
}

}  // namespace
}  // namespace diffbmp
