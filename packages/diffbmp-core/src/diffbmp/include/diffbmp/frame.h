// The frame of a sprite: canvas = A (u, v) + t, its inverse, and the adjoint of the inverse.
#pragma once

#include "diffbmp/base.h"

namespace diffbmp {

// Below this determinant (a quarter of the sprite's area in square pixels) a frame is degenerate.
constexpr double kMinimumDeterminant = 1e-12;

// (u, v) = A^-1 (p - t); a degenerate frame is not drawn, and its inverse is the identity.
template <class T>
struct Inverse {
  T ux, uy;  // du/dx, du/dy
  T vx, vy;
  bool drawn;
};

// `frame` is row-major (2, 3): a b tx / c d ty. Written without fused multiply-add in mind: compile with contraction
// off where the same side of the threshold as the reference renderer's must be taken.
template <class T, class S>
DIFFBMP_INLINE Inverse<T> invert_frame(const S* frame) {
  const T a = T(frame[0]), b = T(frame[1]), c = T(frame[3]), d = T(frame[4]);
  const T determinant = a * d - b * c;
  const bool drawn = absolute(determinant) > T(kMinimumDeterminant);
  if (!drawn) return {T(1), T(0), T(0), T(1), false};
  return {d / determinant, -b / determinant, -c / determinant, a / determinant, true};
}

// Sums over a sprite's pixels of the gradient of one scalar loss.
template <class T>
struct Moments {
  T u, v;            // sum of dL/du, dL/dv
  T ux, uy, vx, vy;  // sum of dL/du (p - t)_x, ...: the gradient of the inverse
};

// The same sums as a kernel takes them, of dL/dx and dL/dy at a texel position: with columns and rows of pixels relative
// to an origin on the canvas.
template <class T>
struct TexelSums {
  T x, y;
  T x_column, x_row, y_column, y_row;
};

// From texels to (u, v), which are `to_u` and `to_v` texels a unit, and from the origin, which lies at `shift` from t.
template <class T>
DIFFBMP_INLINE Moments<T> moments_of(const TexelSums<T>& sums, T to_u, T to_v, T shift_x, T shift_y) {
  Moments<T> moments;
  moments.u = to_u * sums.x;
  moments.v = to_v * sums.y;
  moments.ux = to_u * (sums.x_column + shift_x * sums.x);
  moments.uy = to_u * (sums.x_row + shift_y * sums.x);
  moments.vx = to_v * (sums.y_column + shift_x * sums.y);
  moments.vy = to_v * (sums.y_row + shift_y * sums.y);
  return moments;
}

// Gradient of the frame, row-major (2, 3): from (u, v) = A^-1 (p - t) follows dL/dt = -A^-T dL/d(u, v) and
// dL/dA = -A^-T (dL/dA^-1) A^-T.
template <class T>
DIFFBMP_INLINE void frame_gradient(const Inverse<T>& inverse, const Moments<T>& g, T* gradient) {
  const T left_xu = inverse.ux * g.ux + inverse.vx * g.vx, left_xv = inverse.ux * g.uy + inverse.vx * g.vy;
  const T left_yu = inverse.uy * g.ux + inverse.vy * g.vx, left_yv = inverse.uy * g.uy + inverse.vy * g.vy;
  gradient[0] = -(left_xu * inverse.ux + left_xv * inverse.uy);
  gradient[1] = -(left_xu * inverse.vx + left_xv * inverse.vy);
  gradient[2] = -(inverse.ux * g.u + inverse.vx * g.v);
  gradient[3] = -(left_yu * inverse.ux + left_yv * inverse.uy);
  gradient[4] = -(left_yu * inverse.vx + left_yv * inverse.vy);
  gradient[5] = -(inverse.uy * g.u + inverse.vy * g.v);
}

}  // namespace diffbmp
