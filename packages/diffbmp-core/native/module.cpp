// What Python sees of the renderer: functions on contiguous CPU arrays, passed by DLPack. They write into arrays that
// Python allocated, so that the extension needs nothing of PyTorch, and release the interpreter lock while they work.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <limits>

#include "composite.h"
#include "layers.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace diffbmp;

template <class T, int kDims>
using Array = nb::ndarray<T, nb::ndim<kDims>, nb::c_contig, nb::device::cpu>;

// The arrays that every call takes.
template <class Real>
struct Tensors {
  Array<const Real, 4> frame;
  Array<const Real, 2> opacity;
  Array<const Real, 3> color;
  Array<const Real, 2> color_blend;
  Array<const int64_t, 2> texture;
  Array<const Real, 1> texels;
  Array<const int64_t, 2> levels, textures;
};

void require(bool condition, const char* message) {
  if (!condition) throw nb::value_error(message);
}

template <class Real>
Inputs<Real> checked(const Tensors<Real>& t, int64_t height, int64_t width, int blend, int filter) {
  const size_t batch = t.frame.shape(0), count = t.frame.shape(1);
  require(t.frame.shape(2) == 2 && t.frame.shape(3) == 3, "frame must be (batch, count, 2, 3)");
  require(t.opacity.shape(0) == batch && t.opacity.shape(1) == count, "opacity does not match frame");
  require(t.color.shape(0) == batch && t.color.shape(1) == count && t.color.shape(2) == 3, "color does not match frame");
  require(t.color_blend.shape(0) == batch && t.color_blend.shape(1) == count, "color_blend does not match frame");
  require(t.texture.shape(0) == batch && t.texture.shape(1) == count, "texture does not match frame");
  require(t.levels.shape(1) == 3 && t.textures.shape(1) == 3, "levels and textures must have three columns");
  require(blend >= 0 && blend < kBlends && filter >= 0 && filter < kFilters, "no such blend or filter");
  // Places of pixels and of texels within a level are 32-bit in the kernels; whole images and atlases are not.
  require(height > 0 && width > 0 && height <= (1 << 24) && width <= (1 << 24), "canvas sides must be 1 to 2^24");
  require(count < (size_t(1) << 32), "a canvas has at most 2^32 sprites");

  const int64_t total = int64_t(t.texels.shape(0)), rows = int64_t(t.levels.shape(0));
  const int64_t* texture = t.textures.data();
  for (size_t n = 0; n < t.textures.shape(0); ++n, texture += 3) {
    const int64_t first = texture[0], levels = texture[1], channels = texture[2];
    require(channels == 1 || channels == 4, "a texture has 1 or 4 channels");
    require(first >= 0 && levels >= 1 && levels <= rows && first <= rows - levels, "a texture names levels beyond the table");
    for (int64_t l = first; l < first + levels; ++l) {
      const int64_t* level = t.levels.data() + 3 * l;
      constexpr int64_t kSide = int64_t(1) << 28, kMost = std::numeric_limits<int32_t>::max();
      require(level[1] >= 1 && level[2] >= 1 && level[1] <= kSide && level[2] <= kSide, "a level has sides of 1 to 2^28");
      const int64_t stride = (level[1] + 2) * channels;
      require(stride <= kMost / (level[2] + 2), "a level has more than 2^31 values");
      require(level[0] >= 0 && level[0] <= total - stride * (level[2] + 2), "a level lies beyond the texels");
    }
  }
  const int64_t* index = t.texture.data();
  for (size_t k = 0; k < batch * count; ++k)
    require(index[k] >= 0 && size_t(index[k]) < t.textures.shape(0), "a texture index is out of range");
  return {t.frame.data(),   t.opacity.data(), t.color.data(),   t.color_blend.data(), t.texels.data(),
          t.texture.data(), t.levels.data(),  t.textures.data(), int64_t(batch),      int64_t(count),
          rows,             int(height),      int(width),       Blend(blend),      Filter(filter)};
}

