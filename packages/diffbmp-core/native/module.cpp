// The extension module `diffbmp._native`: arrays in, arrays out, no Python and no lock in between.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <tuple>

#include "kernels.h"

namespace nb = nanobind;
using namespace diffbmp;

namespace {

template <class T, size_t dims>
using Array = nb::ndarray<const T, nb::ndim<dims>, nb::c_contig, nb::device::cpu>;
template <class T, size_t dims>
using Output = nb::ndarray<T, nb::ndim<dims>, nb::c_contig, nb::device::cpu>;

std::vector<const Kernels*> available() {
  std::vector<const Kernels*> found;
#ifdef DIFFBMP_HAVE_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2_kernels);
#endif
  found.push_back(&baseline_kernels);
  return found;
}

const Kernels& choose(const std::string& name) {
  const auto found = available();
  if (name == "auto") return *found.front();
  for (const Kernels* kernels : found)
    if (name == kernels->name) return *kernels;
  throw std::invalid_argument("this machine or build has no '" + name + "' kernels");
}

Call make_call(const Array<float, 4>& frame, const Array<float, 2>& opacity, const Array<float, 3>& color,
               const Array<float, 2>& color_blend, const Array<int64_t, 2>& texture, const Array<float, 1>& texels,
               const Array<int64_t, 2>& levels, const Array<int64_t, 2>& textures, int64_t height, int64_t width,
               const std::string& blend, const std::string& filter, int threads) {
  Call call{};
  call.batch = static_cast<int64_t>(frame.shape(0));
  call.count = static_cast<int64_t>(frame.shape(1));
  const auto fits = [&](const auto& a) {
    return static_cast<int64_t>(a.shape(0)) == call.batch && static_cast<int64_t>(a.shape(1)) == call.count;
  };
  if (!fits(opacity) || !fits(color) || !fits(color_blend) || !fits(texture) || frame.shape(2) != 2 ||
      frame.shape(3) != 3 || color.shape(2) != 3 || levels.shape(1) != 3 || textures.shape(1) != 3)
    throw std::invalid_argument("the shapes of the inputs do not fit together");
  if (height < 1 || width < 1 || height > (1 << 24) || width > (1 << 24) || call.count >= (int64_t{1} << 31))
    throw std::invalid_argument("the canvas or the number of sprites is too large");
  call.height = height;
  call.width = width;
  call.frame = frame.data();
  call.opacity = opacity.data();
  call.color = color.data();
  call.color_blend = color_blend.data();
  call.texture = texture.data();
  call.texels = texels.data();
  call.levels = levels.data();
  call.textures = textures.data();
  call.texel_count = static_cast<int64_t>(texels.shape(0));
  call.level_count = static_cast<int64_t>(levels.shape(0));
  call.texture_count = static_cast<int64_t>(textures.shape(0));
  if (blend == "over")
    call.blend = Blend::over;
  else if (blend == "add")
    call.blend = Blend::add;
  else
    throw std::invalid_argument("unknown blend '" + blend + "'");
  if (filter == "mipmap")
    call.filter = Filter::mipmap;
  else if (filter == "trilinear")
    call.filter = Filter::trilinear;
  else if (filter == "bilinear")
    call.filter = Filter::bilinear;
  else if (filter == "nearest_texel")
    call.filter = Filter::nearest_texel;
  else
    throw std::invalid_argument("unknown filter '" + filter + "'");
  call.threads = std::max(1, threads);
  return call;
}

void forward(const Call& call, const Kernels& kernels, float* image) {
  const Plan plan = make_plan(call);
  const int64_t size = call.height * call.width;
  for (int64_t b = 0; b < call.batch; ++b) {
    const Tiles& tiles = plan.tiles[b];
    parallel(static_cast<int64_t>(tiles.order.size()), call.threads,
             [&](int64_t k) { kernels.forward(call, plan, b, tiles.order[k], image + 4 * size * b); });
  }
}

// The tiles whose texel gradients are added up in one buffer: as many groups for one thread as for many, so that sums
// are formed in one order.
constexpr int64_t texel_groups = 8;

struct Outputs {
  float *frame, *opacity, *color, *color_blend, *texels;
};

void backward_canvas(const Call& call, const Plan& plan, const Kernels& kernels, int64_t b, const float* grad_image,
                     const Outputs& out) {
  const Tiles& tiles = plan.tiles[b];
  std::vector<Partial> partials(tiles.sprites.size());
  const auto run = [&](int64_t t, float* texels, Scratch& scratch) {
    kernels.backward(call, plan, b, static_cast<int>(t), grad_image, partials.data() + tiles.first[t], texels, scratch);
  };
  const int64_t count = static_cast<int64_t>(tiles.order.size());
  if (!out.texels) {
    parallel(count, call.threads, [&](int64_t k) {
      thread_local Scratch scratch;
      run(tiles.order[k], nullptr, scratch);
    });
  } else {
    std::vector<std::vector<float>> sums(std::min(texel_groups, count));
    const int64_t groups = static_cast<int64_t>(sums.size());
    parallel(groups, call.threads, [&](int64_t g) {
      Scratch scratch;
      sums[g].assign(call.texel_count, 0.0f);
      for (int64_t t = g; t < count; t += groups) run(t, sums[g].data(), scratch);
    });
    for (const auto& part : sums)
      for (int64_t k = 0; k < call.texel_count; ++k) out.texels[k] += part[k];
  }

  // Add up each sprite's partial sums in tile order, and take them back to the operator's inputs.
  struct Total {
    TexelSums texel;
    double opacity, tint[3], texture_color;
  };
  std::vector<Total> totals(call.count, Total{});
  for (int64_t t = 0; t < count; ++t) {
    const double left = static_cast<double>(t % tiles.across) * tile_width;
    const double top = static_cast<double>(t / tiles.across) * tile_height;
    for (int64_t e = tiles.first[t]; e < tiles.first[t + 1]; ++e) {
      const Partial& p = partials[e];
      Total& total = totals[tiles.sprites[e]];
      total.texel.x += p.x;
      total.texel.x_across += p.x_across + left * p.x;
      total.texel.x_down += p.x_down + top * p.x;
      total.texel.y += p.y;
      total.texel.y_across += p.y_across + left * p.y;
      total.texel.y_down += p.y_down + top * p.y;
      total.texel.detail += p.detail;
      total.opacity += p.opacity;
      for (int c = 0; c < 3; ++c) total.tint[c] += p.tint[c];
      total.texture_color += p.texture_color;
    }
  }
  for (int64_t k = 0; k < call.count; ++k) {
    const int64_t at = b * call.count + k;
    const Sprite& s = plan.sprites[at];
    if (!s.inverse.drawn) continue;
    Total total = totals[k];
    const Level& base = plan.levels[call.textures[3 * call.texture[at]]];
    const Footprint whole = footprint(s.inverse, base.width, base.height, [](double v) { return std::sqrt(v); });
    if (!s.detail_varies) total.texel.detail = 0;
    frame_gradient(s.inverse, total.texel, s.level->width, s.level->height, whole, base.width, base.height,
                   out.frame + 6 * at);
    out.opacity[at] = static_cast<float>(total.opacity);
    double by_blend = total.texture_color;
    for (int c = 0; c < 3; ++c) {
      out.color[3 * at + c] = static_cast<float>((1 - s.mu) * total.tint[c]);
      by_blend -= call.color[3 * at + c] * total.tint[c];
    }
    out.color_blend[at] = s.level->channels == 4 ? static_cast<float>(by_blend) : 0.0f;
  }
}

}  // namespace

