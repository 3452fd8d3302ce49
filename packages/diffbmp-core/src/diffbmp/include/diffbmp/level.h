// Level of detail: log2 of the longest axis, in texels of level 0, of a pixel's footprint; and its adjoint.
#pragma once

#include "diffbmp/frame.h"

namespace diffbmp {

template <class T>
struct Footprint {
  T scale;            // the largest entry of J = diag(w / 2, h / 2) A^-1, which J is divided by: see below
  T p, q, r, root;    // Gram matrix p q / q r of J / scale; root of (p - r)^2 + 4 q^2
  T longest_squared;  // the larger eigenvalue
};

// Where both axes are equal (every stamp that is not stretched) the root counts as zero and as constant: the
// symmetric sub-gradient. Divided by its scale, J has fourth powers that do not overflow for the smallest sprites.
template <class T>
DIFFBMP_INLINE Footprint<T> footprint(const Inverse<T>& inverse, T width, T height) {
  const T w = width / T(2), h = height / T(2);
  T ux = inverse.ux * w, uy = inverse.uy * w, vx = inverse.vx * h, vy = inverse.vy * h;
  Footprint<T> f;
  f.scale = larger(larger(absolute(ux), absolute(uy)), larger(absolute(vx), absolute(vy)));
  ux /= f.scale, uy /= f.scale, vx /= f.scale, vy /= f.scale;
  f.p = ux * ux + vx * vx;
  f.q = ux * uy + vx * vy;
  f.r = uy * uy + vy * vy;
  const T spread = (f.p - f.r) * (f.p - f.r) + T(4) * (f.q * f.q);
  const bool is_round = spread <= T(1e-10) * ((f.p + f.r) * (f.p + f.r));
  f.root = is_round ? T(0) : sqrt_of(spread);
  f.longest_squared = (f.p + f.r + f.root) / T(2);
  return f;
}

template <class T>
DIFFBMP_INLINE T level_of_detail(const Footprint<T>& f) {
  return log2_of(f.longest_squared) / T(2) + log2_of(f.scale);
}

// The level nearest to lambda, in 0 .. count - 1.
template <class T>
DIFFBMP_INLINE int nearest_level(T lambda, int count) {
  const T rounded = floor_of(lambda + T(0.5));
  if (!(rounded > T(0))) return 0;
  return rounded < T(count - 1) ? int(rounded) : count - 1;
}

// The two levels around lambda and how much of the coarser one is in the blend. `slope` is the derivative of the
// clamped lambda: 0 beyond the ends of the chain.
template <class T>
struct LevelPair {
  int finer, coarser;
  T weight, slope;
};

template <class T>
DIFFBMP_INLINE LevelPair<T> level_pair(T lambda, int count) {
  const T last = T(count - 1);
  LevelPair<T> pair;
  pair.slope = lambda >= T(0) && lambda < last ? T(1) : T(0);
  const T clamped = lambda >= T(0) ? smaller(lambda, last) : T(0);
  const int below = count >= 2 ? count - 2 : 0;
  pair.finer = smaller(int(floor_of(clamped)), below);
  pair.coarser = smaller(pair.finer + 1, count - 1);
  pair.weight = clamped - T(pair.finer);
  return pair;
}

// Adds to the gradient of the inverse (`moments.ux` to `moments.vy`) what comes from d(loss)/d(lambda).
template <class T>
DIFFBMP_INLINE void level_gradient(const Inverse<T>& inverse, const Footprint<T>& f, T width, T height,
                                   T grad_lambda, Moments<T>& moments) {
  constexpr T kHalfOverLog2 = T(0.72134752044448170368);  // 1 / (2 ln 2)
  const T grad_longest = grad_lambda * kHalfOverLog2 / f.longest_squared;
  const T sharp = f.root > T(0) ? T(1) / f.root : T(0);
  const T grad_p = grad_longest * (T(1) + (f.p - f.r) * sharp) / T(2);
  const T grad_r = grad_longest * (T(1) - (f.p - f.r) * sharp) / T(2);
  const T grad_q = grad_longest * T(2) * f.q * sharp;
  const T w = width / T(2) / f.scale, h = height / T(2) / f.scale, ww = w * w, hh = h * h;
  moments.ux += ww * (T(2) * grad_p * inverse.ux + grad_q * inverse.uy);
  moments.uy += ww * (T(2) * grad_r * inverse.uy + grad_q * inverse.ux);
  moments.vx += hh * (T(2) * grad_p * inverse.vx + grad_q * inverse.vy);
  moments.vy += hh * (T(2) * grad_r * inverse.vy + grad_q * inverse.vx);
}

// The same for a texture of `levels` levels whose first is (width, height), and d(loss)/d(place between two levels).
template <class T>
DIFFBMP_INLINE void blend_gradient(const Inverse<T>& inverse, T width, T height, int levels, T grad_place,
                                   Moments<T>& moments) {
  const Footprint<T> f = footprint(inverse, width, height);
  const T slope = level_pair(level_of_detail(f), levels).slope;
  if (slope != T(0)) level_gradient(inverse, f, width, height, slope * grad_place, moments);
}

}  // namespace diffbmp
