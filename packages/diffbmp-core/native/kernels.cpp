// Forward and backward over one tile; built once for each vector width (DIFFBMP_LANES, DIFFBMP_KERNELS).
//
//   tile: 64 x 16 pixels, one thread        sprite: its rows in the tile, front-most sprite first
//   +----------------------------+          row: the columns that the parallelogram covers, exactly
//   |      .------.              |          vector: 8 (or 4) neighbouring pixels of a row
//   |   ==[========]==  a row    |
//   |      '------'              |          colour, transmittance and image gradient of the tile stay in the
//   +----------------------------+          first-level cache; a sprite's sums stay in registers
//
// Backward walks twice. Pass one goes front to back as forward does, and keeps each vector's samples, derivatives and
// transmittance. Pass two goes back to front over what was kept, with one running number a pixel: what the sprites
// behind come to. Where a tile is too deep to keep at once, it is cut into segments: pass one notes the transmittance
// at which each begins, and all but the last segment are sampled again when their turn comes.
#include "kernels.h"

#include "diffbmp/blend.h"
#include "sampling.h"

namespace diffbmp {
namespace {

constexpr int pitch = tile_width + lanes;        // a row of a tile's buffers; vectors may hang over its end
constexpr int plane = tile_height * pitch;
constexpr int check_every = 8;                   // sprites between looks at whether the tile is closed
constexpr size_t segment_floats = size_t{1} << 17;  // samples kept at once: half a megabyte

inline float most_open(const float* transmittance, const TileBox& box) {
  vfloat most{};
  for (int row = 0; row < box.bottom - box.top; ++row)
    for (int column = 0; column < tile_width; column += lanes)
      most = maximum(most, load(transmittance + row * pitch + column));
  return largest(most);
}

inline void open_tile(float* transmittance, const TileBox& box) {
  std::fill_n(transmittance, plane, 0.0f);
  for (int row = 0; row < box.bottom - box.top; ++row)
    std::fill_n(transmittance + row * pitch, box.right - box.left, 1.0f);
}

template <class Op>
struct Forward {
  alignas(64) float color[3][plane];
  alignas(64) float transmittance[plane];

  template <bool colored, Mode mode>
  void draw(const Sprite& s, const View<colored, mode>& view, const TileBox& box) {
    const vfloat opacity = broadcast(s.opacity), mu = broadcast(s.mu);
    const vfloat tint[3] = {broadcast(s.tint[0]), broadcast(s.tint[1]), broadcast(s.tint[2])};
    TileSpans spans;
    tile_spans(s, view.finer, box, spans);
    for (int row = spans.first; row < spans.last; ++row) {
      view.row(spans, row, [&](int column, vint mask, const Texel& texel) DIFFBMP_INLINE_LAMBDA {
        const int at = row * pitch + column;
        const vfloat coverage = keep(texel.channel[3].value, mask);
        const vfloat open = load(transmittance + at);
        const vfloat alpha = opacity * coverage;
        const vfloat weight = Op::weight(open);
        if (colored) {
          const vfloat weighted = weight * opacity;
          for (int c = 0; c < 3; ++c) {
            const vfloat rgb = tint[c] * coverage + mu * keep(texel.channel[c].value, mask);
            store(color[c] + at, load(color[c] + at) + weighted * rgb);
          }
        } else {
          const vfloat weighted = weight * alpha;
          for (int c = 0; c < 3; ++c) store(color[c] + at, load(color[c] + at) + weighted * tint[c]);
        }
        store(transmittance + at, open - alpha * open);
      });
    }
  }

  void run(const Call& call, const Plan& plan, int64_t b, int t, float* image) {
    const Tiles& tiles = plan.tiles[b];
    const TileBox box = tile_box(call, tiles, t);
    std::fill_n(&color[0][0], 3 * plane, 0.0f);
    open_tile(transmittance, box);
    const Sprite* sprites = plan.sprites.data() + b * call.count;
    int64_t drawn = 0;
    for (int64_t e = tiles.first[t + 1] - 1; e >= tiles.first[t]; --e) {
      const Sprite& s = sprites[tiles.sprites[e]];
      with_view(call, s, box, [&](const auto& view) { draw(s, view, box); });
      if (Op::ordered && ++drawn % check_every == 0 && most_open(transmittance, box) < least_transmittance) break;
    }
    const int64_t size = call.height * call.width;
    for (int line = box.top; line < box.bottom; ++line) {
      const int row = (line - box.top) * pitch;
      float* to = image + line * call.width + box.left;
      const int width = box.right - box.left;
      for (int c = 0; c < 3; ++c) std::copy_n(color[c] + row, width, to + c * size);
      for (int column = 0; column < width; ++column) to[3 * size + column] = 1.0f - transmittance[row + column];
    }
  }
};

// One sprite of a tile as pass one leaves it for pass two.
struct Kept {
  int64_t entry;
  size_t samples;  // where its samples begin
  TileSpans spans;
};

template <class Op>
struct Backward {
  alignas(64) float gradient[4][plane];
  alignas(64) float transmittance[plane];
  alignas(64) float behind[plane];
  std::vector<Kept> kept;

