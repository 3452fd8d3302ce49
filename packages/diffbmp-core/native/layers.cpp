#include "layers.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "pool.h"

namespace diffbmp {
namespace {

constexpr int64_t kBandRows = 64;

struct Job {
  int64_t layer, top, height;  // rows of the layer's box
};

std::vector<Job> jobs_of(const LayerBox* boxes, int64_t count) {
  std::vector<Job> jobs;
  for (int64_t k = 0; k < count; ++k)
    for (int64_t top = 0; top < boxes[k].height; top += kBandRows)
      jobs.push_back({k, top, std::min(kBandRows, boxes[k].height - top)});
  return jobs;
}

std::vector<int64_t> starts_of(const LayerBox* boxes, int64_t count) {
  std::vector<int64_t> starts(count);
  for (int64_t k = 0, at = 0; k < count; ++k) {
    starts[k] = at;
    at += 4 * boxes[k].width * boxes[k].height;
  }
  return starts;
}

// Draws rows of one sprite's box into image (4, rows, width).
void draw_band(const Inputs<float>& in, const Target& target, int64_t k, const LayerBox& box, const Job& job,
               Scratch& scratch, float* image) {
  float frame[6];
  std::memcpy(frame, in.frame + 6 * k, sizeof frame);
  frame[2] = float(double(frame[2]) - double(box.left));
  frame[5] = float(double(frame[5]) - double(box.top + job.top));
  // Only the sprite's own texture, so that planning does not look at the whole atlas.
  const int64_t* row = in.textures + 3 * in.texture[k];
  const int64_t texture[3] = {0, row[1], row[2]}, none = 0;
  Inputs<float> one = in;
  one.frame = frame;
  one.opacity = in.opacity + k;
  one.color = in.color + 3 * k;
  one.color_blend = in.color_blend + k;
  one.texture = &none;
  one.textures = texture;
  one.levels = in.levels + 3 * row[0];
  one.level_count = row[1];
  one.batch = one.count = 1;
  one.height = int(job.height);
  one.width = int(box.width);
  one.blend = Blend::kOver;
  Plan<float> plan;
  make_plan(one, false, plan, Pool::shared(), 1);
  const auto draw = target.single->at(one.filter, one.blend).forward;
  for (int64_t tile = 0; tile < plan.tiles(); ++tile) draw(plan, tile, scratch, image);
}

uint8_t nearest_byte(float value) { return uint8_t(std::clamp(value, 0.0f, 1.0f) * 255.0f + 0.5f); }

// Premultiplied to straight; returns where alpha is not 0, in rows and columns of the band. `tint` is the one colour of
// a layer that has no other, or null.
LayerBox quantize(const float* image, int64_t pixels, int64_t width, const float* tint, uint8_t* out, int64_t plane) {
  const float *red = image, *green = red + pixels, *blue = green + pixels, *alpha = blue + pixels;
  if (tint)
    for (int c = 0; c < 3; ++c) std::memset(out + c * plane, nearest_byte(tint[c]), size_t(pixels));
  int64_t left = width, right = 0, top = -1, bottom = 0;
  for (int64_t p = 0, row = 0; p < pixels; p += width, ++row) {
    for (int64_t j = p; j < p + width; ++j) {
      const uint8_t a = out[3 * plane + j] = nearest_byte(alpha[j]);
      if (tint) continue;
      const float divisor = a ? 1.0f / alpha[j] : 0.0f;
      out[j] = nearest_byte(red[j] * divisor);
      out[plane + j] = nearest_byte(green[j] * divisor);
      out[2 * plane + j] = nearest_byte(blue[j] * divisor);
    }
    const uint8_t* line = out + 3 * plane + p;
    int64_t first = 0, last = width;
    while (first < width && line[first] == 0) ++first;
    if (first == width) continue;
    while (line[last - 1] == 0) --last;
    left = std::min(left, first);
    right = std::max(right, last);
    if (top < 0) top = row;
    bottom = row + 1;
  }
  if (top < 0) return {0, 0, 0, 0};
  return {left, top, right - left, bottom - top};
}

}  // namespace

void draw_layers(const Inputs<float>& inputs, const Target& target, int threads, const LayerBox* boxes, float* out) {
  const std::vector<Job> jobs = jobs_of(boxes, inputs.count);
  const std::vector<int64_t> starts = starts_of(boxes, inputs.count);
  std::vector<Scratch> scratch(threads), bands(threads);
  Pool::shared().run(int64_t(jobs.size()), threads, [&](int64_t n, int worker) {
    const Job& job = jobs[n];
    const LayerBox& box = boxes[job.layer];
    const int64_t pixels = job.height * box.width, plane = box.height * box.width;
    float* band = static_cast<float*>(bands[worker].block(0, 4 * pixels * sizeof(float)));
    draw_band(inputs, target, job.layer, box, job, scratch[worker], band);
    float* to = out + starts[job.layer] + job.top * box.width;
    for (int c = 0; c < 4; ++c) std::memcpy(to + c * plane, band + c * pixels, pixels * sizeof(float));
  });
}

void draw_layer_bytes(const Inputs<float>& inputs, const Target& target, int threads, const LayerBox* boxes,
                      uint8_t* out, LayerBox* shown) {
  const std::vector<Job> jobs = jobs_of(boxes, inputs.count);
  const std::vector<int64_t> starts = starts_of(boxes, inputs.count);
  std::vector<LayerBox> seen(jobs.size());
  std::vector<Scratch> scratch(threads), bands(threads);
  Pool::shared().run(int64_t(jobs.size()), threads, [&](int64_t n, int worker) {
    const Job& job = jobs[n];
    const LayerBox& box = boxes[job.layer];
    const int64_t pixels = job.height * box.width;
    float* band = static_cast<float*>(bands[worker].block(0, 4 * pixels * sizeof(float)));
    draw_band(inputs, target, job.layer, box, job, scratch[worker], band);
    const bool is_tinted = inputs.textures[3 * inputs.texture[job.layer] + 2] == 1;
    seen[n] = quantize(band, pixels, box.width, is_tinted ? inputs.color + 3 * job.layer : nullptr,
                       out + starts[job.layer] + job.top * box.width, box.height * box.width);
  });
  std::fill_n(shown, inputs.count, LayerBox{0, 0, 0, 0});
  for (size_t n = 0; n < jobs.size(); ++n) {
    if (seen[n].width == 0) continue;
    LayerBox& all = shown[jobs[n].layer];
    const LayerBox part{seen[n].left, seen[n].top + jobs[n].top, seen[n].width, seen[n].height};
    if (all.width == 0) {
      all = part;
      continue;
    }
    const int64_t left = std::min(all.left, part.left), right = std::max(all.left + all.width, part.left + part.width);
    all = {left, all.top, right - left, part.top + part.height - all.top};  // bands come from the top down
  }
}

}  // namespace diffbmp
