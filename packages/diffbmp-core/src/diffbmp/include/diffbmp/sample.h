// One bilinear sample and its derivatives, on numbers or on vectors of numbers (V needs + - * only).
#pragma once

#include "diffbmp/qualifiers.h"

namespace diffbmp {

template <class V>
struct Sample {
  V value, dx, dy;  // the interpolated texel and its derivatives by texel column and texel line
};

// corners: top left, bottom left, top right, bottom right; fx and fy in [0, 1): the position between them.
template <class V>
DIFFBMP_FN V bilinear_value(V top_left, V bottom_left, V top_right, V bottom_right, V fx, V fy) {
  const V left = top_left + fy * (bottom_left - top_left);
  const V right = top_right + fy * (bottom_right - top_right);
  return left + fx * (right - left);
}

template <class V>
DIFFBMP_FN Sample<V> bilinear(V top_left, V bottom_left, V top_right, V bottom_right, V fx, V fy) {
  const V down_left = bottom_left - top_left, down_right = bottom_right - top_right;
  const V left = top_left + fy * down_left, right = top_right + fy * down_right;
  const V across = right - left;
  return {left + fx * across, across, down_left + fx * (down_right - down_left)};
}

}  // namespace diffbmp