const Target& named(const std::string& name) {
  const Target* target = find_target(name.c_str());
  require(target != nullptr, "this machine has no such instruction set");
  return *target;
}

template <class Real>
void bind(nb::module_& m) {
  m.def(
      "forward",
      [](Array<const Real, 4> frame, Array<const Real, 2> opacity, Array<const Real, 3> color,
         Array<const Real, 2> color_blend, Array<const int64_t, 2> texture, Array<const Real, 1> texels,
         Array<const int64_t, 2> levels, Array<const int64_t, 2> textures, int64_t height, int64_t width, int blend,
         int filter, int threads, const std::string& target, Array<Real, 4> image) {
        const Inputs<Real> inputs = checked<Real>(
            {frame, opacity, color, color_blend, texture, texels, levels, textures}, height, width, blend, filter);
        require(image.shape(0) == frame.shape(0) && image.shape(1) == 4 && image.shape(2) == size_t(height) &&
                    image.shape(3) == size_t(width),
                "image must be (batch, 4, height, width)");
        const Target& chosen = named(target);
        nb::gil_scoped_release release;
        composite_forward(inputs, chosen, std::max(threads, 1), image.data());
      });
  m.def(
      "backward",
      [](Array<const Real, 4> frame, Array<const Real, 2> opacity, Array<const Real, 3> color,
         Array<const Real, 2> color_blend, Array<const int64_t, 2> texture, Array<const Real, 1> texels,
         Array<const int64_t, 2> levels, Array<const int64_t, 2> textures, int64_t height, int64_t width, int blend,
         int filter, int threads, const std::string& target, Array<const Real, 4> grad_image,
         Array<Real, 4> grad_frame, Array<Real, 2> grad_opacity, Array<Real, 3> grad_color,
         Array<Real, 2> grad_color_blend, Array<Real, 1> grad_texels) {
        const Inputs<Real> inputs = checked<Real>(
            {frame, opacity, color, color_blend, texture, texels, levels, textures}, height, width, blend, filter);
        require(grad_image.shape(0) == frame.shape(0) && grad_image.shape(1) == 4 &&
                    grad_image.shape(2) == size_t(height) && grad_image.shape(3) == size_t(width),
                "grad_image must be (batch, 4, height, width)");
        require(grad_frame.size() == frame.size() && grad_opacity.size() == opacity.size() &&
                    grad_color.size() == color.size() && grad_color_blend.size() == color_blend.size(),
                "a gradient does not match its input");
        require(grad_texels.size() == 0 || grad_texels.size() == texels.size(), "grad_texels does not match texels");
        const GradientArrays<Real> gradients{grad_frame.data(),
                                             grad_opacity.data(),
                                             grad_color.data(),
                                             grad_color_blend.data(),
                                             grad_texels.size() ? grad_texels.data() : nullptr,
                                             int64_t(texels.size())};
        const Target& chosen = named(target);
        nb::gil_scoped_release release;
        composite_backward(inputs, chosen, std::max(threads, 1), grad_image.data(), gradients);
      });
}

// A box of pixels for each sprite of the one canvas, and room for all of them.
const LayerBox* checked_boxes(const Array<const float, 4>& frame, const Array<const int64_t, 2>& boxes, size_t room) {
  require(frame.shape(0) == 1, "layers are drawn of one canvas at a time");
  require(boxes.shape(0) == frame.shape(1) && boxes.shape(1) == 4, "boxes must be (count, 4)");
  const LayerBox* box = reinterpret_cast<const LayerBox*>(boxes.data());
  constexpr int64_t kSide = int64_t(1) << 24;
  size_t total = 0;
  for (size_t k = 0; k < boxes.shape(0); ++k) {
    const LayerBox& b = box[k];
    require(b.width >= 0 && b.height >= 0 && b.width <= kSide && b.height <= kSide, "a box has sides of 0 to 2^24");
    require((b.width == 0) == (b.height == 0), "an empty box has no sides at all");
    require(b.left >= -kSide && b.top >= -kSide && b.left <= kSide && b.top <= kSide, "a box lies beyond 2^24");
    total += size_t(4 * b.width * b.height);
    require(total <= room, "the layers do not fit into the result");
  }
  require(total == room, "the result does not fit the layers");
  return box;
}

