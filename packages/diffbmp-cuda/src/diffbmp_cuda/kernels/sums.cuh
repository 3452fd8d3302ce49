// Sums over a sprite's pixels: over a warp by shuffles, and over tiles in global memory, exactly.
//
// The sum over tiles is taken in integers wide enough for every float: 9 words of 32 bits (each in 64, so that 2^31
// additions cannot overflow it), the first worth 2^-149. Nothing is rounded, so whichever tile comes first, the sum
// has the same bits, and it needs no slot for every pair of tile and sprite (U. Kulisch, "Very fast and exact
// accumulation of products", 2011, describes such accumulators).
#pragma once

#include "scene.cuh"

namespace diffbmp {

// What is summed. X and Y are dL/dx and dL/dy at a texel position; columns and rows are relative to the sprite's
// origin. Every sum but that of opacity is still to be multiplied by the opacity.
enum Part {
  kOpacity, kRed, kGreen, kBlue, kColorBlend, kX, kY, kXColumn, kXRow, kYColumn, kYRow, kLambda, kParts
};
constexpr int kPaddedParts = 16;

constexpr int kWords = 9;
constexpr int kAccumulator = kWords + 1;  // 64-bit numbers for each part; the last counts NaN and infinities

// One step of what follows: lanes whose numbers differ by 2 kHalf share the work.
template <int kHalf>
__device__ __forceinline__ void halve_sums(float (&values)[kPaddedParts]) {
  const bool upper = (int(threadIdx.x) & (2 * kHalf)) != 0;
#pragma unroll
  for (int n = 0; n < kHalf; ++n) {
    const float sent = upper ? values[n] : values[n + kHalf], kept = upper ? values[n + kHalf] : values[n];
    values[n] = kept + __shfl_xor_sync(kWholeWarp, sent, 2 * kHalf);
  }
}

// Adds each of 16 values over the lanes of a warp, in 16 shuffles: each step halves the values a lane has and the
// lanes that a value is spread over. Returns the sum of value number lane / 2.
__device__ __forceinline__ float warp_sums(float (&values)[kPaddedParts]) {
  halve_sums<8>(values);
  halve_sums<4>(values);
  halve_sums<2>(values);
  halve_sums<1>(values);
  return values[0] + __shfl_xor_sync(kWholeWarp, values[0], 1);
}

__device__ __forceinline__ void add_integer(long long* sum, long long value) {
  if (value != 0) atomicAdd((unsigned long long*)sum, (unsigned long long)value);
}

// Adds `value` to the accumulator whose words are `stride` apart.
__device__ __forceinline__ void add_exactly(long long* words, int stride, float value) {
  const unsigned bits = __float_as_uint(value);
  const int exponent = int(bits >> 23 & 255u);
  if (exponent == 255) {
    add_integer(words + kWords * stride, 1);
    return;
  }
  const unsigned mantissa = (bits & 0x7fffffu) | (exponent != 0 ? 0x800000u : 0u);
  const int position = exponent != 0 ? exponent - 1 : 0;
  const long long shifted = (long long)(mantissa) << (position % 32);
  const long long low = shifted & 0xffffffffll, high = shifted >> 32;
  const bool negative = bits >> 31 != 0;
  long long* word = words + position / 32 * stride;
  add_integer(word, negative ? -low : low);
  add_integer(word + stride, negative ? -high : high);
}

// The sum as a double, rounded as a double rounds.
__device__ __forceinline__ double exact_sum(const long long* words, int stride) {
  if (words[kWords * stride] != 0) return __longlong_as_double(0x7ff8000000000000ll);
  long long digits[kWords], carry = 0;
  for (int n = 0; n < kWords; ++n) {
    const long long value = words[n * stride] + carry;
    digits[n] = value & 0xffffffffll;
    carry = value >> 32;
  }
  double sum = double(carry);
  for (int n = kWords - 1; n >= 0; --n) sum = sum * 4294967296.0 + double(digits[n]);
  return sum * 0x1p-149;
}

}  // namespace diffbmp
