// The kernels, as each build for a vector width offers them.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace diffbmp {

// Sums over the pixels of one sprite in one tile; summed up over its tiles in tile order, whatever thread made them.
struct Partial {
  float x, x_across, x_down;  // dL/dx of the texel column, times column and row counted from the tile's corner
  float y, y_across, y_down;
  float detail, opacity, tint[3], texture_color;
};

// Memory that one thread reuses from tile to tile.
struct Scratch {
  std::vector<float> samples;   // pass one's samples, for pass two
  std::vector<float> snapshots; // transmittance before each segment
};

struct Kernels {
  const char* name;
  int lanes;
  // Draw tile t of canvas b into image (4, H, W).
  void (*forward)(const Call&, const Plan&, int64_t b, int t, float* image);
  // Collect the partial gradients of tile t; grad_image is (4, H, W), partials those of the tile's entries, and
  // texels (null where not wanted) takes the gradient of the caller's texels.
  void (*backward)(const Call&, const Plan&, int64_t b, int t, const float* grad_image, Partial* partials, float* texels,
                   Scratch&);
  // Only fetch the texels of the tile's pairs and interpolate them: the floor under any renderer. Returns their sum
  // (so that no compiler leaves them out) and adds the number of pairs.
  float (*fetch)(const Call&, const Plan&, int64_t b, int t, int64_t& pairs);
};

extern const Kernels baseline_kernels;
#ifdef DIFFBMP_HAVE_AVX2
extern const Kernels avx2_kernels;
#endif

}  // namespace diffbmp
