#include "plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "diffbmp/level.h"
#include "diffbmp/texture.h"
#include "pool.h"

namespace diffbmp {
namespace {

template <class Real>
LevelPlan<Real> level_plan(const Inputs<Real>& in, int64_t level, int channels) {
  const int64_t* row = in.levels + 3 * level;
  const int64_t stride = (row[1] + 2) * channels;
  return {in.texels + row[0] + stride + channels, int(row[1]), int(row[2]), stride};
}

// What a pixel of the canvas sees beyond the finer level's support: the wider of both levels', in the finer's texels.
void widen(Support<double>& fine, int coarse_size, double scale) {
  fine.low = std::min(fine.low, -0.5 / scale - 0.5);
  fine.high = std::max(fine.high, (coarse_size + 0.5) / scale - 0.5);
}

// Cut [low, high) to [0, limit) before it becomes an integer; a pixel of slack for rounding.
void pixel_range(double low, double high, int limit, int& begin, int& end) {
  begin = int(std::clamp(std::floor(low) - 1.0, 0.0, double(limit)));
  end = int(std::clamp(std::ceil(high) + 1.0, double(begin), double(limit)));
}

// The most bits of fraction with which no row of a tile, and no vector that begins in it, leaves 31 bits.
FixedSteps fixed_steps(const TexelMap<double>& map, Support<double> sx, Support<double> sy) {
  FixedSteps steps{};
  const double far_x = std::min(std::abs(map.xj) * (kTileWidth + kMostLanes), sx.high - sx.low);
  const double far_y = std::min(std::abs(map.yj) * (kTileWidth + kMostLanes), sy.high - sy.low);
  const double far = std::max(far_x, far_y) + 2.0;
  if (!(far < 16384.0)) return steps;  // fewer than 16 bits of fraction are too coarse
  steps.bits = std::min(23, 29 - std::ilogb(far));
  const double whole = double(1 << steps.bits);
  steps.unit = float(1.0 / whole);
  // Adding 1.5 x 2^52 rounds to a whole number, half to even, which is left in the lower bits; without a call.
  auto fixed = [](double value) {
    const double shifted = std::clamp(value, -2147483520.0, 2147483520.0) + 6755399441055744.0;
    int32_t whole;
    std::memcpy(&whole, &shifted, sizeof whole);
    return whole;
  };
  for (int l = 0; l <= kMostLanes; ++l) {
    steps.x[l] = fixed(l * map.xj * whole);
    steps.y[l] = fixed(l * map.yj * whole);
  }
  return steps;
}

int near(double value) { return int(std::clamp(std::floor(value), -16777216.0, 16777216.0)); }

// Chooses the level that a sprite reads; returns its area on the canvas, 0 where nothing is drawn.
template <class Real>
double choose_level(const Inputs<Real>& in, int64_t k, SpritePlan<Real>& s) {
  const int64_t* texture = in.textures + 3 * in.texture[k];
  s.level_row = -1;
  const Inverse<double> inverse = invert_frame<double>(in.frame + 6 * k);
  if (!inverse.drawn) return 0.0;
  const int64_t* base = in.levels + 3 * texture[0];
  const int count = int(texture[1]);
  s.channels = int(texture[2]);
  s.level_row = texture[0];
  s.scale_x = s.scale_y = 1.0;
  if (in.filter == Filter::kMipmap || in.filter == Filter::kTrilinear) {
    const double lambda = level_of_detail(footprint(inverse, double(base[1]), double(base[2])));
    if (in.filter == Filter::kMipmap) {
      s.level_row += nearest_level(lambda, count);
    } else {
      const LevelPair<double> pair = level_pair(lambda, count);
      s.level_row += pair.finer;
      s.weight = Real(pair.weight);
      s.coarser = level_plan(in, texture[0] + pair.coarser, s.channels);
    }
  }
  s.level = level_plan(in, s.level_row, s.channels);
  const Real* frame = in.frame + 6 * k;
  return 4.0 * std::abs(double(frame[0]) * double(frame[4]) - double(frame[1]) * double(frame[3]));
}

Extent whole_extent(int width, int height) {
  return {{0, 0, 0, 1 - height}, {width - 1, height - 1, width + height - 2, width - 1}};
}

// Looks at each row from both ends until something is not zero, so that what is inside costs nothing.
template <class Real>
Extent find_extent(const LevelPlan<Real>& level, int channels) {
  constexpr int kFar = 1 << 29;
  Extent e{{kFar, kFar, kFar, kFar}, {-kFar, -kFar, -kFar, -kFar}};
  const int64_t values = int64_t(level.width) * channels;
  for (int y = 0; y < level.height; ++y) {
    const Real* row = level.texels + y * level.stride;
    int64_t first = 0, last = values - 1;
    while (first < values && row[first] == Real(0)) ++first;
    if (first == values) continue;
    while (row[last] == Real(0)) --last;
    for (const int x : {int(first / channels), int(last / channels)}) {
      const int bounds[4] = {x, y, x + y, x - y};
      for (int n = 0; n < 4; ++n) {
        e.low[n] = std::min(e.low[n], bounds[n]);
        e.high[n] = std::max(e.high[n], bounds[n]);
      }
    }
  }
  return e;
}

template <class Real>
void plan_sprite(const Inputs<Real>& in, int64_t k, const Extent& extent, SpritePlan<Real>& s) {
  const Real* frame = in.frame + 6 * k;
  const Inverse<double> inverse = invert_frame<double>(frame);
  const double half_width = s.level.width / 2.0, half_height = s.level.height / 2.0;
  const double tx = frame[2], ty = frame[5];

  // x = (u + 1) w / 2 - 1/2 with u = ux (j + 1/2 - tx) + uy (i + 1/2 - ty), and the same downwards.
  s.map.xj = inverse.ux * half_width;
  s.map.xi = inverse.uy * half_width;
  s.map.x0 = (inverse.ux * (0.5 - tx) + inverse.uy * (0.5 - ty) + 1.0) * half_width - 0.5;
  s.map.yj = inverse.vx * half_height;
  s.map.yi = inverse.vy * half_height;
  s.map.y0 = (inverse.vx * (0.5 - tx) + inverse.vy * (0.5 - ty) + 1.0) * half_height - 0.5;
  const double sum = s.map.xj + s.map.xi + s.map.x0 + s.map.yj + s.map.yi + s.map.y0;
  if (!is_finite(sum)) return;  // beyond double precision: no pixel has a position in the texture
  auto inverse_of = [](double step) { return step == 0.0 ? 0.0 : 1.0 / step; };
  s.inverse_xj = inverse_of(s.map.xj);
  s.inverse_yj = inverse_of(s.map.yj);
  s.inverse_sum_j = inverse_of(s.map.xj + s.map.yj);
  s.inverse_difference_j = inverse_of(s.map.xj - s.map.yj);

  // A texel is seen from less than one texel away, the nearest one from half a texel; along a diagonal twice that.
  const double reach = in.filter == Filter::kNearestTexel ? 0.5 : 1.0;
  auto seen = [&](int n, double by) { return Support<double>{extent.low[n] - by, extent.high[n] + by}; };
  s.sx = seen(0, reach);
  s.sy = seen(1, reach);
  s.sum = seen(2, 2 * reach);
  s.difference = seen(3, 2 * reach);
  s.has_corners_cut = s.sum.low > s.sx.low + s.sy.low + 1.0 || s.sum.high < s.sx.high + s.sy.high - 1.0 ||
                      s.difference.low > s.sx.low - s.sy.high + 1.0 ||
                      s.difference.high < s.sx.high - s.sy.low - 1.0;
  if (in.filter == Filter::kTrilinear) {
    s.scale_x = double(s.coarser.width) / s.level.width;
    s.scale_y = double(s.coarser.height) / s.level.height;
    widen(s.sx, s.coarser.width, s.scale_x);
    widen(s.sy, s.coarser.height, s.scale_y);
  }

  // The box about the parallelogram that the support is on the canvas.
  const double u0 = (s.sx.low + 0.5) / half_width - 1.0, u1 = (s.sx.high + 0.5) / half_width - 1.0;
  const double v0 = (s.sy.low + 0.5) / half_height - 1.0, v1 = (s.sy.high + 0.5) / half_height - 1.0;
  const double u = (u0 + u1) / 2, v = (v0 + v1) / 2, su = (u1 - u0) / 2, sv = (v1 - v0) / 2;
  const double a = frame[0], b = frame[1], c = frame[3], d = frame[4];
  const double x = tx + a * u + b * v - 0.5, rx = half_extent(a, b, su, sv);
  const double y = ty + c * u + d * v - 0.5, ry = half_extent(c, d, su, sv);
  if (!(is_finite(x) && is_finite(y) && is_finite(rx) && is_finite(ry))) return;
  pixel_range(x - rx, x + rx, in.width, s.left, s.right);
  pixel_range(y - ry, y + ry, in.height, s.top, s.bottom);
  if (s.left == s.right || s.top == s.bottom) s.left = s.right = s.top = s.bottom = 0;
  s.steps = fixed_steps(s.map, s.sx, s.sy);
  s.origin_x = near(tx);
  s.origin_y = near(ty);
  s.opacity = in.opacity[k];
  s.mu = s.channels == 4 ? in.color_blend[k] : Real(0);
  for (int n = 0; n < 3; ++n) s.color[n] = in.color[3 * k + n];
}

// Levels first, then what is in them, then where that is on the canvas.
template <class Real>
void plan_sprites(const Inputs<Real>& in, bool whole, Plan<Real>& plan, Pool& pool, int threads) {
  const int64_t sprites = in.batch * in.count;
  constexpr int64_t kRun = 256;
  auto each_sprite = [&](auto&& visit) {
    pool.run((sprites + kRun - 1) / kRun, threads, [&](int64_t run, int) {
      for (int64_t k = run * kRun; k < std::min(sprites, (run + 1) * kRun); ++k) visit(k, plan.sprites[k]);
    });
  };
  std::vector<double> areas(sprites), seen(in.batch * in.level_count);
  each_sprite([&](int64_t k, SpritePlan<Real>& s) { areas[k] = choose_level(in, k, s); });

  // Looking for zeros pays where the level is not much larger than the sprites that show it. Each canvas is judged by
  // itself, so that it is drawn with the same bits alone and in a batch.
  std::vector<const SpritePlan<Real>*> shown(in.level_count, nullptr);
  for (int64_t k = 0; k < sprites; ++k)
    if (const SpritePlan<Real>& s = plan.sprites[k]; s.level_row >= 0) {
      seen[k / in.count * in.level_count + s.level_row] += areas[k];
      shown[s.level_row] = &s;
    }
  auto pays = [&](int64_t canvas, const SpritePlan<Real>& s) {
    return !whole && in.filter != Filter::kTrilinear &&
           2 * seen[canvas * in.level_count + s.level_row] > double(s.level.width) * s.level.height;
  };
  std::vector<Extent> found(in.level_count);
  pool.run(in.level_count, threads, [&](int64_t row, int) {
    if (!shown[row]) return;
    bool look = false;
    for (int64_t canvas = 0; canvas < in.batch && !look; ++canvas) look = pays(canvas, *shown[row]);
    if (look) found[row] = find_extent(shown[row]->level, shown[row]->channels);
  });
  each_sprite([&](int64_t k, SpritePlan<Real>& s) {
    s.left = s.right = s.top = s.bottom = 0;
    if (s.level_row < 0) return;
    const Extent extent = pays(k / in.count, s) ? found[s.level_row] : whole_extent(s.level.width, s.level.height);
    if (extent.low[0] <= extent.high[0]) plan_sprite(in, k, extent, s);
  });
}

struct TileBox {
  int left, right, top, bottom;  // right and bottom exclusive
  int64_t count() const { return int64_t(right - left) * (bottom - top); }
};

template <class Real>
TileBox tile_box(const SpritePlan<Real>& s) {
  if (s.left == s.right) return {0, 0, 0, 0};
  return {s.left / kTileWidth, (s.right - 1) / kTileWidth + 1, s.top / kTileHeight, (s.bottom - 1) / kTileHeight + 1};
}

}  // namespace

template <class Real>
void make_plan(const Inputs<Real>& in, bool whole, Plan<Real>& plan, Pool& pool, int threads) {
  plan.inputs = in;
  plan.tiles_x = (in.width + kTileWidth - 1) / kTileWidth;
  plan.tiles_y = (in.height + kTileHeight - 1) / kTileHeight;
  const int64_t sprites = in.batch * in.count, tiles = plan.tiles();
  plan.sprites.resize(sprites);
  plan_sprites(in, whole, plan, pool, threads);

  plan.slot_begin.assign(sprites + 1, 0);
  for (int64_t k = 0; k < sprites; ++k) plan.slot_begin[k + 1] = plan.slot_begin[k] + tile_box(plan.sprites[k]).count();

  // Each job has a run of rows of tiles of one canvas (bands) and looks at that canvas's sprites, in order: it counts,
  // then (after the prefix sum) fills the lists of its tiles.
  const int64_t jobs_a_canvas = std::min<int64_t>(plan.tiles_y, std::max<int64_t>(1, threads / std::max<int64_t>(1, in.batch)));
  auto each_band = [&](int64_t job, auto&& visit) {
    const int64_t canvas = job / jobs_a_canvas, part = job % jobs_a_canvas;
    const int from = int(part * plan.tiles_y / jobs_a_canvas), to = int((part + 1) * plan.tiles_y / jobs_a_canvas);
    for (int64_t k = 0, index = canvas * in.count; k < in.count; ++k, ++index) {
      const TileBox box = tile_box(plan.sprites[index]);
      const int across = box.right - box.left;
      for (int y = std::max(box.top, from); y < std::min(box.bottom, to); ++y)
        visit(uint32_t(k), (canvas * plan.tiles_y + y) * plan.tiles_x + box.left, across,
              plan.slot_begin[index] + int64_t(y - box.top) * across);
    }
  };
  plan.tile_begin.assign(tiles + 1, 0);
  pool.run(in.batch * jobs_a_canvas, threads, [&](int64_t job, int) {
    each_band(job, [&](uint32_t, int64_t tile, int across, int64_t) {
      for (int x = 0; x < across; ++x) ++plan.tile_begin[tile + x + 1];
    });
  });
  std::partial_sum(plan.tile_begin.begin(), plan.tile_begin.end(), plan.tile_begin.begin());
  plan.entries.resize(plan.tile_begin.back());
  std::vector<int64_t> next(plan.tile_begin.begin(), plan.tile_begin.end() - 1);
  pool.run(in.batch * jobs_a_canvas, threads, [&](int64_t job, int) {
    each_band(job, [&](uint32_t k, int64_t tile, int across, int64_t slot) {
      for (int x = 0; x < across; ++x) plan.entries[next[tile + x]++] = {k, slot + x};
    });
  });

  plan.order.resize(tiles);
  std::iota(plan.order.begin(), plan.order.end(), 0);
  if (threads > 1) {
    auto cost = [&](int32_t t) { return plan.tile_begin[t + 1] - plan.tile_begin[t]; };
    std::stable_sort(plan.order.begin(), plan.order.end(), [&](int32_t a, int32_t b) { return cost(a) > cost(b); });
  }
}

template void make_plan<float>(const Inputs<float>&, bool, Plan<float>&, Pool&, int);
template void make_plan<double>(const Inputs<double>&, bool, Plan<double>&, Pool&, int);

}  // namespace diffbmp
