// Walking a sprite's rows in a tile, a vector of pixels at a time, and sampling its texture there.
#pragma once

#include <algorithm>
#include <cmath>

#include "diffbmp/sample.h"
#include "plan.h"
#include "simd.h"

namespace diffbmp {
namespace {

enum class Mode { bilinear, trilinear, nearest };

struct TileBox {
  int left, top, right, bottom;  // [left, right) x [top, bottom) on the canvas
};

inline TileBox tile_box(const Call& call, const Tiles& tiles, int t) {
  TileBox box;
  box.left = (t % tiles.across) * tile_width;
  box.top = (t / tiles.across) * tile_height;
  box.right = static_cast<int>(std::min<int64_t>(call.width, box.left + tile_width));
  box.bottom = static_cast<int>(std::min<int64_t>(call.height, box.top + tile_height));
  return box;
}

// A level seen from a tile. Texel coordinates are counted from a corner near the tile's first texel, so that they are
// small positive numbers: single precision then resolves them to millionths, and truncation is floor.
struct Fetch {
  const Level* level;
  const float* corner;      // the texel that coordinates are counted from
  int corner_column, corner_line;  // its place in the packed level
  TexelMap map;             // relative to the corner, and to the tile's first pixel
  float across_x, across_y;
  int stride;  // bytes from one line to the next

  DIFFBMP_INLINE const float* at(unsigned bytes) const {
    return reinterpret_cast<const float*>(reinterpret_cast<const char*>(corner) + bytes);
  }

