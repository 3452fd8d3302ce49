// Forward and backward of the operator on plain arrays: plan, tiles on all threads, and the sums that remain.
#pragma once

#include "kernels.h"

namespace diffbmp {

// Image (batch, 4, height, width).
template <class Real>
void composite_forward(const Inputs<Real>& inputs, const Target& target, int threads, Real* image);

template <class Real>
struct GradientArrays {
  Real *frame, *opacity, *color, *color_blend;
  Real* texels;  // or null
  int64_t texel_count;
};

template <class Real>
void composite_backward(const Inputs<Real>& inputs, const Target& target, int threads, const Real* grad_image,
                        const GradientArrays<Real>& gradients);

// Times of the floor loop over the alpha textures of a scene, and how many pairs it read.
struct FetchTimes {
  int64_t pairs;
  double plain, tuned;  // seconds
  double checksum;
};

FetchTimes time_fetches(const Inputs<float>& inputs, const Target& target, int repeats);

}  // namespace diffbmp
