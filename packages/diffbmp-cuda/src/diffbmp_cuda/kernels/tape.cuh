// The backward pass's way from the front to the back: how much of the view is open in front of each sprite.
//
//   tape         in shared memory: of the chunk at hand, for every pixel, what is open in front of every second sprite
//   checkpoint   in global memory: what is open in front of a chunk, and where the chunk begins
//
// Checkpoints are kept for every chunk as long as there is room; then for every second, every fourth, and so on. The
// chunks between two of them are walked again when their turn comes, with checkpoints of their own. So memory is
// bounded by the square root of the depth or so, and every sprite is looked at three times or less.
#pragma once

#include "diffbmp/over.h"
#include "sample.cuh"

namespace diffbmp {

constexpr int kGroup = 2;  // sprites between two places on the tape
constexpr int kTape = kChunk / kGroup * kTilePixels;

struct Scratch {
  float* open;  // (slots, pixels of the tile)
  int* cursor;  // (slots,)

  __device__ __forceinline__ float& at(int slot, int pixel) const {
    return open[slot * kTilePixels + pixel * kThreads + int(threadIdx.x)];
  }
};

__device__ __forceinline__ int on_tape(int sprite, int pixel) {
  return (sprite / kGroup) * kTilePixels + pixel * kThreads + int(threadIdx.x);
}

__device__ __forceinline__ float coverage_at(const Texel* texels, const Staged& s, int column, int row) {
  const Look look(s, column, row);
  float unused;
  return look.inside ? look.read(texels, s, Channel{s.channels - 1}, unused).value : 0.f;
}

// Goes through the chunk from the front to the back.
//
// `veil` says when a pixel is finished. An opaque sprite hides what is behind it, but its own gradient is the
// difference that showing it would make; so what counts is how much the sprites drawn since the view was closed let
// through by themselves: whichever sprite is left out, what is behind shows by less than that.
__device__ __forceinline__ void record_chunk(const Texel* texels, const Tile& tile, int found, Shared<Staged> staged,
                                             Shared<float> tape, float (&open)[kPixels], float (&veil)[kPixels]) {
  for (int n = 0; n < found; ++n) {
    const Staged s = staged[n];
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      if (n % kGroup == 0) tape[on_tape(n, p)] = open[p];
      const float alpha = s.opacity * coverage_at(texels, s, tile.column, tile.row + p);
      if (open[p] < kOpaque) veil[p] -= veil[p] * alpha;
      open[p] -= open[p] * alpha;
    }
  }
}

}  // namespace diffbmp
