// The gradient of the texels: each pair gives to the texels that it read.
//
// Which thread comes first to a texel is chance, and floating-point sums depend on the order. So the sums are kept in
// 64-bit fixed point, whose additions commute: the same bits however many threads there are.
#pragma once

#include "kernels.h"
#include "sampler.h"

namespace diffbmp {
namespace {

template <class Real>
DIFFBMP_INLINE void add_fixed(const Backward<Real>& job, int64_t* to, double value) {
  const int64_t units = int64_t(__builtin_rint(value * job.texel_scale));
  if (job.alone)
    *to += units;
  else
    __atomic_fetch_add(to, units, __ATOMIC_RELAXED);
}

// What one lane read from one level: `gradient` of its one or four channels goes to the texel, or the cell.
template <class Real, int kChannels, bool kNearest>
DIFFBMP_INLINE void give(const Backward<Real>& job, const LevelPlan<Real>& level, const Cells<Real>& cells, int g, int l,
                         const double* gradient, double part) {
  const Real x = cells.x[g][l], y = cells.y[g][l];
  if (cells.index[g][l] == blank_cell(level, kChannels) && x == Real(0) && y == Real(0)) return;  // read nothing
  int64_t* const to = job.texels + (level.texels - job.plan->inputs.texels) + cells.index[g][l];
  if constexpr (kNearest) {
    for (int c = 0; c < kChannels; ++c) add_fixed(job, to + c, part * gradient[c]);
  } else {
    const Weights<double> w = bilinear_weights(double(x), double(y));
    for (int c = 0; c < kChannels; ++c) {
      const double value = part * gradient[c];
      add_fixed(job, to + c, w.w00 * value);
      add_fixed(job, to + kChannels + c, w.w10 * value);
      add_fixed(job, to + level.stride + c, w.w01 * value);
      add_fixed(job, to + level.stride + kChannels + c, w.w11 * value);
    }
  }
}

// `groups`: of the tape, where `replay` left dL/dM and the texture's part, both per unit of opacity; `red` and so on:
// the gradient of the image.
template <class Real, int kChannels, Lookup kLookup>
void scatter(const Backward<Real>& job, const SpritePlan<Real>& s, const TileArea& area, const Real* groups, int fields,
             const Real* red, const Real* green, const Real* blue) {
  constexpr bool kTwo = kLookup == Lookup::kTrilinear;
  constexpr int kN = kLanes<Real>;
  Footprints<Real, kChannels, kLookup> footprints;
  int32_t places[kMostGroups<Real> + 1];
  footprints.template find<false>(s, area, {places, nullptr, nullptr});
  const double opacity = double(s.opacity), coarse = kTwo ? double(s.weight) : 0.0;
  for (int g = 0; g < footprints.groups; ++g, groups += fields * kN)
    for (int l = 0; l < kN; ++l) {
      const int at = places[g] + l;
      const double coverage = opacity * double(groups[l]), own = opacity * double(s.mu) * double(groups[kN + l]);
      double gradient[4] = {coverage};
      if constexpr (kChannels == 4) {
        gradient[0] = own * double(red[at]);
        gradient[1] = own * double(green[at]);
        gradient[2] = own * double(blue[at]);
        gradient[3] = coverage;
      }
      give<Real, kChannels, kLookup == Lookup::kNearestTexel>(job, s.level, footprints.fine, g, l, gradient, 1.0 - coarse);
      if constexpr (kTwo)
        give<Real, kChannels, false>(job, s.coarser, footprints.coarse[0], g, l, gradient, coarse);
    }
}

}  // namespace
}  // namespace diffbmp