  // Vectors that pass one keeps for a vector of pixels: transmittance, then of the coverage its value and derivatives
  // (and by lambda), then of the texture's colour, already multiplied by the image gradient, the same.
  template <bool colored, Mode mode>
  static constexpr int planes = 1 + (colored ? 2 : 1) * (mode == Mode::trilinear ? 4 : 3);

  template <bool colored, Mode mode>
  void sample(const Sprite& s, const View<colored, mode>& view, const TileBox& box, int64_t entry, Scratch& scratch,
              size_t& filled) {
    kept.emplace_back();
    kept.back().entry = entry;
    kept.back().samples = filled;
    TileSpans& spans = kept.back().spans;
    tile_spans(s, view.finer, box, spans);
    const vfloat opacity = broadcast(s.opacity);
    float* to = scratch.samples.data() + filled;
    for (int row = spans.first; row < spans.last; ++row) {
      view.row(spans, row, [&](int column, vint mask, const Texel& texel) DIFFBMP_INLINE_LAMBDA {
        const int at = row * pitch + column;
        const vfloat open = load(transmittance + at);
        const auto put = [&](vfloat value) DIFFBMP_INLINE_LAMBDA {
          store(to, keep(value, mask));
          to += lanes;
        };
        put(open);
        const vfloat coverage = keep(texel.channel[3].value, mask);
        put(coverage);
        put(texel.channel[3].dx);
        put(texel.channel[3].dy);
        if (mode == Mode::trilinear) put(texel.detail[3]);
        if (colored) {
          vfloat value{}, dx{}, dy{}, detail{};
          for (int c = 0; c < 3; ++c) {
            const vfloat g = load(gradient[c] + at);
            value += g * texel.channel[c].value;
            dx += g * texel.channel[c].dx;
            dy += g * texel.channel[c].dy;
            if (mode == Mode::trilinear) detail += g * texel.detail[c];
          }
          put(value);
          put(dx);
          put(dy);
          if (mode == Mode::trilinear) put(detail);
        }
        store(transmittance + at, open - opacity * coverage * open);
      });
    }
    filled = static_cast<size_t>(to - scratch.samples.data());
  }

