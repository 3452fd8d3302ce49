// Set-up: what is worked out once for each sprite, in double precision, so that everything after may be single.
//
//   thread   owns one sprite of one canvas: chooses its mip level, inverts its frame, bounds it on the canvas
//   warp, block   nothing in common
#include "diffbmp/level.h"
#include "diffbmp/span.h"
#include "scene.cuh"

namespace diffbmp {

// Widens the finer level's support to what a pixel sees of the coarser one, in the finer one's texels.
__device__ __forceinline__ void widen(Support<double>& fine, int coarse_size, double scale) {
  fine.low = smaller(fine.low, -0.5 / scale - 0.5);
  fine.high = larger(fine.high, (coarse_size + 0.5) / scale - 0.5);
}

__device__ __forceinline__ double cut(double value, double low, double high) {
  return smaller(larger(value, low), high);
}

// Pixels whose centres may lie in (low, high), with one of slack, cut to the canvas before they become integers.
__device__ __forceinline__ void pixel_range(double low, double high, int limit, int& begin, int& end) {
  begin = int(cut(floor_of(low) - 1.0, 0.0, double(limit)));
  end = int(cut(-floor_of(-high) + 1.0, double(begin), double(limit)));
}

__device__ __forceinline__ long long first_texel(const long long* level, int channels) {
  return level[0] + (level[1] + 3) * channels;
}

}  // namespace diffbmp

DIFFBMP_KERNEL(diffbmp::kThreads, 2)
setup(const float* frames, const float* opacity, const float* color, const float* color_blend,
      const long long* texture, const long long* levels, const long long* textures, long long sprites,
      long long texture_count, int width, int height, diffbmp::Filter filter, diffbmp::Plan* plans, diffbmp::Bounds* bounds) {
  using namespace diffbmp;
  const long long k = (long long)(blockIdx.x) * kThreads + threadIdx.x;
  if (k >= sprites) return;
  Plan s = {};
  Bounds b = {};
  const float* frame = frames + 6 * k;
  const Inverse<double> inverse = invert_frame<double>(frame);
  // An index that is no texture's must not be read with. It cannot be refused without waiting for the card, so the
  // sprite draws NaN.
  const bool known = texture[k] >= 0 && texture[k] < texture_count;
  const long long* own = textures + 3 * (known ? texture[k] : 0);
  const long long* base = levels + 3 * own[0];
  const int level_count = int(own[1]);
  s.channels = int(own[2]);
  int finer = 0, coarser = 0;
  if (filter == Filter::kMipmap || filter == Filter::kTrilinear) {
    const double lambda = level_of_detail(footprint(inverse, double(base[1]), double(base[2])));
    if (filter == Filter::kMipmap) {
      finer = coarser = nearest_level(lambda, level_count);
    } else {
      const LevelPair<double> pair = level_pair(lambda, level_count);
      finer = pair.finer;
      coarser = pair.coarser;
      s.weight = float(pair.weight);
    }
  }
  const long long *level = base + 3 * finer, *next = base + 3 * coarser;
  s.texels = first_texel(level, s.channels);
  s.width = int(level[1]);
  s.height = int(level[2]);
  s.coarser_texels = first_texel(next, s.channels);
  s.coarser_width = int(next[1]);
  s.coarser_height = int(next[2]);
  s.opacity = known ? opacity[k] : __int_as_float(0x7fc00000);
  s.mu = s.channels == 4 ? color_blend[k] : 0.f;
  for (int c = 0; c < 3; ++c) s.color[c] = color[3 * k + c];

  const double half_width = s.width / 2.0, half_height = s.height / 2.0, tx = frame[2], ty = frame[5];
  s.xj = inverse.ux * half_width;
  s.xi = inverse.uy * half_width;
  s.x0 = (inverse.ux * (0.5 - tx) + inverse.uy * (0.5 - ty) + 1.0) * half_width - 0.5;
  s.yj = inverse.vx * half_height;
  s.yi = inverse.vy * half_height;
  s.y0 = (inverse.vx * (0.5 - tx) + inverse.vy * (0.5 - ty) + 1.0) * half_height - 0.5;

  // A texel is seen from less than one texel away, the nearest one from half a texel.
  const double reach = filter == Filter::kNearestTexel ? 0.5 : 1.0;
  Support<double> sx{-reach, s.width - 1 + reach}, sy{-reach, s.height - 1 + reach};
  if (filter == Filter::kTrilinear) {
    widen(sx, s.coarser_width, double(s.coarser_width) / s.width);
    widen(sy, s.coarser_height, double(s.coarser_height) / s.height);
  }
  const double u0 = (sx.low + 0.5) / half_width - 1.0, u1 = (sx.high + 0.5) / half_width - 1.0;
  const double v0 = (sy.low + 0.5) / half_height - 1.0, v1 = (sy.high + 0.5) / half_height - 1.0;
  const double u = (u0 + u1) / 2, v = (v0 + v1) / 2, su = (u1 - u0) / 2, sv = (v1 - v0) / 2;
  const double x = tx + frame[0] * u + frame[1] * v - 0.5, rx = half_extent<double>(frame[0], frame[1], su, sv);
  const double y = ty + frame[3] * u + frame[4] * v - 0.5, ry = half_extent<double>(frame[3], frame[4], su, sv);
  const double sum = s.xj + s.xi + s.x0 + s.yj + s.yi + s.y0;
  if (inverse.drawn && is_finite(sum) && is_finite(x + rx) && is_finite(y + ry)) {
    pixel_range(x - rx, x + rx, width, b.left, b.right);
    pixel_range(y - ry, y + ry, height, b.top, b.bottom);
    if (b.left == b.right || b.top == b.bottom) b.left = b.right = b.top = b.bottom = 0;
    s.origin_x = int(cut(floor_of(tx), -16777216.0, 16777216.0));
    s.origin_y = int(cut(floor_of(ty), -16777216.0, 16777216.0));
    const double origin_x = s.x0 + s.xj * s.origin_x + s.xi * s.origin_y;
    const double origin_y = s.y0 + s.yj * s.origin_x + s.yi * s.origin_y;
    b.origin_x = float(s.origin_x);
    b.origin_y = float(s.origin_y);
    b.xj = float(s.xj), b.xi = float(s.xi), b.yj = float(s.yj), b.yi = float(s.yi);
    b.low_x = float(sx.low - origin_x), b.high_x = float(sx.high - origin_x);
    b.low_y = float(sy.low - origin_y), b.high_y = float(sy.high - origin_y);
  }
  plans[k] = s;
  bounds[k] = b;
}
