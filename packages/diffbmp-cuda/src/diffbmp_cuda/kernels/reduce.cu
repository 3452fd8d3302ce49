// From the sums over a sprite's pixels to the gradients of its parameters.
//
//   thread   owns one sprite of one canvas; works in double precision
//   warp, block   nothing in common
#include "diffbmp/level.h"
#include "sums.cuh"

// `sums` are accumulators of integers where `exact`, else floats.
DIFFBMP_KERNEL(diffbmp::kThreads, 2)
reduce(const float* frames, const long long* texture, const long long* levels, const long long* textures,
       const diffbmp::Plan* plans, const diffbmp::Bounds* bounds, const void* sums, int exact, diffbmp::Filter filter,
       long long sprites, long long texture_count, float* grad_frame, float* grad_opacity, float* grad_color,
       float* grad_blend) {
  using namespace diffbmp;
  const long long k = (long long)(blockIdx.x) * kThreads + threadIdx.x;
  if (k >= sprites) return;
  const Bounds b = bounds[k];
  if (b.left >= b.right) {  // nothing is drawn of it
    for (int n = 0; n < 6; ++n) grad_frame[6 * k + n] = 0.f;
    for (int n = 0; n < 3; ++n) grad_color[3 * k + n] = 0.f;
    grad_opacity[k] = grad_blend[k] = 0.f;
    return;
  }
  double sum[kParts];
  for (int part = 0; part < kParts; ++part)
    sum[part] = exact ? exact_sum((const long long*)sums + k * kAccumulator * kParts + part, kParts)
                      : double(((const float*)sums)[k * kParts + part]);
  const Plan& s = plans[k];
  const double opacity = s.opacity, keep = 1.0 - double(s.mu);
  grad_opacity[k] = float(sum[kOpacity]);
  for (int n = 0; n < 3; ++n) grad_color[3 * k + n] = float(opacity * keep * sum[kRed + n]);
  grad_blend[k] = float(opacity * sum[kColorBlend]);

  const float* frame = frames + 6 * k;
  const Inverse<double> inverse = invert_frame<double>(frame);
  const double to_u = opacity * s.width / 2.0, to_v = opacity * s.height / 2.0;
  const double shift_x = s.origin_x + 0.5 - double(frame[2]), shift_y = s.origin_y + 0.5 - double(frame[5]);
  const TexelSums<double> of_texels = {sum[kX], sum[kY], sum[kXColumn], sum[kXRow], sum[kYColumn], sum[kYRow]};
  Moments<double> moments = moments_of(of_texels, to_u, to_v, shift_x, shift_y);
  if (filter == Filter::kTrilinear) {
    const bool known = texture[k] >= 0 && texture[k] < texture_count;
    const long long* own = textures + 3 * (known ? texture[k] : 0);
    const long long* base = levels + 3 * own[0];
    blend_gradient(inverse, double(base[1]), double(base[2]), int(own[1]), opacity * sum[kLambda], moments);
  }
  double gradient[6];
  frame_gradient(inverse, moments, gradient);
  for (int n = 0; n < 6; ++n) grad_frame[6 * k + n] = float(gradient[n]);
}