  template <bool colored, Mode mode>
  void collect(const Sprite& s, const View<colored, mode>& view, const Kept& item, const Scratch& scratch, Partial& partial, float* texels) {
    const vfloat opacity = broadcast(s.opacity), mu = broadcast(s.mu);
    const vfloat tint[3] = {broadcast(s.tint[0]), broadcast(s.tint[1]), broadcast(s.tint[2])};
    vfloat x{}, xa{}, xd{}, y{}, ya{}, yd{}, lambda{}, by_opacity{}, by_tint[3] = {}, by_color{};
    const float* from = scratch.samples.data() + item.samples;
    for (int row = item.spans.first; row < item.spans.last; ++row) {
      const int begin = item.spans.begin[row], end = item.spans.end[row];
      vfloat row_x{}, row_y{};
      for (int column = begin; column < end; column += lanes) {
        const int at = row * pitch + column;
        const auto take = [&]() DIFFBMP_INLINE_LAMBDA {
          const vfloat value = load(from);
          from += lanes;
          return value;
        };
        const vfloat open = take(), coverage = take(), dx = take(), dy = take();
        vfloat detail{}, value{}, color_dx{}, color_dy{}, color_detail{};
        if (mode == Mode::trilinear) detail = take();
        if (colored) {
          value = take();
          color_dx = take();
          color_dy = take();
          if (mode == Mode::trilinear) color_detail = take();
        }
        const vfloat g[3] = {load(gradient[0] + at), load(gradient[1] + at), load(gradient[2] + at)};
        const vfloat grad_alpha = load(gradient[3] + at), back = load(behind + at);
        const vfloat weight = Op::weight(open);
        const vfloat tinted = tint[0] * g[0] + tint[1] * g[1] + tint[2] * g[2];
        const vfloat alpha = opacity * coverage;

        // By the coverage M and by the texture's colour P, both still to be multiplied by the opacity.
        const vfloat by_coverage = weight * tinted + Op::alpha_gradient(open, back, grad_alpha);
        vfloat added = (tinted + grad_alpha) * alpha;
        vfloat step_x = by_coverage * dx, step_y = by_coverage * dy;
        by_opacity += by_coverage * coverage;
        if (mode == Mode::trilinear) lambda += by_coverage * detail;
        if (colored) {
          const vfloat blended = weight * mu;
          step_x += blended * color_dx;
          step_y += blended * color_dy;
          by_opacity += blended * value;
          by_color += weight * value;
          added += opacity * mu * value;
          if (mode == Mode::trilinear) lambda += blended * color_detail;
        }
        const vfloat covered = weight * coverage;
        for (int c = 0; c < 3; ++c) by_tint[c] += covered * g[c];
        const vfloat across = iota() + broadcast(static_cast<float>(column));
        row_x += step_x;
        row_y += step_y;
        xa += step_x * across;
        ya += step_y * across;
        store(behind + at, Op::next_behind(back, alpha, added));
        if (texels) {
          const vfloat color_weight = weight * opacity * mu;
          scatter(view, row, begin, column, end, by_coverage * opacity, color_weight, g, texels);
        }
      }
      const vfloat down = broadcast(static_cast<float>(row));
      x += row_x;
      y += row_y;
      xd += down * row_x;
      yd += down * row_y;
    }
    const float o = s.opacity;
    partial = {o * sum(x),      o * sum(xa), o * sum(xd), o * sum(y), o * sum(ya), o * sum(yd),
               o * sum(lambda), sum(by_opacity),
               {o * sum(by_tint[0]), o * sum(by_tint[1]), o * sum(by_tint[2])}, o * sum(by_color)};
  }

  // Add the gradient of the texels that a vector of pixels sampled.
  template <bool colored, Mode mode>
  static void scatter(const View<colored, mode>& view, int row, int begin, int from, int end, vfloat by_coverage,
                      vfloat color_weight, const vfloat* g, float* texels) {
    const int pixels = std::min(end - from, lanes);
    const auto spread = [&](const Fetch& f, float share) {
      const vfloat step = iota() + broadcast(static_cast<float>(from - begin));
      const Position p = locate<colored, mode>(f, step * f.across_x + f.x_at(begin, row), step * f.across_y + f.y_at(begin, row),
                                      first_lanes(pixels));
      const Level& level = *f.level;
      for (int k = 0; k < pixels; ++k) {
        // Beyond half a texel outside there is nothing, not even border (the finer level under a coarser's support).
        const int column = p.column[k] + f.corner_column, line = p.line[k] + f.corner_line;
        if (column < 1 || line < 1 || column > level.width + 1 || line > level.height + 1) continue;
        for (int corner = 0; corner < 4; ++corner) {
          const int right = corner & 1, below = corner >> 1;
          if (mode == Mode::nearest && corner) break;
          // The caller's level begins one texel inside the packed one, with its own border.
          const int c = column + right - 1, l = line + below - 1;
          const float weight = share * (right ? p.fx[k] : 1 - p.fx[k]) * (below ? p.fy[k] : 1 - p.fy[k]);
          float* to = texels + level.offset + (static_cast<int64_t>(l) * (level.width + 2) + c) * level.channels;
          if (colored)
            for (int channel = 0; channel < 3; ++channel) to[channel] += weight * color_weight[k] * g[channel][k];
          to[colored ? 3 : 0] += weight * by_coverage[k];
        }
      }
    };
    if (mode != Mode::trilinear) return spread(view.finer, 1.0f);
    spread(view.finer, 1 - view.weight[0]);
    if (view.weight[0] != 0) spread(view.coarser, view.weight[0]);
  }

