// Which pixels a texture touches. Its support is -1 <= x < w, -1 <= y < h in texels of the level that is read (0 at
// the centre of the first texel): half a texel beyond [-1, 1]^2 on every side, corners and all.
#pragma once

#include "diffbmp/base.h"

namespace diffbmp {

// Position in a texture of the pixel at column j, row i: x = x0 + xj j + xi i, y = y0 + yj j + yi i.
template <class T>
struct TexelMap {
  T xj, xi, x0;
  T yj, yi, y0;
};

// Support along one axis: low <= x < high.
template <class T>
struct Support {
  T low, high;
};

struct Columns {
  int begin, end;
};

// Narrows [begin, end) to the columns j where low <= start + step j < high. Safe for any finite start and step: what
// does not fit an int is cut to [begin, end) before it is converted.
template <class T>
DIFFBMP_INLINE void clip_columns(T start, T step, T inverse_step, Support<T> support, T& begin, T& end) {
  if (step == T(0)) {
    if (!(start >= support.low && start < support.high)) end = begin;
    return;
  }
  const T at_low = (support.low - start) * inverse_step, at_high = (support.high - start) * inverse_step;
  if (step > T(0)) {  // j >= at_low, j < at_high
    begin = larger(begin, -floor_of(-at_low));
    end = smaller(end, -floor_of(-at_high));
  } else {  // j > at_high, j <= at_low
    begin = larger(begin, floor_of(at_high) + T(1));
    end = smaller(end, floor_of(at_low) + T(1));
  }
}

// Columns in [begin, end) of a row that starts (at column 0) at texel (x, y).
template <class T>
DIFFBMP_INLINE Columns row_span(T x, T y, T xj, T yj, T inverse_xj, T inverse_yj, Support<T> sx, Support<T> sy,
                                int begin, int end) {
  T first = T(begin), last = T(end);
  clip_columns(x, xj, inverse_xj, sx, first, last);
  clip_columns(y, yj, inverse_yj, sy, first, last);
  if (!(first < last)) return {begin, begin};
  return {int(first), int(last)};
}

// Half extent on the canvas of the parallelogram |u| <= su, |v| <= sv under a row (a, b) of A.
template <class T>
DIFFBMP_INLINE T half_extent(T a, T b, T su, T sv) {
  return absolute(a) * su + absolute(b) * sv;
}

}  // namespace diffbmp
