// What is worked out once for a call: where each sprite's texels are, which pixels it can touch, and which tiles.
//
//   sprite   one SpritePlan: an affine map from pixels to texels in double precision, a box of pixels, constants
//   tile     kTileWidth x kTileHeight pixels of one canvas, the unit of work of a thread
//   entry    one sprite in one tile. Tile t owns entries tile_begin[t] .. tile_begin[t + 1], in painting order;
//            an entry names the sprite and the slot where the sprite's share of the gradient from this tile goes.
//            Sprite k owns slots slot_begin[k] .. slot_begin[k + 1], in tile order: sums over slots have one order,
//            whoever fills them and when.
#pragma once

#include <cstdint>
#include <vector>

#include "diffbmp/codes.h"
#include "diffbmp/span.h"
#include "memory.h"

namespace diffbmp {

constexpr int kTileWidth = 128;
constexpr int kTileHeight = 16;

constexpr int kMostLanes = 8;  // of the widest vectors that the kernels are compiled for

// The tensors of one call, as CompositeInputs describes them.
template <class Real>
struct Inputs {
  const Real *frame, *opacity, *color, *color_blend, *texels;
  const int64_t *texture, *levels, *textures;
  int64_t batch, count, level_count;
  int height, width;
  Blend blend;
  Filter filter;
};

template <class Real>
struct LevelPlan {
  const Real* texels;  // texel (0, 0), past the border
  int width, height;
  int64_t stride;  // values from one row to the next
};

// Steps along a row in fixed point, for texel positions that are relative to a row's first texel: lanes 0 to kMostLanes.
struct FixedSteps {
  int bits;    // of fraction; 0 where rows are too long or too coarse for it
  float unit;  // what the lowest bit is worth
  int32_t x[kMostLanes + 1], y[kMostLanes + 1];
};

// Where a level is not zero: bounds of columns, rows, their sums and their differences, an octagon about whatever the
// texture shows. Pixels that only see zeros add nothing to the image nor to any gradient but that of the texels, and
// round or ragged stamps have many.
struct Extent {
  int low[4], high[4];  // of x, y, x + y, x - y; texels, inclusive
};

template <class Real>
struct SpritePlan {
  TexelMap<double> map;  // from pixel (column, row) to texels of `level`; pixel centres are accounted for
  double inverse_xj, inverse_yj;
  Support<double> sx, sy;        // what is not zero, within the level's own support
  bool has_corners_cut;          // whether the next two cut anything off these
  double inverse_sum_j, inverse_difference_j;
  Support<double> sum, difference;  // bounds of x + y and x - y
  int left, right, top, bottom;  // the box of pixels, right and bottom exclusive; empty where nothing is drawn
  int origin_x, origin_y;        // the pixel that moments are taken about
  LevelPlan<Real> level;
  LevelPlan<Real> coarser;  // trilinear only
  Real weight;              // of `coarser`
  double scale_x, scale_y;  // texels of `coarser` per texel of `level`
  int64_t level_row;  // of `level` in Inputs::levels; -1 where nothing is drawn
  int channels;
  Real opacity, mu, color[3];
  FixedSteps steps;
};

struct Entry {
  uint32_t sprite;  // of its canvas
  int64_t slot;
};

template <class Real>
struct Plan {
  Inputs<Real> inputs;
  int tiles_x, tiles_y;
  LargeVector<SpritePlan<Real>> sprites;  // (batch, count)
  LargeVector<int64_t> slot_begin;        // batch * count + 1
  LargeVector<int64_t> tile_begin;        // tiles + 1
  LargeVector<Entry> entries;
  LargeVector<int32_t> order;  // tiles, the most expensive first

  int64_t tiles() const { return inputs.batch * tiles_x * tiles_y; }
};

class Pool;

// `whole`: keep pixels that only see zeros too, as the gradient of the texels needs.
template <class Real>
void make_plan(const Inputs<Real>& inputs, bool whole, Plan<Real>& plan, Pool& pool, int threads);

}  // namespace diffbmp
