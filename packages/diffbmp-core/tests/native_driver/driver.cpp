// The CPU renderer without Python, for machines and checks that cannot hold one: an emulated Arm, the sanitizers. Reads
// calls from standard input and writes their results to standard output; tests/native_driver/driven.py is the other end.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "composite.h"
#include "layers.h"

namespace {

using namespace diffbmp;

// One call: this, the name of the instruction set, then the arrays in the order of Inputs, then those of the function.
struct Call {
  int64_t function, real_bytes, batch, count, texels, levels, textures, height, width, blend, filter, threads;
  int64_t results;  // values of the layers, or whether the gradient of the texels is wanted
  int64_t name_length;
};
enum Function { kForward, kBackward, kLayers, kLayerBytes, kTargets };

template <class T>
std::vector<T> read(int64_t count) {
  // Of exactly this size, so that a sanitizer sees one step too far.
  std::vector<T> values;
  values.reserve(size_t(count));
  values.resize(size_t(count));
  if (count && std::fread(values.data(), sizeof(T), size_t(count), stdin) != size_t(count)) std::exit(2);
  return values;
}

template <class T>
void write(const std::vector<T>& values) {
  if (!values.empty() && std::fwrite(values.data(), sizeof(T), values.size(), stdout) != values.size()) std::exit(3);
}

void write_targets() {
  const Target* targets[kMostTargets];
  const int count = available_targets(targets);
  for (int n = 0; n < count; ++n) std::printf("%s%s", n ? " " : "", targets[n]->name);
  std::printf("\n");
}

template <class Real>
void run(const Call& call, const Target& target) {
  const int64_t sprites = call.batch * call.count, pixels = call.batch * 4 * call.height * call.width;
  const auto frame = read<Real>(6 * sprites), opacity = read<Real>(sprites), color = read<Real>(3 * sprites),
             color_blend = read<Real>(sprites);
  const auto texture = read<int64_t>(sprites);
  const auto texels = read<Real>(call.texels);
  const auto levels = read<int64_t>(3 * call.levels), textures = read<int64_t>(3 * call.textures);
  const Inputs<Real> inputs{frame.data(),   opacity.data(), color.data(),    color_blend.data(), texels.data(),
                            texture.data(), levels.data(),  textures.data(), call.batch,         call.count,
                            call.levels,    int(call.height), int(call.width), Blend(call.blend), Filter(call.filter)};
  const int threads = int(call.threads);
  if (call.function == kForward) {
    std::vector<Real> image(static_cast<size_t>(pixels));
    composite_forward(inputs, target, threads, image.data());
    write(image);
  } else if (call.function == kBackward) {
    const auto grad_image = read<Real>(pixels);
    std::vector<Real> of_frame(frame.size()), of_opacity(opacity.size()), of_color(color.size()),
        of_blend(color_blend.size()), of_texels(call.results ? texels.size() : 0);
    composite_backward(inputs, target, threads, grad_image.data(),
                       {of_frame.data(), of_opacity.data(), of_color.data(), of_blend.data(),
                        call.results ? of_texels.data() : nullptr, call.texels});
    for (const auto* values : {&of_frame, &of_opacity, &of_color, &of_blend, &of_texels}) write(*values);
  } else if constexpr (sizeof(Real) == sizeof(float)) {
    const auto boxes = read<LayerBox>(call.count);
    if (call.function == kLayers) {
      std::vector<float> drawn(static_cast<size_t>(call.results));
      draw_layers(inputs, target, threads, boxes.data(), drawn.data());
      write(drawn);
    } else {
      std::vector<uint8_t> drawn(static_cast<size_t>(call.results));
      std::vector<LayerBox> shown(boxes.size());
      draw_layer_bytes(inputs, target, threads, boxes.data(), drawn.data(), shown.data());
      write(drawn);
      write(shown);
    }
  }
}

}  // namespace

int main() {
  for (Call call; std::fread(&call, sizeof call, 1, stdin) == 1; std::fflush(stdout)) {
    auto name = read<char>(call.name_length);
    name.push_back(0);
    const Target* target = find_target(name.data());
    if (call.function == kTargets)
      write_targets();
    else if (!target)
      return 4;
    else if (call.real_bytes == sizeof(float))
      run<float>(call, *target);
    else
      run<double>(call, *target);
  }
}
