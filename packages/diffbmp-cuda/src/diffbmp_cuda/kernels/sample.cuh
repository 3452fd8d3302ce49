// Reading a staged sprite's texture at a pixel of the tile.
//
// Chosen when a kernel is compiled: DIFFBMP_LOOKUP, a number of Lookup, and DIFFBMP_HALF_TEXELS 1 (texels are half
// precision) or 0 (single).
#pragma once

#include "chunk.cuh"
#include "diffbmp/texture.h"

namespace diffbmp {

constexpr Lookup kLookup = Lookup(DIFFBMP_LOOKUP);
constexpr bool kTwoLevels = kLookup == Lookup::kTrilinear, kNearestTexel = kLookup == Lookup::kNearestTexel;

#if DIFFBMP_HALF_TEXELS
using Texel = unsigned short;
__device__ __forceinline__ float texel_value(Texel texel) { return half_to_float(texel); }
#else
using Texel = float;
__device__ __forceinline__ float texel_value(Texel texel) { return texel; }
#endif

// The four texels around a position: where the first is, and how far the position is from it.
struct Cell {
  long long at;
  float x, y;
  bool inside;
};

// From the anchor to a pixel, in texels of the finer level.
struct Step {
  float x, y;
  __device__ __forceinline__ Step(const Staged& s, int column, int row) {
    const float across = float(column) - s.column, down = float(row) - s.row;
    x = s.xj * across + s.xi * down;
    y = s.yj * across + s.yi * down;
  }
};

__device__ __forceinline__ Cell find_cell(const StagedLevel& level, int channels, float step_x, float step_y) {
  Cell cell;
  const float half = kNearestTexel ? 0.5f : 0.f;
  const float x = level.x + step_x, y = level.y + step_y;
  const float column = floor_of(x + half), row = floor_of(y + half);
  // The border of a level is zero: the nearest texel of a position outside is one of its.
  cell.inside = column >= level.low_x && column <= level.high_x && row >= level.low_y && row <= level.high_y;
  cell.x = x - column;
  cell.y = y - row;
  cell.at = level.texels;
  if (cell.inside) cell.at += (long long)(int(row)) * level.stride + int(column) * channels;
  return cell;
}

// One channel, or a sum of three with weights.
struct Channel {
  int first;
  __device__ __forceinline__ float operator()(const Texel* t) const { return texel_value(t[first]); }
};

struct Mixture {
  float red, green, blue;
  __device__ __forceinline__ float operator()(const Texel* t) const {
    return red * texel_value(t[0]) + green * texel_value(t[1]) + blue * texel_value(t[2]);
  }
};

template <class Read>
__device__ __forceinline__ Sample<float> read_cell(const Texel* texels, const StagedLevel& level, int channels,
                                                   const Cell& cell, const Read& read) {
  if (!cell.inside) return {0.f, 0.f, 0.f};
  const Texel* t = texels + cell.at;
  if (kNearestTexel) return {read(t), 0.f, 0.f};
  return bilinear(read(t), read(t + channels), read(t + level.stride), read(t + level.stride + channels), cell.x,
                  cell.y);
}

// Where a pixel is in the level or levels that a sprite reads.
struct Look {
  Cell fine, coarse;
  bool inside;

  __device__ __forceinline__ Look(const Staged& s, int column, int row) {
    const Step step(s, column, row);
    fine = find_cell(s.level, s.channels, step.x, step.y);
    inside = fine.inside;
    if (kTwoLevels) {
      coarse = find_cell(s.coarser, s.channels, step.x * s.scale_x, step.y * s.scale_y);
      inside = inside || coarse.inside;
    }
  }

  // Value and derivatives along x, y (texels of the finer level) and lambda.
  template <class Read>
  __device__ __forceinline__ Sample<float> read(const Texel* texels, const Staged& s, const Read& read,
                                                float& d_lambda) const {
    const Sample<float> near = read_cell(texels, s.level, s.channels, fine, read);
    d_lambda = 0.f;
    if (!kTwoLevels) return near;
    const Sample<float> far = read_cell(texels, s.coarser, s.channels, coarse, read);
    return trilinear(near, far, s.weight, s.scale_x, s.scale_y, d_lambda);
  }
};

}  // namespace diffbmp
