// What the kernels agree on: how the canvas is divided, and what is known about each sprite.
//
//   tile   16 x 16 pixels, drawn by one block of 128 threads: a thread owns 2 pixels, one above the other, a warp
//          owns 16 x 4
//   bin    4 x 4 tiles. Of each bin there is one bit for every sprite of its canvas: whether it may touch the bin.
//          Bits are in order of depth, 0 the front; so a list of sprites in painting order is there without sorting.
//   chunk  the sprites that a block has in shared memory at a time, found by testing those of the bin against the tile
#pragma once

#include "diffbmp/codes.h"
#include "platform.cuh"

namespace diffbmp {

constexpr int kTile = 16;
constexpr int kTilePixels = kTile * kTile;
constexpr int kPixels = 2;
constexpr int kThreads = kTilePixels / kPixels;
constexpr int kWarps = kThreads / kLanes;
constexpr int kBin = 64;
constexpr int kChunk = 32;

// A pixel is finished once less than this much of the view is open, in value and gradient alike.
constexpr float kOpaque = 1e-6f;

// Everything that drawing needs of a sprite. `texels` are offsets of texel (0, 0) of a level, past its border.
struct Plan {
  double x0, xj, xi;  // texel position of the pixel in column j, row i: x = x0 + xj j + xi i, y alike
  double y0, yj, yi;
  long long texels, coarser_texels;
  int width, height, coarser_width, coarser_height;  // of the level that is read, and of the next (trilinear)
  int origin_x, origin_y;                            // the pixel that moments are taken about, near the centre
  int channels;
  float weight;  // of the coarser level
  float opacity, mu, color[3];
};

// Where a sprite may be seen: a box of pixels (right and bottom exclusive), and within it a parallelogram: texel
// positions relative to that of the origin.
struct Bounds {
  int left, right, top, bottom;
  float origin_x, origin_y;
  float xj, xi, yj, yi;
  float low_x, high_x, low_y, high_y;
};

static_assert(sizeof(Plan) == 120 && sizeof(Bounds) == 56, "the host allocates them by these sizes");

struct Area {
  int left, top, width, height;  // in pixels
};

// Whether a sprite may touch an area: box against box, then the area's extent along the texture's axes against the
// texture. Rounding is allowed for, so that it never says no wrongly.
__device__ __forceinline__ bool touches(const Bounds& b, const Area& area) {
  if (b.right <= area.left || b.left >= area.left + area.width) return false;
  if (b.bottom <= area.top || b.top >= area.top + area.height) return false;
  const float across = 0.5f * float(area.width - 1), down = 0.5f * float(area.height - 1);
  const float dx = float(area.left) + across - b.origin_x, dy = float(area.top) + down - b.origin_y;
  const float x_far = absolute(b.xj * dx) + absolute(b.xi * dy), y_far = absolute(b.yj * dx) + absolute(b.yi * dy);
  const float x = b.xj * dx + b.xi * dy, y = b.yj * dx + b.yi * dy;
  float reach_x = absolute(b.xj) * across + absolute(b.xi) * down;
  float reach_y = absolute(b.yj) * across + absolute(b.yi) * down;
  reach_x += 1e-3f + 1e-5f * (x_far + reach_x + absolute(b.low_x) + absolute(b.high_x));
  reach_y += 1e-3f + 1e-5f * (y_far + reach_y + absolute(b.low_y) + absolute(b.high_y));
  return x + reach_x > b.low_x && x - reach_x < b.high_x && y + reach_y > b.low_y && y - reach_y < b.high_y;
}

// The grid of tiles over the canvases of a batch.
struct Canvas {
  int width, height, count;  // pixels, and sprites on each canvas

  __device__ __forceinline__ int tiles_x() const { return (width - 1) / kTile + 1; }
  __device__ __forceinline__ int tiles_y() const { return (height - 1) / kTile + 1; }
  __device__ __forceinline__ int bins_x() const { return (width - 1) / kBin + 1; }
  __device__ __forceinline__ int bins_y() const { return (height - 1) / kBin + 1; }
  __device__ __forceinline__ int words() const { return (count - 1) / kLanes + 1; }
  __device__ __forceinline__ long long plane() const { return (long long)(width) * height; }
};

// A tile, and this thread's pixels in it.
struct Tile {
  long long canvas;
  Area area;
  long long mask;  // where the words of its bin begin
  int column, row;

  __device__ __forceinline__ Tile(const Canvas& c, int index) {
    const int per_canvas = c.tiles_x() * c.tiles_y(), place = index % per_canvas;
    canvas = index / per_canvas;
    area.left = place % c.tiles_x() * kTile;
    area.top = place / c.tiles_x() * kTile;
    area.width = smaller(kTile, c.width - area.left);
    area.height = smaller(kTile, c.height - area.top);
    const long long bin = (canvas * c.bins_y() + area.top / kBin) * c.bins_x() + area.left / kBin;
    mask = bin * c.words();
    column = int(threadIdx.x) % kTile;
    row = int(threadIdx.x) / kTile * kPixels;
  }

  __device__ __forceinline__ bool has(int pixel) const { return column < area.width && row + pixel < area.height; }
  // Number of the pixel on its canvas.
  __device__ __forceinline__ long long at(const Canvas& c, int pixel) const {
    return (long long)(area.top + row + pixel) * c.width + area.left + column;
  }
};

}  // namespace diffbmp
