// Compositing one sprite at one pixel, forward and backward, on numbers or on vectors of numbers.
//
// A sprite's layer at a pixel is premultiplied: colour L = o ((1 - mu) c M + mu P) and alpha = o M, with o its
// opacity, c its tint, M and P the sampled coverage and premultiplied texture colour.
//
//   over, front to back:   C += T L,  T <- T (1 - alpha)            T = 1 before the front-most sprite
//   add:                   C += L,    T <- T (1 - alpha)
//
// and A = 1 - T in the end. Backward never divides by 1 - alpha. For the gradient g of the image, let
// v = L . g_rgb + alpha g_a be what a sprite adds. Walking back to front with `behind` = what everything behind it
// comes to through an open view,
//
//   over:   dL/dlayer = T g,  dL/dalpha = T (g_a - behind),  behind <- v + (1 - alpha) behind
//   add:    dL/dlayer = g,    dL/dalpha = g_a T S,           S <- S (1 - alpha)  (S: transmittance of what is behind)
//
// so that T (from the walk front to back) and one running number are all that is needed.
#pragma once

#include "diffbmp/qualifiers.h"

namespace diffbmp {

// Drawing ends where less than this of the view is open; it keeps values within 1e-5 of
// `reference`, which never stops. The backward walk visits exactly the pairs that the forward walk did.
constexpr float least_transmittance = 4e-6f;

struct Over {
  static constexpr bool ordered = true;
  static constexpr float behind_start = 0.0f;

  template <class V>
  static DIFFBMP_FN V weight(V transmittance) {
    return transmittance;
  }
  template <class V>
  static DIFFBMP_FN V alpha_gradient(V transmittance, V behind, V grad_alpha) {
    return transmittance * (grad_alpha - behind);
  }
  template <class V>
  static DIFFBMP_FN V next_behind(V behind, V alpha, V added) {
    return behind + (added - alpha * behind);
  }
};

struct Add {
  static constexpr bool ordered = false;
  static constexpr float behind_start = 1.0f;

  template <class V>
  static DIFFBMP_FN V weight(V transmittance) {
    return transmittance * 0.0f + 1.0f;
  }
  template <class V>
  static DIFFBMP_FN V alpha_gradient(V transmittance, V behind, V grad_alpha) {
    return grad_alpha * transmittance * behind;
  }
  template <class V>
  static DIFFBMP_FN V next_behind(V behind, V alpha, V) {
    return behind - alpha * behind;
  }
};

}  // namespace diffbmp
