// The gradient of one tile.
//
//   thread   owns the tile: transmittance, gradient of the image and `behind` (see over.h) of every pixel
//   pass 1   sprites from the front to the back, as forward does: reads each texture once and keeps, group by group,
//            coverage, its derivatives and the transmittance in front (the tape)
//   pass 2   the tape from the end to the start: sums over a sprite's pixels stay in registers and leave as one share
//            per sprite and tile
//
// The tape holds kTapeGroups groups. Where sprites overlap so deeply that a tile needs more, pass 1 goes through
// without looking back, leaving a checkpoint of the transmittance each time the tape is full; then each stretch
// between checkpoints, the last first, is taped again and walked back. That is one more reading of the textures,
// however deep the overlap.
//
// Where the walk may stop: an opaque sprite hides what is behind it, but its own gradient is the difference that
// showing it would make. So a pixel is finished only once the sprites drawn since its transmittance fell below the
// threshold have by themselves brought it below the threshold again (`veil`): whichever sprite is left out, what is
// behind shows through by less than that.
#pragma once

#include "diffbmp/over.h"
#include "forward.h"
#include "scatter.h"

namespace diffbmp {
namespace {

constexpr int kTapeGroups = 8192;

struct TapedEntry {
  const Entry* entry;
  int groups, first;  // of the groups on the tape
  int64_t begin;      // of their numbers
};

template <class Real>
struct BackwardTile {
  Real transmittance[kTilePixels], veil[kTilePixels], behind[kTilePixels];
  Real red[kTilePixels], green[kTilePixels], blue[kTilePixels], alpha[kTilePixels];  // gradient of the image
};

// Numbers per lane that a group leaves on the tape: M, dM/dx, dM/dy, T; of a colour texture also its rgb and the
// derivatives, times the gradient of the image; of two levels also the derivatives along lambda.
template <int kChannels, Lookup kLookup>
constexpr int kTapeFields = 4 + (kChannels == 4 ? 3 : 0) +
                            (kLookup == Lookup::kTrilinear ? (kChannels == 4 ? 2 : 1) : 0);
constexpr int kMostTapeFields = 9;

template <class Real>
struct Tape {
  Real* numbers;
  GroupPlaces<Real> places;
  TapedEntry* entries;
  int entry_count, group_count;
  int64_t end;

