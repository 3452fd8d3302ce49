// Where one sprite in one tile reads its texture: the cells of all its pixels, found before any of them is read.
//
//   tile     |.......................|   kTileWidth pixels and a margin that the last group of a row may run into
//   row      |....[======span=====]..|   exactly the pixels in the texture's support
//   groups   |....[  0  ][  1  ][ 2 ]|   as many pixels as a vector has lanes; the last of a row may be partial
//
// Finding the cells ahead keeps the long way from a position to an address out of the loop that waits for memory, and
// makes of rows of all lengths one even run of groups.
//
// Float positions are in fixed point relative to the row's first texel (FixedSteps), so that their error stays near
// 1e-6 of a texel wherever the sprite and however large the canvas; whole texel and fraction are a shift and a mask.
// In a row that comes within rounding of the edge of the support, every lane is tested by itself in double precision.
#pragma once

#include "rows.h"

namespace diffbmp {
namespace {

template <class Real>
constexpr int kMostGroups = kTileHeight * (kTileWidth / kLanes<Real> + 1);

// One cell a lane: the texel at its upper left, relative to texel (0, 0) of the level, and the fraction. A lane that is
// past the end of its row or outside the support has the corner of the level's border, and the fraction zero: what it
// reads is the border, which is zero, and so are the differences that its derivatives are made of. One group more than
// there are may be read.
template <class Real>
struct Cells {
  alignas(64) int32_t index[kMostGroups<Real> + 1][kLanes<Real>];
  Vec<Real> x[kMostGroups<Real> + 1], y[kMostGroups<Real> + 1];
};

template <class Real>
DIFFBMP_INLINE int32_t blank_cell(const LevelPlan<Real>& level, int channels) {
  return -int32_t(level.stride) - channels;
}

// Where the groups of a sprite are: place of the first pixel in the tile's arrays, and its column and row on the canvas
// relative to the sprite's origin.
template <class Real>
struct GroupPlaces {
  int32_t* at;
  Real *column, *row;  // or null where nobody asks
};

template <class Real, int kChannels, Lookup kLookup>
struct Footprints {
  static constexpr bool kNearest = kLookup == Lookup::kNearestTexel;
  static constexpr bool kFixed = sizeof(Real) == 4 && kLookup != Lookup::kTrilinear;

  int groups = 0;
  Cells<Real> fine;
  Cells<Real> coarse[kLookup == Lookup::kTrilinear ? 1 : 0];

  // Finds the cells of `s` in the tile; `places` has room for kMostGroups.
  template <bool kAll>
  DIFFBMP_INLINE void find(const SpritePlan<Real>& s, const TileArea& area, const GroupPlaces<Real>& places) {
    constexpr int kN = kLanes<Real>;
    const int top = larger(s.top, area.top), bottom = smaller(s.bottom, area.top + area.height);
    const int left = larger(s.left, area.left), right = smaller(s.right, area.left + area.width);
    // Further than the margin from the edge of the support, no rounding can lead across it. The nearest texel is the
    // one that x + 1/2 lies in.
    const Rows rows(s, top, bottom, left, right, kFixed && s.steps.bits > 0 ? 1e-3 : 1e300, kNearest ? 0.5 : 0.0,
                    double(1 << s.steps.bits));
    const FixedWalk walk(s);
    for (int n = 0; n < bottom - top; ++n) {
      const int count = rows.count[n];
      if (count <= 0) continue;
      int32_t at = (top + n - area.top) * kTileStride + rows.begin[n] - area.left;
      Real column = Real(rows.begin[n] - s.origin_x);
      const Real row = Real(top + n - s.origin_y);
      const int first = groups;
      bool clear = false;
      if constexpr (kFixed) {
        clear = rows.clear[n];
        const int32_t corner = rows.line[n] * int32_t(s.level.stride) + rows.column[n] * kChannels;
        if (clear) locate_fixed(walk, corner, rows.fixed_x[n], rows.fixed_y[n], count);
      }
      if (!clear) locate_tested(s, rows.x[n], rows.y[n], count);
      for (int g = first; g < groups; ++g, at += kN) {
        places.at[g] = at;
        if constexpr (kAll) {
          places.column[g] = column;
          places.row[g] = row;
          column += Real(kN);
        }
      }
    }
    memset(fine.index[groups], 0, sizeof fine.index[groups]);
    places.at[groups] = 0;
  }

