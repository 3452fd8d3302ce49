#include "composite.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>

#include "diffbmp/level.h"
#include "pool.h"

namespace diffbmp {

Scratch::~Scratch() {
  for (const Block& block : blocks_) std::free(block.at);
}

void* Scratch::block(size_t index, size_t bytes) {
  constexpr size_t kLine = 64;
  if (index >= blocks_.size()) blocks_.resize(index + 1, {nullptr, 0});
  Block& block = blocks_[index];
  if (block.bytes < bytes) {
    std::free(block.at);
    block = {std::aligned_alloc(kLine, (bytes + kLine - 1) / kLine * kLine), bytes};
    if (!block.at) {
      block.bytes = 0;
      throw std::bad_alloc();
    }
  }
  return block.at;
}

namespace {

template <class Real>
const Kernels<Real>& kernels_of(const Target& target) {
  if constexpr (sizeof(Real) == 4)
    return *target.single;
  else
    return *target.twice;
}

constexpr int64_t kSpriteRun = 256;

// Fixed-point units per unit of gradient: as fine as a texel that received the largest possible gradient from every
// pair could bear. Not a number where the gradient is not.
template <class Real>
double texel_scale(const Plan<Real>& plan, const Real* grad_image) {
  const Inputs<Real>& in = plan.inputs;
  double gradient = 0, color = 1, opacity = 1, pairs = 1;
  const int64_t pixels = in.batch * 4 * in.height * in.width;
  for (int64_t p = 0; p < pixels; ++p) {
    if (!is_finite(grad_image[p])) return std::numeric_limits<double>::quiet_NaN();
    gradient = std::max(gradient, std::abs(double(grad_image[p])));
  }
  for (const SpritePlan<Real>& s : plan.sprites) {
    if (s.left == s.right) continue;
    for (const Real c : s.color) color = std::max(color, std::abs(double(c)));
    opacity = std::max(opacity, std::abs(double(s.opacity)));
    pairs += double(s.right - s.left) * double(s.bottom - s.top);
  }
  // |dL/dM| <= opacity (|g . color| + |g_alpha| + |behind|), and `behind` is a mean of the same of other layers.
  const double largest = std::max(8.0 * gradient * color * opacity, std::numeric_limits<double>::min());
  return std::exp2(std::floor(62.0 - std::log2(pairs) - std::log2(largest)));
}

// From the sums over a sprite's pixels to the gradients of its parameters.
template <class Real>
void sprite_gradients(const Plan<Real>& plan, const Real* shares, int64_t k, const GradientArrays<Real>& out) {
  const Inputs<Real>& in = plan.inputs;
  double sum[kShares] = {};
  for (int64_t slot = plan.slot_begin[k]; slot < plan.slot_begin[k + 1]; ++slot)
    for (int n = 0; n < kShares; ++n) sum[n] += double(shares[slot * kShares + n]);
  if (plan.slot_begin[k] == plan.slot_begin[k + 1]) {
    std::fill_n(out.frame + 6 * k, 6, Real(0));
    std::fill_n(out.color + 3 * k, 3, Real(0));
    out.opacity[k] = out.color_blend[k] = Real(0);
    return;
  }
  const SpritePlan<Real>& s = plan.sprites[k];
  const double opacity = s.opacity, keep = 1.0 - double(s.mu);
  out.opacity[k] = Real(sum[kShareOpacity]);
  for (int c = 0; c < 3; ++c) out.color[3 * k + c] = Real(opacity * keep * sum[kShareRed + c]);
  out.color_blend[k] = Real(opacity * sum[kShareBlend]);

  const Real* frame = in.frame + 6 * k;
  const Inverse<double> inverse = invert_frame<double>(frame);
  const double to_u = opacity * s.level.width / 2.0, to_v = opacity * s.level.height / 2.0;
  const double shift_x = s.origin_x + 0.5 - double(frame[2]), shift_y = s.origin_y + 0.5 - double(frame[5]);
  const TexelSums<double> of_texels = {sum[kShareX],    sum[kShareY],       sum[kShareXColumn],
                                        sum[kShareXRow], sum[kShareYColumn], sum[kShareYRow]};
  Moments<double> moments = moments_of(of_texels, to_u, to_v, shift_x, shift_y);
  if (in.filter == Filter::kTrilinear) {
    const int64_t* texture = in.textures + 3 * in.texture[k];
    const int64_t* base = in.levels + 3 * texture[0];
    blend_gradient(inverse, double(base[1]), double(base[2]), int(texture[1]), opacity * sum[kShareLambda], moments);
  }
  double gradient[6];
  frame_gradient(inverse, moments, gradient);
  for (int n = 0; n < 6; ++n) out.frame[6 * k + n] = Real(gradient[n]);
}

template <class Real, class Work>
void each_tile(const Plan<Real>& plan, int threads, Pool& pool, const Work& work) {
  std::vector<Scratch> scratch(threads);
  pool.run(plan.tiles(), threads, [&](int64_t n, int worker) { work(plan.order[n], scratch[worker]); });
}

}  // namespace

template <class Real>
void composite_forward(const Inputs<Real>& inputs, const Target& target, int threads, Real* image) {
  Pool& pool = Pool::shared();
  Plan<Real> plan;
  make_plan(inputs, false, plan, pool, threads);
  prefer_huge_pages(image, sizeof(Real) * inputs.batch * 4 * inputs.height * inputs.width);
  const auto draw = kernels_of<Real>(target).at(inputs.filter, inputs.blend).forward;
  each_tile(plan, threads, pool, [&](int64_t tile, Scratch& scratch) { draw(plan, tile, scratch, image); });
}

template <class Real>
void composite_backward(const Inputs<Real>& inputs, const Target& target, int threads, const Real* grad_image,
                        const GradientArrays<Real>& gradients) {
  Pool& pool = Pool::shared();
  Plan<Real> plan;
  make_plan(inputs, gradients.texels != nullptr, plan, pool, threads);
  LargeVector<Real> shares(plan.slot_begin.back() * kShares);
  std::vector<int64_t> texels(gradients.texels ? gradients.texel_count : 0);
  Backward<Real> job{&plan, grad_image, shares.data(), nullptr, 1.0, threads == 1};
  if (gradients.texels) {
    job.texels = texels.data();
    job.texel_scale = texel_scale(plan, grad_image);
  }
  const auto walk_back = kernels_of<Real>(target).at(inputs.filter, inputs.blend).backward;
  each_tile(plan, threads, pool, [&](int64_t tile, Scratch& scratch) { walk_back(job, tile, scratch); });

  const int64_t sprites = inputs.batch * inputs.count;
  pool.run((sprites + kSpriteRun - 1) / kSpriteRun, threads, [&](int64_t run, int) {
    for (int64_t k = run * kSpriteRun; k < std::min(sprites, (run + 1) * kSpriteRun); ++k)
      sprite_gradients(plan, shares.data(), k, gradients);
  });
  if (gradients.texels)
    for (size_t n = 0; n < texels.size(); ++n) gradients.texels[n] = Real(double(texels[n]) / job.texel_scale);
}

FetchTimes time_fetches(const Inputs<float>& inputs, const Target& target, int repeats) {
  Plan<float> plan;
  make_plan(inputs, false, plan, Pool::shared(), 1);
  std::vector<FetchRow> rows;
  FetchTimes times{0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity(), 0};
  for (const SpritePlan<float>& s : plan.sprites) {
    if (s.left == s.right || s.channels != 1) continue;
    for (int i = s.top; i < s.bottom; ++i) {
      const double x = s.map.x0 + s.map.xi * i, y = s.map.y0 + s.map.yi * i;
      // The spans of the kernels, a thousandth of a texel clear of the edge so that the loops need not test.
      const Support<double> sx{std::max(s.sx.low, -1 + 1e-3), std::min(s.sx.high, s.level.width - 1e-3)};
      const Support<double> sy{std::max(s.sy.low, -1 + 1e-3), std::min(s.sy.high, s.level.height - 1e-3)};
      Columns span = row_span(x, y, s.map.xj, s.map.yj, s.inverse_xj, s.inverse_yj, sx, sy, s.left, s.right);
      if (s.has_corners_cut)
        span = row_span(x + y, x - y, s.map.xj + s.map.yj, s.map.xj - s.map.yj, s.inverse_sum_j, s.inverse_difference_j,
                        s.sum, s.difference, span.begin, span.end);
      if (span.begin == span.end) continue;
      rows.push_back({s.level.texels - s.level.stride - 1, s.level.stride, float(x + s.map.xj * span.begin + 1.0),
                      float(y + s.map.yj * span.begin + 1.0), float(s.map.xj), float(s.map.yj),
                      span.end - span.begin});
      times.pairs += span.end - span.begin;
    }
  }
  using Clock = std::chrono::steady_clock;
  auto seconds = [&](auto fetch) {
    const Clock::time_point start = Clock::now();
    times.checksum += fetch(rows.data(), int64_t(rows.size()));
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  for (int n = 0; n < repeats; ++n) {
    times.plain = std::min(times.plain, seconds(target.fetch_plain));
    times.tuned = std::min(times.tuned, seconds(target.fetch_tuned));
  }
  return times;
}

template void composite_forward<float>(const Inputs<float>&, const Target&, int, float*);
template void composite_forward<double>(const Inputs<double>&, const Target&, int, double*);
template void composite_backward<float>(const Inputs<float>&, const Target&, int, const float*,
                                        const GradientArrays<float>&);
template void composite_backward<double>(const Inputs<double>&, const Target&, int, const double*,
                                         const GradientArrays<double>&);

}  // namespace diffbmp
