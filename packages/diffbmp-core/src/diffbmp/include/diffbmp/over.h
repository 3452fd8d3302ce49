// Compositing one layer, and the adjoint. V is a scalar or a vector of the compiler's.
//
// A layer is opacity times a premultiplied sample: rgb = opacity P, alpha = opacity M, where M is the texture's
// coverage and P = (1 - mu) color M + mu (texture rgb, premultiplied).
//
//   over   C = sum_k T_k rgb_k,  A = 1 - prod_k (1 - alpha_k),  T_k = product of (1 - alpha) of the nearer layers
//   add    C = sum_k rgb_k,      A as above
//
// The adjoint walks from the back to the front. It holds one number per pixel besides T_k, which the walk from the
// front has to keep: for over S_k = g . (composite of the layers behind k), for add the product of (1 - alpha) behind.
// Nothing is divided by 1 - alpha, so a layer of alpha exactly 1 is like any other.
#pragma once

#include "diffbmp/base.h"

namespace diffbmp {

// What a layer adds to the sums over its pixels, per unit of opacity: every member is still to be multiplied by the
// opacity, `opacity` excepted.
template <class V>
struct LayerAdjoint {
  V coverage;  // dL/dM
  V opacity;   // dL/dopacity
  V color;     // how much of g goes to (1 - mu) color: T M
  V texture;   // how much of mu g goes to the texture's rgb: T
};

// Over: g_rgb is (1 - mu) color . g, g_alpha the gradient of A, textured = mu (texture rgb) . g (zero for alpha-only),
// behind = S_k, which becomes S_k+1.
template <class V, class T>
DIFFBMP_INLINE LayerAdjoint<V> over_adjoint(V coverage, V transmittance, V g_rgb, V g_alpha, V textured, T opacity,
                                            V& behind) {
  const V pull = g_rgb + g_alpha - behind;
  const V gain = pull * coverage + textured;
  behind = behind + opacity * gain;
  return {transmittance * pull, transmittance * gain, transmittance * coverage, transmittance};
}

// Add: the colours see no transmittance, the alpha channel sees that of the layers in front and behind.
template <class V, class T>
DIFFBMP_INLINE LayerAdjoint<V> add_adjoint(V coverage, V transmittance, V g_rgb, V g_alpha, V textured, T opacity,
                                           V& behind) {
  const V pull = g_rgb + g_alpha * transmittance * behind;
  behind = behind * (1 - opacity * coverage);
  return {pull, pull * coverage + textured, coverage, coverage * 0 + 1};
}

}  // namespace diffbmp
