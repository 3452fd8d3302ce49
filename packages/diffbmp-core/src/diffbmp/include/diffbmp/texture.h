// Reading a texture: bilinear with its derivatives, the adjoint (where a gradient goes), and whole lookups for code
// that walks pixel by pixel.
//
// Position (x, y) is in texels of one level, 0 at the centre of the first texel. A level is stored row-major with a
// border one texel wide that is read like any texel; `texels` points at texel (0, 0), past the border. The
// arithmetic is templated so that V may be a scalar or a vector of the compiler's.
#pragma once

#include "diffbmp/base.h"

namespace diffbmp {

template <class V>
struct Sample {
  V value, dx, dy;  // and its derivatives along x and y, per texel
};

// Texels t00 (left, upper), t10 (right, upper), t01, t11 at fractions (x, y) of the cell.
template <class V>
DIFFBMP_INLINE Sample<V> bilinear(V t00, V t10, V t01, V t11, V x, V y) {
  const V upper_step = t10 - t00, lower_step = t11 - t01;
  const V upper = t00 + x * upper_step, lower = t01 + x * lower_step;
  const V dy = lower - upper;
  return {upper + y * dy, upper_step + y * (lower_step - upper_step), dy};
}

// How much of each texel is in the value, which is also how much of the value's gradient each texel receives.
template <class V>
struct Weights {
  V w00, w10, w01, w11;
};

template <class V>
DIFFBMP_INLINE Weights<V> bilinear_weights(V x, V y) {
  const V w11 = x * y, w01 = y - w11, w10 = x - w11;
  return {(w11 - x) - y + 1, w10, w01, w11};
}

// One mip level in memory.
template <class T>
struct Level {
  const T* texels;  // texel (0, 0)
  int width, height, channels;
  long long stride;  // values from one row to the next: (width + 2) * channels
};

template <class T>
DIFFBMP_INLINE Level<T> level_at(const T* texels, const long long* row, int channels) {
  const long long stride = (row[1] + 2) * channels;
  return {texels + row[0] + stride + channels, int(row[1]), int(row[2]), channels, stride};
}

// Bilinear lookup at any finite (x, y), zero outside the support. Writes `channels` samples.
template <class T>
DIFFBMP_INLINE bool sample_bilinear(const Level<T>& level, T x, T y, Sample<T>* out) {
  const T column = floor_of(x), row = floor_of(y);
  if (!(column >= T(-1) && column < T(level.width) && row >= T(-1) && row < T(level.height))) {
    for (int c = 0; c < level.channels; ++c) out[c] = {T(0), T(0), T(0)};
    return false;
  }
  const T* at = level.texels + (long long)(row) * level.stride + (long long)(column) * level.channels;
  for (int c = 0; c < level.channels; ++c, ++at)
    out[c] = bilinear(at[0], at[level.channels], at[level.stride], at[level.stride + level.channels], x - column,
                      y - row);
  return true;
}

// The texel that (x, y) lies in, zero outside; it has no derivative.
template <class T>
DIFFBMP_INLINE bool sample_nearest(const Level<T>& level, T x, T y, T* out) {
  const T column = floor_of(x + T(0.5)), row = floor_of(y + T(0.5));
  const bool inside = column >= T(0) && column < T(level.width) && row >= T(0) && row < T(level.height);
  const T* at = level.texels;
  if (inside) at += (long long)(row) * level.stride + (long long)(column) * level.channels;
  for (int c = 0; c < level.channels; ++c) out[c] = inside ? at[c] : T(0);
  return inside;
}

// Blend of two levels, and its derivative along lambda.
template <class V, class T>
DIFFBMP_INLINE Sample<V> trilinear(const Sample<V>& finer, const Sample<V>& coarser, T weight, T scale_x, T scale_y,
                                   V& d_lambda) {
  d_lambda = coarser.value - finer.value;
  return {finer.value + weight * d_lambda, finer.dx + weight * (coarser.dx * scale_x - finer.dx),
          finer.dy + weight * (coarser.dy * scale_y - finer.dy)};
}

}  // namespace diffbmp