  void run(const Call& call, const Plan& plan, int64_t b, int t, const float* grad_image, Partial* partials,
           float* texels, Scratch& scratch) {
    const Tiles& tiles = plan.tiles[b];
    const int64_t first = tiles.first[t], last = tiles.first[t + 1];
    if (first == last) return;
    const TileBox box = tile_box(call, tiles, t);
    const Sprite* sprites = plan.sprites.data() + b * call.count;
    const int64_t size = call.height * call.width;
    std::fill_n(&gradient[0][0], 4 * plane, 0.0f);
    for (int c = 0; c < 4; ++c)
      for (int line = box.top; line < box.bottom; ++line)
        std::copy_n(grad_image + c * size + line * call.width + box.left, box.right - box.left,
                    gradient[c] + (line - box.top) * pitch);
    std::fill_n(behind, plane, Op::behind_start);
    open_tile(transmittance, box);

    // A sprite keeps at most this much of the tile.
    constexpr size_t most = static_cast<size_t>(tile_height) * (tile_width / lanes + 1) * lanes * 9;
    scratch.samples.resize(segment_floats + most);
    scratch.snapshots.clear();
    std::vector<int64_t> begins;  // the entry at which each segment begins
    size_t filled = 0;
    const auto begin_segment = [&](int64_t entry) {
      begins.push_back(entry);
      scratch.snapshots.insert(scratch.snapshots.end(), transmittance, transmittance + plane);
    };
    const auto sample_entry = [&](int64_t e) {
      const Sprite& s = sprites[tiles.sprites[e]];
      with_view(call, s, box, [&](const auto& view) { sample(s, view, box, e, scratch, filled); });
    };
    const auto clear = [&] {
      kept.clear();
      filled = 0;
    };
    clear();
    begin_segment(last - 1);
    int64_t drawn = 0, end = first - 1;  // entries (end, last) are drawn
    for (int64_t e = last - 1; e >= first; --e) {
      if (filled > segment_floats) {
        clear();
        begin_segment(e);
      }
      sample_entry(e);
      if (Op::ordered && ++drawn % check_every == 0 && most_open(transmittance, box) < least_transmittance) {
        end = e - 1;
        break;
      }
    }
    for (size_t segment = begins.size(); segment-- > 0;) {
      if (segment + 1 < begins.size()) {
        clear();
        std::copy_n(scratch.snapshots.data() + segment * plane, plane, transmittance);
        end = begins[segment + 1];
        for (int64_t e = begins[segment]; e > end; --e) sample_entry(e);
      }
      for (size_t k = kept.size(); k-- > 0;) {
        const Sprite& s = sprites[tiles.sprites[kept[k].entry]];
        with_view(call, s, box, [&](const auto& view) {
          collect(s, view, kept[k], scratch, partials[kept[k].entry - first], texels);
        });
      }
    }
  }
};

void forward(const Call& call, const Plan& plan, int64_t b, int t, float* image) {
  if (call.blend == Blend::over) {
    Forward<Over> tile;
    tile.run(call, plan, b, t, image);
  } else {
    Forward<Add> tile;
    tile.run(call, plan, b, t, image);
  }
}

void backward(const Call& call, const Plan& plan, int64_t b, int t, const float* grad_image, Partial* partials,
              float* texels, Scratch& scratch) {
  if (call.blend == Blend::over) {
    Backward<Over> tile;
    tile.run(call, plan, b, t, grad_image, partials, texels, scratch);
  } else {
    Backward<Add> tile;
    tile.run(call, plan, b, t, grad_image, partials, texels, scratch);
  }
}

float fetch(const Call& call, const Plan& plan, int64_t b, int t, int64_t& pairs) {
  const Tiles& tiles = plan.tiles[b];
  const TileBox box = tile_box(call, tiles, t);
  const Sprite* sprites = plan.sprites.data() + b * call.count;
  vfloat total{};
  for (int64_t e = tiles.first[t]; e < tiles.first[t + 1]; ++e) {
    const Sprite& s = sprites[tiles.sprites[e]];
    with_view(call, s, box, [&](const auto& view) {
      TileSpans spans;
      tile_spans(s, view.finer, box, spans);
      for (int row = spans.first; row < spans.last; ++row) {
        pairs += std::max(0, spans.end[row] - spans.begin[row]);
        view.row(spans, row, [&](int, vint, const Texel& texel) DIFFBMP_INLINE_LAMBDA { total += texel.channel[3].value; });
      }
    });
  }
  return sum(total);
}

}  // namespace

extern const Kernels DIFFBMP_KERNELS;
const Kernels DIFFBMP_KERNELS = {DIFFBMP_NAME, lanes, forward, backward, fetch};

}  // namespace diffbmp
