// The floor of the benchmark: what reading the textures costs by itself, for pairs whose spans are known.
#pragma once

#include "kernels.h"
#include "sampler.h"

namespace diffbmp {
namespace {

double fetch_plain(const FetchRow* rows, int64_t count) {
  double total = 0;
  for (int64_t n = 0; n < count; ++n) {
    const FetchRow r = rows[n];
    const int stride = int(r.stride);
    float sum = 0;
    for (int j = 0; j < r.count; ++j) {
      const float x = r.x + r.step_x * float(j), y = r.y + r.step_y * float(j);
      const float column = floor_of(x), row = floor_of(y);
      const float* t = r.texels + int(row) * stride + int(column);
      sum += bilinear(t[0], t[1], t[stride], t[stride + 1], x - column, y - row).value;
    }
    total += double(sum);
  }
  return total;
}

double fetch_tuned(const FetchRow* rows, int64_t count) {
  constexpr int kN = kLanes<float>;
  double total = 0;
  Cells<float> cells;
  for (int64_t n = 0; n < count; ++n) {
    const FetchRow& r = rows[n];
    const Vec<float> step_x = lane_numbers<float>() * r.step_x, step_y = lane_numbers<float>() * r.step_y;
    const float *at = r.texels, *below = r.texels + r.stride;
    Vec<float> sum{};
    for (int from = 0; from < r.count; from += kTileWidth) {
      const int part = smaller(r.count - from, kTileWidth), groups = (part + kN - 1) / kN;
      for (int g = 0; g < groups; ++g) {
        const float first = float(from + g * kN);
        Vec<float> x = step_x + (r.x + first * r.step_x), y = step_y + (r.y + first * r.step_y);
        const Mask<float> inside = lane_numbers<float>() < splat(float(part - g * kN));
        x = inside ? x : splat(r.x);
        y = inside ? y : splat(r.y);
        const Vec<float> column = floor_lanes(x), row = floor_lanes(y);
        const Ints<float> index = to_ints<float>(row) * int32_t(r.stride) + to_ints<float>(column);
        memcpy(cells.index[g], &index, sizeof index);
        cells.x[g] = x - column;
        cells.y[g] = y - row;
      }
      for (int g = 0; g < groups; ++g) {
        const Texels<float, 1, false> texels(at, below, cells.index[g]);
        sum += texels.channel(0, cells.x[g], cells.y[g]).value;
      }
    }
    total += double(lane_sum<float>(sum));
  }
  return total;
}

}  // namespace
}  // namespace diffbmp
