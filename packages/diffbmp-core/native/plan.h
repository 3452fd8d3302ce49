// What is worked out once a call, before any pixel: sprites made ready, the textures that they use, tile lists.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "diffbmp/frame.h"

namespace diffbmp {

// The canvas is cut into tiles; a thread owns a tile from its first sprite to its last. A tile's buffers (colour,
// transmittance, image gradient) stay in the first-level cache, and its rows are long enough for whole vectors.
constexpr int tile_width = 64;
constexpr int tile_height = 16;

enum class Blend { over, add };
enum class Filter { mipmap, trilinear, bilinear, nearest_texel };

// One call of the operator; pointers to the caller's contiguous arrays (shapes: CompositeInputs in renderer.py).
struct Call {
  int64_t batch, count, height, width;
  const float *frame, *opacity, *color, *color_blend, *texels;
  const int64_t *texture, *levels, *textures;
  int64_t texel_count, level_count, texture_count;
  Blend blend;
  Filter filter;
  int threads;
  bool whole;  // visit pairs that show nothing too: their texels have a gradient all the same
};

// An octagon around the texels of a level that are not zero: bounds of column, line, column + line, column - line.
struct Content {
  int least[4] = {1, 1, 1, 1}, most[4] = {0, 0, 0, 0};  // least > most: nothing there

  void add(int column, int line) {
    const int values[4] = {column, line, column + line, column - line};
    const bool first = least[0] > most[0];
    for (int k = 0; k < 4; ++k) {
      if (first || values[k] < least[k]) least[k] = values[k];
      if (first || values[k] > most[k]) most[k] = values[k];
    }
  }
};

// A mip level laid out for fetching, with two texels of border: the caller's own and a ring of zeros, so that a
// sample which rounding puts just outside still reads memory that is there. Texels are RGBA, or, alpha-only, the
// pair (this row, next row), which makes the 2 x 2 neighbourhood of a sample 16 contiguous bytes.
struct Level {
  std::unique_ptr<float[]> texels;  // that of (column -2, line -2) first
  int width = 0, height = 0;
  int stride = 0;        // floats from one line to the next
  int channels = 0;
  int64_t offset = 0;    // of the level in the caller's texels
  Content content;
};

// Where a sprite crosses a row: columns between two pairs of lines, each bound affine in the row.
struct Span {
  double low, high, slope;  // columns low + slope * row to high + slope * row
  bool parallel;            // the edges run along the row: bounds are then those of `across`
  double origin, down;      // coordinate on row i: origin + down * i, compared with [least, most]
  double least, most;
};

struct Sprite {
  Inverse inverse;
  TexelMap map;  // of `level`
  Span spans[4];               // between the texture's edges, and between the slanted sides of its content
  int span_count;
  double top, bottom;          // canvas y that the sprite lies between
  const Level* level;
  const Level* coarser;        // trilinear only, else null
  float coarser_weight;        // of `coarser`; `level` has the rest
  bool detail_varies;          // whether lambda is inside the chain, so that it has a gradient
  float opacity, tint[3], mu;  // tint: (1 - mu) colour
  bool drawn;
};

// Tile lists of one canvas: the entries of tile t, back to front, are [first[t], first[t + 1]).
struct Tiles {
  int across = 0, down = 0;
  std::vector<int64_t> first;
  std::vector<int32_t> sprites;
  std::vector<int32_t> order;  // tiles, the fullest first
};

struct Plan {
  std::vector<Level> levels;    // packed, one for each level that some sprite uses (others are empty)
  std::vector<Sprite> sprites;  // batch * count
  std::vector<Tiles> tiles;     // one a canvas
};

Plan make_plan(const Call& call);

// Run job(k) for k in [0, count) on `threads` threads; which thread runs which is left to chance.
template <class Job>
void parallel(int64_t count, int threads, const Job& job);

}  // namespace diffbmp

#include "parallel.h"
