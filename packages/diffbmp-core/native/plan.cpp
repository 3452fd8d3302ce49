// Making sprites ready, packing textures, and listing which sprites touch which tile.
#include "plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace diffbmp {
namespace {

constexpr double edge_on = 1e-9;  // texels a pixel below which an edge counts as running along the row

Span make_span(const Affine& map, double least, double most) {
  Span span{};
  span.origin = map.origin;
  span.down = map.down;
  span.least = least;
  span.most = most;
  span.parallel = std::abs(map.across) < edge_on;
  if (!span.parallel) {
    const double first = (least - map.origin) / map.across, second = (most - map.origin) / map.across;
    span.low = std::min(first, second);
    span.high = std::max(first, second);
    span.slope = -map.down / map.across;
  }
  return span;
}

// Take the ends of what is not zero in one line, the border with it, into the level's content.
void note_content(Level& level, const float* line, int number) {
  const int texels = level.width + 2, channels = level.channels;
  const auto shows = [&](int texel) {
    for (int c = 0; c < channels; ++c)
      if (line[texel * channels + c] != 0) return true;
    return false;
  };
  int first = 0, last = texels - 1;
  while (first < texels && !shows(first)) ++first;
  if (first == texels) return;
  while (!shows(last)) --last;
  level.content.add(first - 1, number);
  level.content.add(last - 1, number);
}

// Lay a level out for fetching; see Level.
void pack(const Call& call, Level& level) {
  const int columns = level.width + 4, lines = level.height + 4;
  const int64_t inner = level.width + 2;
  const float* from = call.texels + level.offset;
  const int width = level.channels == 1 ? 2 : 4;
  level.stride = columns * width;
  level.texels.reset(new float[static_cast<size_t>(lines) * level.stride + 4]());
  for (int line = 0; line < lines; ++line) {
    float* to = level.texels.get() + static_cast<int64_t>(line) * level.stride + width;
    const bool here = line >= 1 && line <= level.height + 2;
    if (here) note_content(level, from + (line - 1) * inner * level.channels, line - 2);
    if (level.channels == 4) {
      if (here) std::copy_n(from + (line - 1) * inner * 4, inner * 4, to);
      continue;
    }
    const bool next = line <= level.height + 1;  // the ring of zeros is above line 1 and below the last but one
    const float* row = from + (line - 1) * inner;
    if (here)
      for (int64_t column = 0; column < inner; ++column) to[2 * column] = row[column];
    if (next)
      for (int64_t column = 0; column < inner; ++column) to[2 * column + 1] = row[inner + column];
  }
}

Sprite make_sprite(const Call& call, int64_t k, std::vector<Level>& levels, std::vector<uint8_t>& used) {
  Sprite s{};
  s.inverse = invert(call.frame + 6 * k);
  s.opacity = call.opacity[k];
  s.drawn = s.inverse.drawn;
  if (!s.inverse.drawn) return s;
  const int64_t texture = call.texture[k];
  const int64_t first = call.textures[3 * texture], count = call.textures[3 * texture + 1];
  const int64_t channels = call.textures[3 * texture + 2];
  s.mu = channels == 4 ? call.color_blend[k] : 0.0f;
  for (int c = 0; c < 3; ++c) s.tint[c] = (1 - s.mu) * call.color[3 * k + c];

  int64_t chosen = first, coarser = -1;
  if (call.filter == Filter::mipmap || call.filter == Filter::trilinear) {
    const Footprint base = footprint(s.inverse, static_cast<double>(levels[first].width),
                                     static_cast<double>(levels[first].height), [](double v) { return std::sqrt(v); });
    const double detail = std::log2(base.longest_squared) / 2;
    const double last = static_cast<double>(count - 1);
    if (call.filter == Filter::mipmap) {
      chosen = first + static_cast<int64_t>(std::clamp(std::floor(detail + 0.5), 0.0, last));
    } else {
      const double clamped = std::clamp(detail, 0.0, last);
      const double finer = std::min(std::floor(clamped), std::max(last - 1, 0.0));
      chosen = first + static_cast<int64_t>(finer);
      s.coarser_weight = static_cast<float>(clamped - finer);
      s.detail_varies = detail > 0 && detail < last;
      if (count > 1) coarser = chosen + 1;
    }
  }
  used[chosen] = 1;
  s.level = &levels[chosen];
  if (coarser >= 0) {
    used[coarser] = 1;
    s.coarser = &levels[coarser];
  }
  const double width = s.level->width, height = s.level->height;
  s.map = texel_map(s.inverse, width, height);
  double margin_x = 1, margin_y = 1;  // the support reaches this far past the centres of the outermost texels
  if (call.filter == Filter::nearest_texel) margin_x = margin_y = 0.5;
  if (s.coarser) {
    margin_x = std::max(1.0, 0.5 + 0.5 * width / s.coarser->width);
    margin_y = std::max(1.0, 0.5 + 0.5 * height / s.coarser->height);
  }
  s.spans[0] = make_span(s.map.column, -margin_x, width - 1 + margin_x);
  s.spans[1] = make_span(s.map.line, -margin_y, height - 1 + margin_y);
  s.span_count = 2;
  // Half the height of the bounding box, the support being that much larger than [-1, 1].
  const float* f = call.frame + 6 * k;
  const double grow_u = (width - 1 + 2 * margin_x) / width, grow_v = (height - 1 + 2 * margin_y) / height;
  const double reach = std::abs(static_cast<double>(f[3])) * grow_u + std::abs(static_cast<double>(f[4])) * grow_v;
  s.top = f[5] - reach;
  s.bottom = f[5] + reach;
  return s;
}

// Narrow a sprite to the content of its level. A sample shows something only within one texel of a texel that does, in
// column and in line, and so within two in their sum and difference.
void narrow(const Call& call, Sprite& s) {
  if (call.whole || !s.drawn || s.coarser) return;
  const Content& content = s.level->content;
  const TexelMap& m = s.map;
  const Affine directions[4] = {
      m.column,
      m.line,
      {m.column.origin + m.line.origin, m.column.across + m.line.across, m.column.down + m.line.down},
      {m.column.origin - m.line.origin, m.column.across - m.line.across, m.column.down - m.line.down}};
  for (int k = 0; k < 4; ++k) {
    const double margin = k < 2 ? 1 : 2;
    double least = content.least[k] - margin, most = content.most[k] + margin;
    if (k < 2) {
      least = std::max(least, s.spans[k].least);
      most = std::min(most, s.spans[k].most);
    }
    s.spans[k] = make_span(directions[k], least, most);
  }
  s.span_count = 4;
  s.drawn = content.least[0] <= content.most[0];
}

// Call visit(tile) for every tile that the sprite touches (and, at corners, a few that it just misses).
template <class Visit>
void visit_tiles(const Call& call, const Tiles& tiles, const Sprite& s, const Visit& visit) {
  if (!s.drawn) return;
  const double last_row = static_cast<double>(call.height - 1);
  if (!(s.bottom - 0.5 >= 0 && s.top - 0.5 <= last_row)) return;
  const int top = static_cast<int>(std::max(0.0, std::ceil(s.top - 0.5)));
  const int bottom = static_cast<int>(std::min(last_row, std::floor(s.bottom - 0.5)));
  const int width = static_cast<int>(call.width);
  for (int band = top / tile_height; band <= bottom / tile_height && top <= bottom; ++band) {
    // The bounds of a row are straight lines in the row, so over a band they are extreme in its first or last row.
    const double first = std::max(top, band * tile_height), last = std::min(bottom, (band + 1) * tile_height - 1);
    double low = 0, high = width - 1;
    for (int k = 0; k < s.span_count; ++k) {
      const Span& span = s.spans[k];
      if (span.parallel) continue;
      low = std::max(low, span.low + std::min(span.slope * first, span.slope * last));
      high = std::min(high, span.high + std::max(span.slope * first, span.slope * last));
    }
    if (!(low <= high)) continue;
    const int from = static_cast<int>(low), to = static_cast<int>(high) + 1;
    for (int column = from / tile_width; column * tile_width < to; ++column) visit(band * tiles.across + column);
  }
}

void list_tiles(const Call& call, const Sprite* sprites, Tiles& tiles) {
  tiles.across = static_cast<int>((call.width + tile_width - 1) / tile_width);
  tiles.down = static_cast<int>((call.height + tile_height - 1) / tile_height);
  const int64_t count = static_cast<int64_t>(tiles.across) * tiles.down;
  // Blocks of sprites are listed side by side and written one after the other, so that a tile's list is in
  // painting order for any number of threads.
  const int64_t block = 2048, blocks = (call.count + block - 1) / block;
  std::vector<std::vector<int32_t>> touched(blocks);  // tile, sprite, tile, sprite, ...
  parallel(blocks, call.threads, [&](int64_t b) {
    for (int64_t k = b * block; k < std::min(call.count, (b + 1) * block); ++k)
      visit_tiles(call, tiles, sprites[k], [&](int tile) {
        touched[b].push_back(tile);
        touched[b].push_back(static_cast<int32_t>(k));
      });
  });
  tiles.first.assign(count + 1, 0);
  for (const auto& list : touched)
    for (size_t k = 0; k < list.size(); k += 2) ++tiles.first[list[k] + 1];
  for (int64_t t = 0; t < count; ++t) tiles.first[t + 1] += tiles.first[t];
  tiles.sprites.resize(tiles.first[count]);
  std::vector<int64_t> next(tiles.first.begin(), tiles.first.end() - 1);
  for (const auto& list : touched)
    for (size_t k = 0; k < list.size(); k += 2) tiles.sprites[next[list[k]]++] = list[k + 1];
  tiles.order.resize(count);
  for (int64_t t = 0; t < count; ++t) tiles.order[t] = static_cast<int32_t>(t);
  std::stable_sort(tiles.order.begin(), tiles.order.end(), [&](int32_t a, int32_t b) {
    return tiles.first[a + 1] - tiles.first[a] > tiles.first[b + 1] - tiles.first[b];
  });
}

}  // namespace

