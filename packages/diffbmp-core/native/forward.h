// Drawing one tile.
//
//   thread   owns the tile: four small arrays (red, green, blue, transmittance) that stay in the nearest cache
//   sprites  from the front to the back, so that a pixel nothing can reach any more is left alone
//   vector   a group of neighbouring pixels of one row: read the texture, blend, write back
#pragma once

#include "kernels.h"
#include "sampler.h"

namespace diffbmp {
namespace {

// Once no pixel of a group lets more than this through, the group is finished: what is behind changes a channel by
// less than that (the gradient asks for more, see backward.h). Double precision is for exactness and never stops.
template <class Real>
constexpr Real kOpaque = sizeof(Real) == 4 ? Real(1e-6) : Real(0);

template <class Real>
struct ForwardTile {
  Real transmittance[kTilePixels], red[kTilePixels], green[kTilePixels], blue[kTilePixels];
};

template <class Real>
DIFFBMP_INLINE bool lets_through(const Real* transmittance) {
  return any<Real>(load(transmittance) > splat(kOpaque<Real>));
}

// How much of a tile is finished.
enum class Finished { kNothing, kSome, kAll };

template <class Real>
DIFFBMP_INLINE Finished finished(const Real* transmittance, const TileArea& area) {
  if (kOpaque<Real> == Real(0)) return Finished::kNothing;
  Mask<Real> open{}, closed{};
  const Vec<Real> least = splat(kOpaque<Real>);
  for (int i = 0; i < area.height; ++i)
    for (int j = 0; j < area.width; j += kLanes<Real>) {
      const Mask<Real> here = load(transmittance + i * kTileStride + j) > least;
      open |= here;
      closed |= ~here;
    }
  return !any<Real>(closed) ? Finished::kNothing : any<Real>(open) ? Finished::kSome : Finished::kAll;
}

constexpr int kFinishedEvery = 16;  // entries between two looks at the whole tile

// kSkip: some pixels of the tile may be finished, so look before reading.
template <class Real, int kChannels, Lookup kLookup, Blend kBlend, bool kSkip>
__attribute__((noinline)) void paint(const SpritePlan<Real>& s, const TileArea& area, ForwardTile<Real>& tile) {
  using V = Vec<Real>;
  Footprints<Real, kChannels, kLookup> footprints;
  int32_t places[kMostGroups<Real> + 2];
  footprints.template find<false>(s, area, {places, nullptr, nullptr});
  const Sampler<Real, kChannels, kLookup> sampler(s, footprints);
  const Real opacity = s.opacity, own = s.mu * s.opacity, keep = s.opacity - own;
  const V red = splat(keep * s.color[0]), green = splat(keep * s.color[1]), blue = splat(keep * s.color[2]);
  const int groups = footprints.groups;
  auto draw = [&](const auto& fetched, int g) __attribute__((always_inline)) {
    Real* const pixel = tile.transmittance + places[g];
    if (kSkip && !lets_through(pixel)) return;
    const GroupSample<Real, kChannels> sample = sampler.sample(fetched, g);
    const V through = load(pixel), covered = through * sample.m.value;
    const V weight = kBlend == Blend::kOver ? covered : sample.m.value;
    V to_red = load(pixel + kTilePixels) + weight * red;
    V to_green = load(pixel + 2 * kTilePixels) + weight * green;
    V to_blue = load(pixel + 3 * kTilePixels) + weight * blue;
    if constexpr (kChannels == 4) {
      const V part = kBlend == Blend::kOver ? through * own : splat(own);
      to_red += part * sample.rgb[0].value;
      to_green += part * sample.rgb[1].value;
      to_blue += part * sample.rgb[2].value;
    }
    store(pixel, through - covered * opacity);
    store(pixel + kTilePixels, to_red);
    store(pixel + 2 * kTilePixels, to_green);
    store(pixel + 3 * kTilePixels, to_blue);
  };
  // Two groups a turn, so that what was read ahead need not be moved between registers.
  auto even = sampler.fetch(0);
  int g = 0;
  for (; g + 2 <= groups; g += 2) {
    const auto odd = sampler.fetch(g + 1);
    draw(even, g);
    even = sampler.fetch(g + 2);
    draw(odd, g + 1);
  }
  if (g < groups) draw(even, g);
}

template <class Real, Lookup kLookup, Blend kBlend>
void forward_tile(const Plan<Real>& plan, int64_t index, Scratch&, Real* image) {
  const TileArea area = tile_area(plan, index);
  const SpritePlan<Real>* sprites = plan.sprites.data() + area.canvas * plan.inputs.count;
  ForwardTile<Real> tile;
  memset(tile.red, 0, sizeof(Real) * kTilePixels * 3);
  for (int p = 0; p < kTilePixels; ++p) tile.transmittance[p] = Real(1);

  const Entry* const first = plan.entries.data() + plan.tile_begin[index];
  const Entry* entry = plan.entries.data() + plan.tile_begin[index + 1];
  constexpr bool kMaySkip = kBlend == Blend::kOver && kOpaque<Real> > Real(0);
  bool skip = false;
  for (int since = 0; entry != first; ++since) {
    const SpritePlan<Real>& s = sprites[(--entry)->sprite];
    if (s.channels == 1)
      skip ? paint<Real, 1, kLookup, kBlend, kMaySkip>(s, area, tile) : paint<Real, 1, kLookup, kBlend, false>(s, area, tile);
    else
      skip ? paint<Real, 4, kLookup, kBlend, kMaySkip>(s, area, tile) : paint<Real, 4, kLookup, kBlend, false>(s, area, tile);
    if (kMaySkip && since % kFinishedEvery == kFinishedEvery - 1) {
      const Finished state = finished(tile.transmittance, area);
      if (state == Finished::kAll) break;
      skip = state == Finished::kSome;
    }
  }

  const int64_t plane = int64_t(plan.inputs.height) * plan.inputs.width;
  Real* out = image + area.canvas * 4 * plane + int64_t(area.top) * plan.inputs.width + area.left;
  for (int i = 0; i < area.height; ++i, out += plan.inputs.width) {
    const int row = i * kTileStride;
    memcpy(out, tile.red + row, sizeof(Real) * area.width);
    memcpy(out + plane, tile.green + row, sizeof(Real) * area.width);
    memcpy(out + 2 * plane, tile.blue + row, sizeof(Real) * area.width);
    for (int j = 0; j < area.width; ++j) out[3 * plane + j] = Real(1) - tile.transmittance[row + j];
  }
}

}  // namespace
}  // namespace diffbmp
