// The rows of one sprite in one tile, all worked out at once before any texel is read: where each begins and ends, and
// where in the texture it starts. A row costs a handful of vector instructions, four rows at a time.
#pragma once

#include "plan.h"
#include "vector.h"

namespace diffbmp {
namespace {

constexpr int kTileStride = kTileWidth + kMostLanes;  // the last group of a row may run over
constexpr int kTilePixels = kTileStride * kTileHeight;

static_assert(kLanes<float> <= kMostLanes, "the margin of a tile is for the widest vectors");

struct TileArea {
  int64_t canvas;
  int left, top, width, height;
};

template <class Real>
DIFFBMP_INLINE TileArea tile_area(const Plan<Real>& plan, int64_t tile) {
  const int64_t per_canvas = int64_t(plan.tiles_x) * plan.tiles_y;
  const int64_t place = tile % per_canvas;
  TileArea area;
  area.canvas = tile / per_canvas;
  area.left = int(place % plan.tiles_x) * kTileWidth;
  area.top = int(place / plan.tiles_x) * kTileHeight;
  area.width = smaller(kTileWidth, plan.inputs.width - area.left);
  area.height = smaller(kTileHeight, plan.inputs.height - area.top);
  return area;
}

typedef double Doubles __attribute__((vector_size(32)));
typedef int64_t DoubleMask __attribute__((vector_size(32)));
constexpr int kRowsAtOnce = 4;
static_assert(kTileHeight % kRowsAtOnce == 0, "rows are worked out four at a time");

DIFFBMP_INLINE Doubles floor_rows(Doubles x) {
#if defined(__AVX__)
  return (Doubles)_mm256_floor_pd((__m256d)x);
#else
  for (int l = 0; l < kRowsAtOnce; ++l) x[l] = floor_of(x[l]);
  return x;
#endif
}

DIFFBMP_INLINE Doubles splat_rows(double value) { return value - Doubles{}; }
DIFFBMP_INLINE Doubles smaller_rows(Doubles a, Doubles b) { return b < a ? b : a; }
DIFFBMP_INLINE Doubles larger_rows(Doubles a, Doubles b) { return a < b ? b : a; }

// clip_columns (span.h) for four rows: the same bounds from the same products.
DIFFBMP_INLINE void clip_rows(Doubles start, double step, double inverse_step, Support<double> support, Doubles& begin,
                              Doubles& end) {
  const Doubles low = splat_rows(support.low), high = splat_rows(support.high);
  if (step == 0.0) {
    end = (start >= low) & (start < high) ? end : begin;
    return;
  }
  const Doubles one = splat_rows(1.0), none{};
  const Doubles at_low = (low - start) * inverse_step, at_high = (high - start) * inverse_step;
  const Doubles floor_low = floor_rows(at_low), floor_high = floor_rows(at_high);
  if (step > 0.0) {
    begin = larger_rows(begin, floor_low + (floor_low < at_low ? one : none));
    end = smaller_rows(end, floor_high + (floor_high < at_high ? one : none));
  } else {
    begin = larger_rows(begin, floor_high + one);
    end = smaller_rows(end, floor_low + one);
  }
}

struct Rows {
  int begin[kTileHeight], count[kTileHeight];           // columns of the canvas
  int64_t clear[kTileHeight];                           // whether the row stays `margin` clear of the support's edge
  double x[kTileHeight], y[kTileHeight];                // texel position of the first pixel
  int32_t fixed_x[kTileHeight], fixed_y[kTileHeight];   // its fraction in units of 1 / whole; for clear rows
  int32_t column[kTileHeight], line[kTileHeight];       // and its whole part

  // `half` is added to positions: 1/2 where the texel that a position lies in is wanted, and not the cell.
  template <class Real>
  DIFFBMP_INLINE Rows(const SpritePlan<Real>& s, int top, int bottom, int left, int right, double margin, double half,
                      double whole) {
    typedef int32_t Four __attribute__((vector_size(16)));
    const Doubles low = splat_rows(half - 1.0 + margin);
    const Doubles high_x = splat_rows(s.level.width - half - margin), high_y = splat_rows(s.level.height - half - margin);
    Doubles row = {double(top), top + 1.0, top + 2.0, top + 3.0};
    for (int n = 0; n < bottom - top; n += kRowsAtOnce, row += double(kRowsAtOnce)) {
      const Doubles start_x = s.map.x0 + s.map.xi * row, start_y = s.map.y0 + s.map.yi * row;
      Doubles first = splat_rows(double(left)), end = splat_rows(double(right));
      clip_rows(start_x, s.map.xj, s.inverse_xj, s.sx, first, end);
      clip_rows(start_y, s.map.yj, s.inverse_yj, s.sy, first, end);
      if (s.has_corners_cut) {
        const double sum_j = s.map.xj + s.map.yj, difference_j = s.map.xj - s.map.yj;
        clip_rows(start_x + start_y, sum_j, s.inverse_sum_j, s.sum, first, end);
        clip_rows(start_x - start_y, difference_j, s.inverse_difference_j, s.difference, first, end);
      }
      end = larger_rows(first, end);
      first = first <= end ? first : end;  // also where neither is a number
      const Doubles span = end - first, last = span - 1.0;
      Doubles px = start_x + s.map.xj * first, py = start_y + s.map.yj * first;
      const Doubles last_x = px + s.map.xj * last, last_y = py + s.map.yj * last;
      const DoubleMask is_clear = (smaller_rows(px, last_x) > low) & (larger_rows(px, last_x) < high_x) &
                                  (smaller_rows(py, last_y) > low) & (larger_rows(py, last_y) < high_y);
      px += half;
      py += half;
      const Doubles whole_x = floor_rows(px), whole_y = floor_rows(py);
      auto put = [&](int32_t* to, Doubles value) __attribute__((always_inline)) {
        const Four ints = __builtin_convertvector(value, Four);
        memcpy(to + n, &ints, sizeof ints);
      };
      put(begin, first);
      put(count, span);
      put(column, whole_x);
      put(line, whole_y);
      put(fixed_x, (px - whole_x) * whole);
      put(fixed_y, (py - whole_y) * whole);
      memcpy(x + n, &px, sizeof px);
      memcpy(y + n, &py, sizeof py);
      memcpy(clear + n, &is_clear, sizeof is_clear);
    }
  }
};

}  // namespace
}  // namespace diffbmp
