// The sprites of a tile, a chunk at a time: found in the masks of the tile's bin, from the front to the back, tested
// against the tile, and laid out in shared memory as drawing wants them.
//
//   finding   each thread takes a word of the mask; the first 128 sprites found are tested, one by each thread
//   staging   each thread of the first warp works out one sprite's place in the tile, in double precision
//
// Where a chunk begins is one number, the depth of its first sprite; from it the same chunk is found again.
#pragma once

#include "scene.cuh"

namespace diffbmp {

// One level of a texture as seen from a tile. Positions are relative to the cell of the anchor, the pixel of the tile
// that is nearest to the sprite's centre: small numbers, whatever the sizes of canvas and texture.
struct StagedLevel {
  long long texels;  // offset of the anchor's cell
  float x, y;        // the anchor's place in its cell
  float low_x, high_x, low_y, high_y;  // cells that are in the support, inclusive
  int stride;
};

struct Staged {
  StagedLevel level, coarser;
  float xj, xi, yj, yi;
  float column, row;  // of the anchor in the tile
  float weight, scale_x, scale_y;
  float opacity, mu, color[3];
  int channels;
  int shift_x, shift_y;  // from the sprite's origin to the anchor
  int sprite;            // of its canvas
};

// Sum over the threads before this one, and over all. Every thread of the block must come; so must it to what follows
// before `totals` may be used again.
__device__ __forceinline__ int sum_before(int value, Shared<int> totals, int& total) {
  const int lane = int(threadIdx.x) % kLanes, warp = int(threadIdx.x) / kLanes;
  int sum = value;
  for (int step = 1; step < kLanes; step *= 2) {
    const int other = __shfl_up_sync(kWholeWarp, sum, step);
    if (lane >= step) sum += other;
  }
  if (lane == kLanes - 1) totals[warp] = sum;
  __syncthreads();
  int before = sum - value;
  total = 0;
  for (int w = 0; w < kWarps; ++w) {
    const int part = totals[w];
    if (w < warp) before += part;
    total += part;
  }
  return before;
}

// Finds the tile's sprites from depth `cursor` on: puts the depths of at most kChunk into `chunk`, returns how many,
// and moves the cursor behind the last. Fewer than kChunk only where there are no more. All threads must come.
__device__ __forceinline__ int find_chunk(const Canvas& canvas, const Tile& tile, const Bounds* bounds,
                                          const unsigned* masks, int& cursor, Shared<int> chunk,
                                          Shared<int> candidates, Shared<int> totals) {
  const int thread = int(threadIdx.x), words = canvas.words();
  int found = 0;
  while (found < kChunk && cursor < canvas.count) {
    const int first = cursor / kLanes, word = first + thread;
    unsigned bits = word < words ? masks[tile.mask + word] : 0u;
    if (thread == 0) bits &= ~0u << (cursor % kLanes);
    int total, hits;
    int slot = sum_before(__popc(bits), totals, total);
    for (; bits != 0 && slot < kThreads; bits &= bits - 1) candidates[slot++] = word * kLanes + __ffs(bits) - 1;
    __syncthreads();
    bool hit = false;
    int depth = 0;
    if (thread < total) {
      depth = candidates[thread];
      hit = touches(bounds[tile.canvas * canvas.count + (canvas.count - 1 - depth)], tile.area);
    }
    const int place = found + sum_before(hit, totals, hits);
    if (hit && place < kChunk) chunk[place] = depth;
    if (total > kThreads) {
      const int last = candidates[kThreads - 1];
      cursor = last + 1;
    } else {
      cursor = (first + kThreads) * kLanes;
    }
    __syncthreads();
    if (found + hits > kChunk) {
      const int last = chunk[kChunk - 1];
      cursor = last + 1;
    }
    found = smaller(found + hits, kChunk);
  }
  return found;
}

__device__ __forceinline__ StagedLevel stage_level(double x, double y, long long texels, int width, int height,
                                                   int channels) {
  // Beyond 2^23 cells no pixel of the tile can be in the texture, and the bounds below still say so.
  const double far = 8388608.0, column = larger(-far, smaller(far, floor_of(x)));
  const double row = larger(-far, smaller(far, floor_of(y)));
  StagedLevel level;
  level.stride = (width + 2) * channels;
  level.texels = texels + (long long)(row) * level.stride + (long long)(column) * channels;
  level.x = float(x - column);
  level.y = float(y - row);
  level.low_x = float(-1.0 - column);
  level.high_x = float(width - 1 - column);
  level.low_y = float(-1.0 - row);
  level.high_y = float(height - 1 - row);
  return level;
}

// Lays out the sprites of a chunk. All threads must come; when they leave, every sprite is there for every thread.
__device__ __forceinline__ void stage_chunk(const Canvas& canvas, const Tile& tile, const Plan* plans, int found,
                                            Shared<int> chunk, Shared<Staged> staged) {
  const int thread = int(threadIdx.x);
  if (thread < found) {
    const int depth = chunk[thread], sprite = canvas.count - 1 - depth;
    const Plan& s = plans[tile.canvas * canvas.count + sprite];
    Staged out;
    const int column = clamped(s.origin_x, tile.area.left, tile.area.left + tile.area.width - 1);
    const int row = clamped(s.origin_y, tile.area.top, tile.area.top + tile.area.height - 1);
    const double x = s.x0 + s.xj * column + s.xi * row, y = s.y0 + s.yj * column + s.yi * row;
    const double scale_x = double(s.coarser_width) / s.width, scale_y = double(s.coarser_height) / s.height;
    out.level = stage_level(x, y, s.texels, s.width, s.height, s.channels);
    out.coarser = stage_level((x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5, s.coarser_texels, s.coarser_width,
                              s.coarser_height, s.channels);
    out.xj = float(s.xj), out.xi = float(s.xi), out.yj = float(s.yj), out.yi = float(s.yi);
    out.column = float(column - tile.area.left);
    out.row = float(row - tile.area.top);
    out.weight = s.weight;
    out.scale_x = float(scale_x);
    out.scale_y = float(scale_y);
    out.opacity = s.opacity;
    out.mu = s.mu;
    for (int c = 0; c < 3; ++c) out.color[c] = s.color[c];
    out.channels = s.channels;
    out.shift_x = column - s.origin_x;
    out.shift_y = row - s.origin_y;
    out.sprite = sprite;
    staged[thread] = out;
  }
  __syncthreads();
}

}  // namespace diffbmp