void bind_layers(nb::module_& m) {
  m.def("layers", [](Array<const float, 4> frame, Array<const float, 2> opacity, Array<const float, 3> color,
                     Array<const float, 2> color_blend, Array<const int64_t, 2> texture, Array<const float, 1> texels,
                     Array<const int64_t, 2> levels, Array<const int64_t, 2> textures, int64_t, int64_t, int blend,
                     int filter, int threads, const std::string& target, Array<const int64_t, 2> boxes,
                     Array<float, 1> out) {
    const Inputs<float> inputs = checked<float>(
        {frame, opacity, color, color_blend, texture, texels, levels, textures}, 1, 1, blend, filter);
    const LayerBox* box = checked_boxes(frame, boxes, out.size());
    const Target& chosen = named(target);
    nb::gil_scoped_release release;
    draw_layers(inputs, chosen, std::max(threads, 1), box, out.data());
  });
  m.def("layer_bytes", [](Array<const float, 4> frame, Array<const float, 2> opacity, Array<const float, 3> color,
                          Array<const float, 2> color_blend, Array<const int64_t, 2> texture,
                          Array<const float, 1> texels, Array<const int64_t, 2> levels,
                          Array<const int64_t, 2> textures, int64_t, int64_t, int blend, int filter, int threads,
                          const std::string& target, Array<const int64_t, 2> boxes, Array<uint8_t, 1> out,
                          Array<int64_t, 2> shown) {
    const Inputs<float> inputs = checked<float>(
        {frame, opacity, color, color_blend, texture, texels, levels, textures}, 1, 1, blend, filter);
    const LayerBox* box = checked_boxes(frame, boxes, out.size());
    require(shown.shape(0) == boxes.shape(0) && shown.shape(1) == 4, "shown must be (count, 4)");
    const Target& chosen = named(target);
    nb::gil_scoped_release release;
    draw_layer_bytes(inputs, chosen, std::max(threads, 1), box, out.data(), reinterpret_cast<LayerBox*>(shown.data()));
  });
}

}  // namespace

NB_MODULE(_native, m) {
#define DIFFBMP_NAME(code, name) name,
  m.attr("blends") = std::vector<std::string>{DIFFBMP_EACH_BLEND(DIFFBMP_NAME)};
  m.attr("filters") = std::vector<std::string>{DIFFBMP_EACH_FILTER(DIFFBMP_NAME)};
#undef DIFFBMP_NAME
  bind<float>(m);
  bind<double>(m);
  bind_layers(m);
  m.def("targets", [] {
    const Target* targets[kMostTargets];
    std::vector<std::string> names;
    const int count = available_targets(targets);
    for (int n = 0; n < count; ++n) names.emplace_back(targets[n]->name);
    return names;
  });
  m.def("time_fetches",
        [](Array<const float, 4> frame, Array<const float, 2> opacity, Array<const float, 3> color,
           Array<const float, 2> color_blend, Array<const int64_t, 2> texture, Array<const float, 1> texels,
           Array<const int64_t, 2> levels, Array<const int64_t, 2> textures, int64_t height, int64_t width, int blend,
           int filter, int, const std::string& target, int repeats) {
          const Inputs<float> inputs = checked<float>(
              {frame, opacity, color, color_blend, texture, texels, levels, textures}, height, width, blend, filter);
          const Target& chosen = named(target);
          FetchTimes times;
          {
            nb::gil_scoped_release release;
            times = time_fetches(inputs, chosen, std::max(repeats, 1));
          }
          nb::dict result;
          result["pairs"] = times.pairs;
          result["plain"] = times.plain;
          result["tuned"] = times.tuned;
          return result;
        });
}