  void look(const Level* source, const TexelMap& whole, const TileBox& box, double shift) {
    level = source;
    map = whole;
    const int right = box.right - 1 - box.left, bottom = box.bottom - 1 - box.top;
    const auto place = [&](Affine& a, int size) {
      a.origin += a.across * box.left + a.down * box.top + 2 + shift;  // 2: the border of a packed level
      const double least = a.origin + std::min(0.0, a.across * right) + std::min(0.0, a.down * bottom);
      const int from = static_cast<int>(std::clamp(std::floor(least), 0.0, static_cast<double>(size + 2)));
      a.origin -= from;
      return from;
    };
    corner_column = place(map.column, level->width);
    corner_line = place(map.line, level->height);
    corner = level->texels.get() + static_cast<int64_t>(corner_line) * level->stride +
             corner_column * (level->channels == 1 ? 2 : 4);
    stride = level->stride * static_cast<int>(sizeof(float));
    across_x = static_cast<float>(map.column.across);
    across_y = static_cast<float>(map.line.across);
  }
  float x_at(int column, int row) const {
    return static_cast<float>(map.column.origin + map.column.across * column + map.column.down * row);
  }
  float y_at(int column, int row) const {
    return static_cast<float>(map.line.origin + map.line.across * column + map.line.down * row);
  }
};

// The columns that a sprite covers in each row of a tile, counted from the tile's corner, and the texel coordinates at
// the first of them.
struct TileSpans {
  int first, last;  // rows [first, last) may be covered
  alignas(32) int begin[tile_height], end[tile_height];
  alignas(32) float x[tile_height], y[tile_height];
};

typedef double vdouble __attribute__((vector_size(32)));
typedef int vint4 __attribute__((vector_size(16)));

// Four rows at a time.
inline void tile_spans(const Sprite& s, const Fetch& f, const TileBox& box, TileSpans& spans) {
  spans.first = static_cast<int>(std::max<double>(box.top, std::ceil(s.top - 0.5))) - box.top;
  spans.last = static_cast<int>(std::min<double>(box.bottom, std::floor(s.bottom - 0.5) + 1)) - box.top;
  const vdouble none{};
  const double width = box.right - box.left;
  for (int row = spans.first & ~3; row < spans.last; row += 4) {
    const vdouble inside = vdouble{0, 1, 2, 3} + static_cast<double>(row);
    const vdouble at = inside + static_cast<double>(box.top);
    vdouble low = none, high = none + (width - 1);
    for (int k = 0; k < s.span_count; ++k) {
      const Span& span = s.spans[k];
      if (span.parallel) {
        const vdouble coordinate = span.origin + span.down * at;
        high = (coordinate > span.least) & (coordinate < span.most) ? high : none - 1;
        continue;
      }
      const vdouble shift = span.slope * at - static_cast<double>(box.left);
      const vdouble l = span.low + shift, h = span.high + shift;
      low = l > low ? l : low;
      high = h < high ? h : high;
    }
    // Bounds are clamped before they become integers: off the canvas they may be anything.
    low = low > width ? none + width : low;
    high = high < -1.0 ? none - 1.0 : high;
    // Rounding up may let a column in that lies a billionth of a pixel outside; it then samples the border's zeros.
    const vint4 begin = __builtin_convertvector(low + (1 - 1e-9), vint4), end = __builtin_convertvector(high + 1, vint4);
    const vdouble from = __builtin_convertvector(begin, vdouble);
    const vdouble x = f.map.column.origin + f.map.column.across * from + f.map.column.down * inside;
    const vdouble y = f.map.line.origin + f.map.line.across * from + f.map.line.down * inside;
    const vfloat4 xs = __builtin_convertvector(x, vfloat4), ys = __builtin_convertvector(y, vfloat4);
    std::memcpy(spans.begin + row, &begin, sizeof begin);
    std::memcpy(spans.end + row, &end, sizeof end);
    std::memcpy(spans.x + row, &xs, sizeof xs);
    std::memcpy(spans.y + row, &ys, sizeof ys);
  }
}

struct Position {
  vint index;       // of the top left texel, in bytes from the corner
  vint column, line;
  vfloat fx, fy;
};

template <bool colored, Mode mode>
DIFFBMP_INLINE Position locate(const Fetch& f, vfloat x, vfloat y, vint mask) {
  Position p;
  p.column = truncate(x) & mask;
  p.line = truncate(y) & mask;
  p.index = p.line * f.stride + (colored ? p.column << 4 : p.column << 3);
  if (mode == Mode::nearest) {
    p.fx = p.fy = vfloat{};
  } else {
    p.fx = keep(x - to_float(p.column), mask);
    p.fy = keep(y - to_float(p.line), mask);
  }
  return p;
}

DIFFBMP_INLINE Sample<vfloat> sample_alpha(const Fetch& f, const Position& p) {
  vfloat4 rows[lanes];
  const Lanes index(p.index);
  for (int k = 0; k < lanes; ++k) rows[k] = load4(f.at(index.at[k]));
  vfloat corners[4];
  transpose(rows, corners);
  return bilinear(corners[0], corners[1], corners[2], corners[3], p.fx, p.fy);
}

// RGBA: out[c] is the sample of channel c.
DIFFBMP_INLINE void sample_color(const Fetch& f, const Position& p, Sample<vfloat> out[4]) {
  vfloat4 value[lanes], dx[lanes], dy[lanes];
  const Lanes index(p.index);
  const int64_t below = f.stride / 4;
  for (int k = 0; k < lanes; ++k) {
    const float* at = f.at(index.at[k]);
    const vfloat4 fx = p.fx[k] - vfloat4{}, fy = p.fy[k] - vfloat4{};
    const Sample<vfloat4> s = bilinear(load4(at), load4(at + below), load4(at + 4), load4(at + below + 4), fx, fy);
    value[k] = s.value;
    dx[k] = s.dx;
    dy[k] = s.dy;
  }
  vfloat planes[3][4];
  transpose(value, planes[0]);
  transpose(dx, planes[1]);
  transpose(dy, planes[2]);
  for (int c = 0; c < 4; ++c) out[c] = {planes[0][c], planes[1][c], planes[2][c]};
}

// A sample with its derivatives by the texel coordinates of the finer level and by lambda.
struct Texel {
  Sample<vfloat> channel[4];  // RGBA, or alpha alone in [3]
  vfloat detail[4];
};

// A sprite as a tile sees it.
template <bool colored, Mode mode>
struct View {
  Fetch finer, coarser;
  vfloat weight, scale_x, scale_y;  // of the coarser level; texel sizes relative to the finer