 private:
  // What locate_fixed needs of a sprite, held in registers from row to row.
  struct FixedWalk {
    Ints<float> lanes_x, lanes_y, step_x, step_y, stride, mask, blank;
    Vec<float> unit;
    int bits;

    DIFFBMP_INLINE explicit FixedWalk(const SpritePlan<Real>& s)
        : step_x(splat_int(s.steps.x[kLanes<float>])),
          step_y(splat_int(s.steps.y[kLanes<float>])),
          stride(splat_int(int32_t(s.level.stride))),
          mask(splat_int((1 << s.steps.bits) - 1)),
          blank(splat_int(blank_cell(s.level, kChannels))),
          unit(splat(s.steps.unit)),
          bits(s.steps.bits) {
      memcpy(&lanes_x, s.steps.x, sizeof lanes_x);
      memcpy(&lanes_y, s.steps.y, sizeof lanes_y);
    }
  };

  DIFFBMP_INLINE void locate_fixed(const FixedWalk& walk, int32_t first, int32_t fixed_x, int32_t fixed_y, int count) {
    constexpr int kN = kLanes<float>;
    const Ints<float> corner = splat_int(first);
    Ints<float> x = walk.lanes_x + fixed_x, y = walk.lanes_y + fixed_y;
    int g = groups;
    auto put = [&](Ints<float> index, Ints<float> part_x, Ints<float> part_y) __attribute__((always_inline)) {
      memcpy(fine.index[g], &index, sizeof index);
      fine.x[g] = __builtin_convertvector(part_x, Vec<float>) * walk.unit;
      fine.y[g] = __builtin_convertvector(part_y, Vec<float>) * walk.unit;
      ++g;
    };
    auto index_at = [&] { return (y >> walk.bits) * walk.stride + (x >> walk.bits) * kChannels + corner; };
    for (; count >= kN; count -= kN, x += walk.step_x, y += walk.step_y) put(index_at(), x & walk.mask, y & walk.mask);
    if (count > 0) {
      const Mask<float> inside = to_ints<float>(lane_numbers<float>()) < splat_int(count);
      put(inside ? index_at() : walk.blank, x & walk.mask & inside, y & walk.mask & inside);
    }
    groups = g;
  }

  __attribute__((noinline)) void locate_tested(const SpritePlan<Real>& s, double x, double y, int count) {
    constexpr int kN = kLanes<Real>;
    const double step_x = s.map.xj, step_y = s.map.yj;
    test_lanes<kNearest>(s.level, x, y, step_x, step_y, count, fine);
    if constexpr (kLookup == Lookup::kTrilinear)
      test_lanes<false>(s.coarser, (x + 0.5) * s.scale_x - 0.5, (y + 0.5) * s.scale_y - 0.5, step_x * s.scale_x,
                        step_y * s.scale_y, count, coarse[0]);
    groups += (count + kN - 1) / kN;
  }

  template <bool kFromZero>
  DIFFBMP_INLINE void test_lanes(const LevelPlan<Real>& level, double x, double y, double step_x, double step_y,
                                 int count, Cells<Real>& cells) {
    constexpr int kN = kLanes<Real>, kLow = kFromZero ? 0 : -1;
    for (int j = 0; j < (count + kN - 1) / kN * kN; ++j) {
      const double at_x = x + j * step_x, at_y = y + j * step_y;
      const double column = floor_of(at_x), line = floor_of(at_y);
      const bool is_inside =
          j < count && column >= kLow && column < level.width && line >= kLow && line < level.height;
      const int g = groups + j / kN, l = j % kN;
      cells.x[g][l] = is_inside ? Real(at_x - column) : Real(0);
      cells.y[g][l] = is_inside ? Real(at_y - line) : Real(0);
      cells.index[g][l] = is_inside ? int32_t(int64_t(line) * level.stride + int64_t(column) * kChannels)
                                       : blank_cell(level, kChannels);
    }
  }
};

}  // namespace
}  // namespace diffbmp
