// Reading the cells of a sprite: one group of pixels at a time, a vector of them.
#pragma once

#include "cells.h"
#include "diffbmp/texture.h"

namespace diffbmp {
namespace {

// What a group saw. The compiler drops the members that a kind of lookup never sets.
template <class Real, int kChannels>
struct GroupSample {
  Sample<Vec<Real>> m;       // coverage
  Vec<Real> m_lambda;        // trilinear: dM/dlambda
  Sample<Vec<Real>> rgb[3];  // colour textures
  Vec<Real> rgb_lambda[3];
};

// What is in memory for a group, not yet interpolated.
template <class Real, int kChannels, bool kNearest>
struct Texels {
  static constexpr int kCorners = kNearest ? 1 : 4;
  Vec<Real> at[kCorners][kChannels];  // upper left, upper right, lower left, lower right

  DIFFBMP_INLINE Texels(const Real* texels, const Real* below, const int32_t* index) {
    if constexpr (kChannels == 1 && kNearest) {
      at[0][0] = gather(texels, index);
    } else if constexpr (kChannels == 1) {
      gather_cell(texels, below, index, at[0][0], at[1][0], at[2][0], at[3][0]);
    } else {
      gather_texel(texels, index, at[0]);
      if constexpr (!kNearest) {
        gather_texel(texels + 4, index, at[1]);
        gather_texel(below, index, at[2]);
        gather_texel(below + 4, index, at[3]);
      }
    }
  }

  DIFFBMP_INLINE Sample<Vec<Real>> channel(int c, Vec<Real> x, Vec<Real> y) const {
    const Vec<Real> none{};
    if constexpr (kNearest)
      return {at[0][c], none, none};
    else
      return bilinear(at[0][c], at[1][c], at[2][c], at[3][c], x, y);
  }
};

template <class Real, int kChannels, Lookup kLookup>
struct Sampler {
  static constexpr bool kNearest = kLookup == Lookup::kNearestTexel, kTwo = kLookup == Lookup::kTrilinear;

  const Footprints<Real, kChannels, kLookup>& footprints;
  const Real *texels, *below, *coarse_texels, *coarse_below;
  const Real weight, scale_x, scale_y;

  Sampler(const SpritePlan<Real>& s, const Footprints<Real, kChannels, kLookup>& f)
      : footprints(f),
        texels(s.level.texels),
        below(s.level.texels + s.level.stride),
        coarse_texels(kTwo ? s.coarser.texels : nullptr),  // otherwise there is no coarser level
        coarse_below(kTwo ? s.coarser.texels + s.coarser.stride : nullptr),
        weight(s.weight),
        scale_x(Real(s.scale_x)),
        scale_y(Real(s.scale_y)) {}

  using Fine = Texels<Real, kChannels, kNearest>;

  // Reads ahead: the texels of group `g`, of the finer level.
  DIFFBMP_INLINE Fine fetch(int g) const { return Fine(texels, below, footprints.fine.index[g]); }

  DIFFBMP_INLINE GroupSample<Real, kChannels> sample(const Fine& fetched, int g) const {
    GroupSample<Real, kChannels> out;
    const Vec<Real> x = footprints.fine.x[g], y = footprints.fine.y[g];
    out.m = fetched.channel(kChannels - 1, x, y);
    for (int c = 0; c < kChannels - 1; ++c) out.rgb[c] = fetched.channel(c, x, y);
    if constexpr (kTwo) {
      const Cells<Real>& cells = footprints.coarse[0];
      const Texels<Real, kChannels, false> other(coarse_texels, coarse_below, cells.index[g]);
      auto blend = [&](Sample<Vec<Real>>& fine, int c, Vec<Real>& d_lambda) __attribute__((always_inline)) {
        fine = trilinear(fine, other.channel(c, cells.x[g], cells.y[g]), weight, scale_x, scale_y, d_lambda);
      };
      blend(out.m, kChannels - 1, out.m_lambda);
      for (int c = 0; c < kChannels - 1; ++c) blend(out.rgb[c], c, out.rgb_lambda[c]);
    }
    return out;
  }
};

}  // namespace
}  // namespace diffbmp