  View(const Sprite& s, const TileBox& box) {
    finer.look(s.level, s.map, box, mode == Mode::nearest ? 0.5 : 0.0);
    if (mode != Mode::trilinear) return;
    const Level* source = s.coarser ? s.coarser : s.level;
    coarser.look(source, texel_map(s.inverse, source->width, source->height), box, 0.0);
    weight = broadcast(s.coarser ? s.coarser_weight : 0.0f);
    scale_x = broadcast(static_cast<float>(source->width) / static_cast<float>(s.level->width));
    scale_y = broadcast(static_cast<float>(source->height) / static_cast<float>(s.level->height));
  }

  DIFFBMP_INLINE void fetch(const Fetch& f, vfloat x, vfloat y, vint mask, Sample<vfloat>* out) const {
    const Position p = locate<colored, mode>(f, x, y, mask);
    if (colored)
      sample_color(f, p, out);
    else
      out[3] = sample_alpha(f, p);
    if (mode == Mode::nearest)
      for (int c = colored ? 0 : 3; c < 4; ++c) out[c].dx = out[c].dy = vfloat{};
  }

  // Visit the vectors of one row: each(column, mask, texel).
  template <class Each>
  DIFFBMP_INLINE void row(const TileSpans& spans, int row, const Each& each) const {
    const int begin = spans.begin[row], end = spans.end[row];
    const float x = spans.x[row], y = spans.y[row];
    float cx = 0, cy = 0;
    if (mode == Mode::trilinear) {
      cx = coarser.x_at(begin, row);
      cy = coarser.y_at(begin, row);
    }
    const auto visit = [&](int column, vint mask) DIFFBMP_INLINE_LAMBDA {
      const vfloat step = iota() + broadcast(static_cast<float>(column - begin));
      Texel texel;
      fetch(finer, step * finer.across_x + x, step * finer.across_y + y, mask, texel.channel);
      if (mode == Mode::trilinear) {
        Sample<vfloat> coarse[4];
        fetch(coarser, step * coarser.across_x + cx, step * coarser.across_y + cy, mask, coarse);
        for (int c = colored ? 0 : 3; c < 4; ++c) {
          Sample<vfloat>& fine = texel.channel[c];
          texel.detail[c] = coarse[c].value - fine.value;
          fine.value += weight * texel.detail[c];
          fine.dx += weight * (scale_x * coarse[c].dx - fine.dx);
          fine.dy += weight * (scale_y * coarse[c].dy - fine.dy);
        }
      }
      each(column, mask, texel);
    };
    int column = begin;
    for (; column + lanes <= end; column += lanes) visit(column, ~vint{});  // whole vectors need no mask
    if (column < end) visit(column, first_lanes(end - column));
  }
};

// Call with the view that fits the sprite and the filter.
template <class Call_, class Use>
inline void with_view(const Call_& call, const Sprite& s, const TileBox& box, const Use& use) {
  const bool colored = s.level->channels == 4;
  switch (call.filter) {
    case Filter::trilinear:
      return colored ? use(View<true, Mode::trilinear>(s, box)) : use(View<false, Mode::trilinear>(s, box));
    case Filter::nearest_texel:
      return colored ? use(View<true, Mode::nearest>(s, box)) : use(View<false, Mode::nearest>(s, box));
    default:
      return colored ? use(View<true, Mode::bilinear>(s, box)) : use(View<false, Mode::bilinear>(s, box));
  }
}

}  // namespace
}  // namespace diffbmp