  static Tape in(Scratch& scratch) {
    constexpr size_t kNumbers = kTapeGroups * kMostTapeFields * kVectorBytes;
    constexpr size_t kPlaces = (kTapeGroups + kMostLanes) * sizeof(Real);
    char* block =
        static_cast<char*>(scratch.block(0, kNumbers + 3 * kPlaces + kTapeGroups * sizeof(TapedEntry)));
    char* places = block + kNumbers;
    return {reinterpret_cast<Real*>(block),
            {reinterpret_cast<int32_t*>(places), reinterpret_cast<Real*>(places + kPlaces),
             reinterpret_cast<Real*>(places + 2 * kPlaces)},
            reinterpret_cast<TapedEntry*>(places + 3 * kPlaces), 0, 0, 0};
  }
  void rewind() { entry_count = group_count = 0, end = 0; }
  bool has_room() const { return group_count + kMostGroups<Real> <= kTapeGroups; }
  GroupPlaces<Real> places_from(int group) const {
    return {places.at + group, places.column + group, places.row + group};
  }
};

template <class Real, int kChannels, Lookup kLookup, Blend kBlend, bool kSkip>
__attribute__((noinline)) void record(const SpritePlan<Real>& s, const TileArea& area, BackwardTile<Real>& tile,
                                      Tape<Real>& tape) {
  using V = Vec<Real>;
  constexpr int kN = kLanes<Real>, kFields = kTapeFields<kChannels, kLookup>;
  Footprints<Real, kChannels, kLookup> footprints;
  const GroupPlaces<Real> places = tape.places_from(tape.group_count);
  footprints.template find<true>(s, area, places);
  const Sampler<Real, kChannels, kLookup> sampler(s, footprints);
  const Real opacity = s.opacity;
  Real* to = tape.numbers + tape.end;
  auto ahead = sampler.fetch(0);
  for (int g = 0; g < footprints.groups; ++g, to += kFields * kN) {
    const int at = places.at[g];
    const auto fetched = ahead;
    ahead = sampler.fetch(g + 1);
    if (kSkip && !lets_through(tile.veil + at)) {
      memset(to, 0, sizeof(Real) * kFields * kN);
      continue;
    }
    const GroupSample<Real, kChannels> sample = sampler.sample(fetched, g);
    const V through = load(tile.transmittance + at);
    store(to, sample.m.value);
    store(to + kN, sample.m.dx);
    store(to + 2 * kN, sample.m.dy);
    store(to + 3 * kN, through);
    if constexpr (kLookup == Lookup::kTrilinear) store(to + (kFields - 1) * kN, sample.m_lambda);
    if constexpr (kChannels == 4) {
      const V red = load(tile.red + at), green = load(tile.green + at), blue = load(tile.blue + at);
      const Sample<V>* rgb = sample.rgb;
      store(to + 4 * kN, red * rgb[0].value + green * rgb[1].value + blue * rgb[2].value);
      store(to + 5 * kN, red * rgb[0].dx + green * rgb[1].dx + blue * rgb[2].dx);
      store(to + 6 * kN, red * rgb[0].dy + green * rgb[1].dy + blue * rgb[2].dy);
      if constexpr (kLookup == Lookup::kTrilinear)
        store(to + 7 * kN,
              red * sample.rgb_lambda[0] + green * sample.rgb_lambda[1] + blue * sample.rgb_lambda[2]);
    }
    store(tile.transmittance + at, through - through * sample.m.value * opacity);
    if constexpr (kSkip) {
      const V veil = load(tile.veil + at), veiled = veil - veil * sample.m.value * opacity;
      store(tile.veil + at, through > splat(kOpaque<Real>) ? veil : veiled);
    }
  }
  tape.group_count += footprints.groups;
  tape.end += int64_t(footprints.groups) * kFields * kN;
}

// Walks one sprite's part of the tape, sums, and moves `behind` in front of the sprite.
template <class Real, int kChannels, Lookup kLookup, Blend kBlend, bool kTexels>
__attribute__((noinline)) void replay(const SpritePlan<Real>& s, const TapedEntry& taped, const Tape<Real>& tape, BackwardTile<Real>& tile,
            Real* share) {
  using V = Vec<Real>;
  constexpr int kN = kLanes<Real>, kFields = kTapeFields<kChannels, kLookup>;
  const Real opacity = s.opacity, mu = s.mu, keep = 1 - s.mu;
  const V red = splat(keep * s.color[0]), green = splat(keep * s.color[1]), blue = splat(keep * s.color[2]);
  V sum_opacity{}, sum_red{}, sum_green{}, sum_blue{}, sum_blend{}, sum_lambda{};
  V sum_x{}, sum_y{}, x_row{}, y_row{}, x_column{}, y_column{};
  const GroupPlaces<Real> places = tape.places_from(taped.first);
  Real* from = tape.numbers + taped.begin;
  for (int k = 0; k < taped.groups; ++k, from += kFields * kN) {
    const int at = places.at[k];
    const V m = load(from), m_dx = load(from + kN), m_dy = load(from + 2 * kN), through = load(from + 3 * kN);
    const V r = load(tile.red + at), g = load(tile.green + at), b = load(tile.blue + at);
    const V g_rgb = r * red + g * green + b * blue;
    V own{};
    if constexpr (kChannels == 4) own = load(from + 4 * kN);
    V behind = load(tile.behind + at);
    LayerAdjoint<V> d;
    if constexpr (kBlend == Blend::kOver)
      d = over_adjoint(m, through, g_rgb, load(tile.alpha + at), own * mu, opacity, behind);
    else
      d = add_adjoint(m, through, g_rgb, load(tile.alpha + at), own * mu, opacity, behind);
    store(tile.behind + at, behind);
    sum_opacity += d.opacity;
    sum_red += d.color * r;
    sum_green += d.color * g;
    sum_blue += d.color * b;
    V dx = d.coverage * m_dx, dy = d.coverage * m_dy;
    if constexpr (kChannels == 4) {
      dx += d.texture * load(from + 5 * kN) * mu;
      dy += d.texture * load(from + 6 * kN) * mu;
      sum_blend += d.texture * own - d.color * (r * s.color[0] + g * s.color[1] + b * s.color[2]);
    }
    if constexpr (kLookup == Lookup::kTrilinear) {
      sum_lambda += d.coverage * load(from + (kFields - 1) * kN);
      if constexpr (kChannels == 4) sum_lambda += d.texture * load(from + 7 * kN) * mu;
    }
    const Real column = places.column[k], row = places.row[k];
    sum_x += dx;
    sum_y += dy;
    x_column += dx * column;
    y_column += dy * column;
    x_row += dx * row;
    y_row += dy * row;
    if constexpr (kTexels) {  // for scatter: dL/dM and how much of g goes to the texture's rgb
      store(from, d.coverage);
      store(from + kN, d.texture);
    }
  }
  // A lane's column is its group's and its own number.
  x_column += sum_x * lane_numbers<Real>();
  y_column += sum_y * lane_numbers<Real>();
  const V sums[kShares] = {sum_opacity, sum_red,  sum_green, sum_blue, sum_blend, sum_x,
                           sum_y,       x_column, x_row,     y_column, y_row,     sum_lambda};
  for (int n = 0; n < kShares; ++n) share[n] = lane_sum<Real>(sums[n]);
}

template <class Real>
void load_tile(const Backward<Real>& job, const TileArea& area, Blend blend, BackwardTile<Real>& tile) {
  const int width = job.plan->inputs.width;
  const int64_t plane = int64_t(job.plan->inputs.height) * width;
  const Real* from = job.grad_image + area.canvas * 4 * plane + int64_t(area.top) * width + area.left;
  Real* const to[4] = {tile.red, tile.green, tile.blue, tile.alpha};
  for (int c = 0; c < 4; ++c)
    for (int i = 0; i < kTileHeight; ++i) {
      const int copied = i < area.height ? area.width : 0;
      Real* row = to[c] + i * kTileStride;
      memcpy(row, from + c * plane + int64_t(i) * width, sizeof(Real) * copied);
      memset(row + copied, 0, sizeof(Real) * (kTileStride - copied));
    }
  for (int p = 0; p < kTilePixels; ++p) {
    tile.transmittance[p] = tile.veil[p] = Real(1);
    tile.behind[p] = blend == Blend::kAdd ? Real(1) : Real(0);
  }
}

template <class Real, Lookup kLookup, Blend kBlend>
void backward_tile(const Backward<Real>& job, int64_t index, Scratch& scratch) {
  const Plan<Real>& plan = *job.plan;
  const TileArea area = tile_area(plan, index);
  const SpritePlan<Real>* sprites = plan.sprites.data() + area.canvas * plan.inputs.count;
  const Entry* const back = plan.entries.data() + plan.tile_begin[index];
  const Entry* const front = plan.entries.data() + plan.tile_begin[index + 1];
  auto share_of = [&](const Entry& entry) { return job.shares + entry.slot * kShares; };
  if (front == back) return;
  BackwardTile<Real> tile;
  load_tile(job, area, kBlend, tile);
  Tape<Real> tape = Tape<Real>::in(scratch);

  constexpr bool kMaySkip = kBlend == Blend::kOver && kOpaque<Real> > Real(0);
  bool skip = false;  // whether some pixel may be finished

  // Tapes from `entry` (exclusive) on towards the back; returns where it stopped.
  auto tape_from = [&](const Entry* entry, bool first_time) {
    tape.rewind();
    for (int since = 0; entry != back && tape.has_room(); ++since) {
      const SpritePlan<Real>& s = sprites[(--entry)->sprite];
      const TapedEntry taped{entry, 0, tape.group_count, tape.end};
      if (s.channels == 1)
        skip ? record<Real, 1, kLookup, kBlend, kMaySkip>(s, area, tile, tape)
             : record<Real, 1, kLookup, kBlend, false>(s, area, tile, tape);
      else
        skip ? record<Real, 4, kLookup, kBlend, kMaySkip>(s, area, tile, tape)
             : record<Real, 4, kLookup, kBlend, false>(s, area, tile, tape);
      if (tape.group_count > taped.first) {
        tape.entries[tape.entry_count] = taped;
        tape.entries[tape.entry_count++].groups = tape.group_count - taped.first;
      } else if (first_time) {
        memset(share_of(*entry), 0, sizeof(Real) * kShares);
      }
      if (kMaySkip && since % kFinishedEvery == kFinishedEvery - 1) {
        if (!skip) skip = finished(tile.transmittance, area) != Finished::kNothing;
        if (!skip || finished(tile.veil, area) != Finished::kAll) continue;
        if (first_time)
          for (const Entry* rest = back; rest != entry; ++rest) memset(share_of(*rest), 0, sizeof(Real) * kShares);
        return back;
      }
    }
    return entry;
  };

  auto replay_all = [&] {
    for (int n = tape.entry_count; n-- > 0;) {
      const TapedEntry& taped = tape.entries[n];
      const SpritePlan<Real>& s = sprites[taped.entry->sprite];
      Real* share = share_of(*taped.entry);
      if (s.channels == 1 && !job.texels)
        replay<Real, 1, kLookup, kBlend, false>(s, taped, tape, tile, share);
      else if (s.channels == 1)
        replay<Real, 1, kLookup, kBlend, true>(s, taped, tape, tile, share);
      else if (!job.texels)
        replay<Real, 4, kLookup, kBlend, false>(s, taped, tape, tile, share);
      else
        replay<Real, 4, kLookup, kBlend, true>(s, taped, tape, tile, share);
      if (!job.texels) continue;
      const Real* groups = tape.numbers + taped.begin;
      if (s.channels == 1)
        scatter<Real, 1, kLookup>(job, s, area, groups, kTapeFields<1, kLookup>, tile.red, tile.green, tile.blue);
      else
        scatter<Real, 4, kLookup>(job, s, area, groups, kTapeFields<4, kLookup>, tile.red, tile.green, tile.blue);
    }
  };

  // A checkpoint is the state in front of a stretch and the entry that it starts from.
  struct Checkpoint {
    const Entry* entry;
    bool skip;
    Real transmittance[kTilePixels], veil[kTilePixels];
  };
  const Entry* entry = front;
  size_t stretches = 0;
  for (;;) {
    const Entry* const start = entry;
    Checkpoint* checkpoint = nullptr;
    if (front - back > kTapeGroups / kMostGroups<Real>) {  // may not fit one tape
      checkpoint = static_cast<Checkpoint*>(scratch.block(1 + stretches, sizeof(Checkpoint)));
      checkpoint->entry = start;
      checkpoint->skip = skip;
      memcpy(checkpoint->transmittance, tile.transmittance, sizeof tile.transmittance);
      memcpy(checkpoint->veil, tile.veil, sizeof tile.veil);
    }
    entry = tape_from(start, true);
    if (entry == back) break;
    ++stretches;
  }
  replay_all();
  while (stretches-- > 0) {
    const Checkpoint* checkpoint = static_cast<Checkpoint*>(scratch.block(1 + stretches, sizeof(Checkpoint)));
    skip = checkpoint->skip;
    memcpy(tile.transmittance, checkpoint->transmittance, sizeof tile.transmittance);
    memcpy(tile.veil, checkpoint->veil, sizeof tile.veil);
    tape_from(checkpoint->entry, false);
    replay_all();
  }
}

}  // namespace
}  // namespace diffbmp