#define DIFFBMP_INPUTS                                                                                             \
  Array<float, 4> frame, Array<float, 2> opacity, Array<float, 3> color, Array<float, 2> color_blend,              \
      Array<int64_t, 2> texture, Array<float, 1> texels, Array<int64_t, 2> levels, Array<int64_t, 2> textures,     \
      int64_t height, int64_t width, const std::string &blend, const std::string &filter, int threads,             \
      const std::string &simd
#define DIFFBMP_CALL                                                                                               \
  make_call(frame, opacity, color, color_blend, texture, texels, levels, textures, height, width, blend, filter,   \
            threads)

NB_MODULE(_native, m) {
  m.doc() = "The CPU renderer's kernels; use them through diffbmp.rendering.cpu.";
  m.def("kernels", [] {
    std::vector<std::string> names;
    for (const Kernels* kernels : available()) names.emplace_back(kernels->name);
    return names;
  });
  m.def("forward", [](DIFFBMP_INPUTS, Output<float, 4> image) {
    const Call call = DIFFBMP_CALL;
    const Kernels& kernels = choose(simd);
    const nb::gil_scoped_release release;
    forward(call, kernels, image.data());
  });
  m.def(
      "backward",
      [](DIFFBMP_INPUTS, Array<float, 4> grad_image, Output<float, 4> grad_frame, Output<float, 2> grad_opacity,
         Output<float, 3> grad_color, Output<float, 2> grad_color_blend, Output<float, 1> grad_texels) {
        Call call = DIFFBMP_CALL;
        call.whole = grad_texels.shape(0) != 0;
        const Kernels& kernels = choose(simd);
        const Outputs out{grad_frame.data(), grad_opacity.data(), grad_color.data(), grad_color_blend.data(),
                          grad_texels.shape(0) ? grad_texels.data() : nullptr};
        const nb::gil_scoped_release release;
        const Plan plan = make_plan(call);
        for (int64_t b = 0; b < call.batch; ++b)
          backward_canvas(call, plan, kernels, b, grad_image.data() + 4 * call.height * call.width * b, out);
      });
  m.def("fetch", [](DIFFBMP_INPUTS) {
    Call call = DIFFBMP_CALL;
    call.whole = true;  // the floor is under every pair, whether it shows or not
    const Kernels& kernels = choose(simd);
    const nb::gil_scoped_release release;
    const Plan plan = make_plan(call);
    int64_t pairs = 0;
    float total = 0;
    for (int64_t b = 0; b < call.batch; ++b)
      for (const int32_t t : plan.tiles[b].order) total += kernels.fetch(call, plan, b, t, pairs);
    return std::tuple<int64_t, float>(pairs, total);
  });
}