Plan make_plan(const Call& call) {
  Plan plan;
  plan.levels.resize(call.level_count);
  for (int64_t t = 0; t < call.texture_count; ++t) {
    const int64_t first = call.textures[3 * t], count = call.textures[3 * t + 1];
    const int64_t channels = call.textures[3 * t + 2];
    if (first < 0 || count < 1 || first + count > call.level_count || (channels != 1 && channels != 4))
      throw std::invalid_argument("the table of textures does not fit the table of levels");
    for (int64_t l = first; l < first + count; ++l) {
      Level& level = plan.levels[l];
      const int64_t* row = call.levels + 3 * l;
      if (row[1] < 1 || row[2] < 1 || row[1] > (1 << 20) || row[2] > (1 << 20) ||
          (row[1] + 4) * (row[2] + 4) > (int64_t{1} << 28) || row[0] < 0 ||
          row[0] + (row[1] + 2) * (row[2] + 2) * channels > call.texel_count)
        throw std::invalid_argument("a mip level does not fit the texels, or is too large");
      level.offset = row[0];
      level.width = static_cast<int>(row[1]);
      level.height = static_cast<int>(row[2]);
      level.channels = static_cast<int>(channels);
    }
  }
  const int64_t total = call.batch * call.count;
  for (int64_t k = 0; k < total; ++k)
    if (call.texture[k] < 0 || call.texture[k] >= call.texture_count)
      throw std::out_of_range("a texture index is outside the atlas");
  plan.sprites.resize(total);
  const int64_t block = 4096, blocks = (total + block - 1) / block;
  // One set of marks for each block, so that no two threads write to one.
  std::vector<std::vector<uint8_t>> used(blocks);
  parallel(blocks, call.threads, [&](int64_t b) {
    used[b].assign(call.level_count, 0);
    for (int64_t k = b * block; k < std::min(total, (b + 1) * block); ++k)
      plan.sprites[k] = make_sprite(call, k, plan.levels, used[b]);
  });
  parallel(call.level_count, call.threads, [&](int64_t l) {
    for (const auto& marks : used)
      if (marks[l]) return pack(call, plan.levels[l]);
  });
  parallel(blocks, call.threads, [&](int64_t b) {
    for (int64_t k = b * block; k < std::min(total, (b + 1) * block); ++k) narrow(call, plan.sprites[k]);
  });
  plan.tiles.resize(call.batch);
  for (int64_t b = 0; b < call.batch; ++b)
    list_tiles(call, plan.sprites.data() + b * call.count, plan.tiles[b]);
  return plan;
}

}  // namespace diffbmp
