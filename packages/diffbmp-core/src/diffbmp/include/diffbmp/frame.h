// From a sprite's frame to texture coordinates, and the gradient back again (docs/rendering.md).
//
// A frame F = [A | t] maps sprite coordinates to canvas pixels. Texture coordinates of level l, in texels, with 0 at
// the centre of the first texel, are affine in the pixel (column j, row i):
//
//     x = column.origin + column.across * j + column.down * i        (and y = line. ... alike)
//
// Everything here runs once a sprite, so it is in double precision.
#pragma once

#include "diffbmp/qualifiers.h"

namespace diffbmp {

// Below this determinant a frame spans no area: drawn as nothing, with a zero gradient.
constexpr double minimum_determinant = 1e-12;

struct Inverse {
  double xx, xy, yx, yy;  // A^-1, row by row
  double center_x, center_y;
  bool drawn;
};

struct Affine {
  double origin, across, down;
};

struct TexelMap {
  Affine column, line;
};

// frame: six numbers, [[a, b, x], [c, d, y]] row by row.
template <class T>
DIFFBMP_FN Inverse invert(const T* frame) {
  const double a = frame[0], b = frame[1], c = frame[3], d = frame[4];
  const double determinant = a * d - b * c;
  Inverse inverse;
  inverse.center_x = frame[2];
  inverse.center_y = frame[5];
  const double size = determinant < 0 ? -determinant : determinant;
  inverse.drawn = size > minimum_determinant;  // false for NaN too
  const double scale = inverse.drawn ? 1.0 / determinant : 0.0;
  inverse.xx = d * scale;
  inverse.xy = -b * scale;
  inverse.yx = -c * scale;
  inverse.yy = a * scale;
  return inverse;
}

// Square of the longest axis, in texels of a w x h texture, of a pixel's footprint: the larger eigenvalue of J^T J,
// J = diag(w / 2, h / 2) A^-1. lambda is half its log2.
struct Footprint {
  double p, q, r;  // J^T J = [[p, q], [q, r]]
  double root;     // of (p - r)^2 + 4 q^2; 0 where the footprint is round
  double longest_squared;
};

// sqrt is passed in, so that no math library is named here.
template <class Sqrt>
DIFFBMP_FN Footprint footprint(const Inverse& inverse, double width, double height, Sqrt sqrt) {
  const double xx = inverse.xx * width / 2, xy = inverse.xy * width / 2;
  const double yx = inverse.yx * height / 2, yy = inverse.yy * height / 2;
  Footprint f;
  f.p = xx * xx + yx * yx;
  f.q = xx * xy + yx * yy;
  f.r = xy * xy + yy * yy;
  const double spread = (f.p - f.r) * (f.p - f.r) + 4 * f.q * f.q;
  const double sum = f.p + f.r;
  f.root = spread <= 1e-10 * sum * sum ? 0.0 : sqrt(spread);
  f.longest_squared = (sum + f.root) / 2;
  return f;
}

DIFFBMP_FN TexelMap texel_map(const Inverse& inverse, double width, double height) {
  // u = xx (j + 1/2 - center_x) + xy (i + 1/2 - center_y);  x = (u + 1) / 2 * width - 1/2
  const double dx = 0.5 - inverse.center_x, dy = 0.5 - inverse.center_y;
  TexelMap map;
  map.column.across = inverse.xx * width / 2;
  map.column.down = inverse.xy * width / 2;
  map.column.origin = (inverse.xx * dx + inverse.xy * dy + 1) * width / 2 - 0.5;
  map.line.across = inverse.yx * height / 2;
  map.line.down = inverse.yy * height / 2;
  map.line.origin = (inverse.yx * dx + inverse.yy * dy + 1) * height / 2 - 0.5;
  return map;
}

// Sums over a sprite's pixels of the gradient of the texel coordinates, as the walk collects them.
struct TexelSums {
  double x, x_across, x_down;  // sum of dL/dx, of j dL/dx, of i dL/dx
  double y, y_across, y_down;
  double detail;  // sum of dL/dlambda
};

// Add the gradient of the frame that the sums stand for. width and height are those of the level that x and y are
// measured in; base is the footprint on level 0 and base_width, base_height its size (used where detail is not zero).
template <class T>
DIFFBMP_FN void frame_gradient(const Inverse& n, const TexelSums& s, double width, double height, const Footprint& base,
                               double base_width, double base_height, T* gradient) {
  if (!n.drawn) return;
  // Gradient of u and v, then of t and A^-1 =: N (u = N (p - t)).
  const double hw = width / 2, hh = height / 2;
  const double dx = 0.5 - n.center_x, dy = 0.5 - n.center_y;
  const double gu = s.x * hw, gv = s.y * hh;
  double nxx = s.x_across * hw + gu * dx, nxy = s.x_down * hw + gu * dy;
  double nyx = s.y_across * hh + gv * dx, nyy = s.y_down * hh + gv * dy;
  const double tx = -(gu * n.xx + gv * n.yx), ty = -(gu * n.xy + gv * n.yy);
  if (s.detail != 0) {
    // lambda = log2(longest^2) / 2; longest^2 = (p + r + root) / 2.
    const double g = s.detail * 0.72134752044448170367996234050095 / base.longest_squared;  // 1 / (2 ln 2)
    const double inverse_root = base.root > 0 ? 1.0 / base.root : 0.0;
    const double gp = g * 0.5 * (1 + (base.p - base.r) * inverse_root);
    const double gr = g * 0.5 * (1 - (base.p - base.r) * inverse_root);
    const double gq = g * 0.5 * 4 * base.q * inverse_root;
    const double bw = base_width * base_width / 4, bh = base_height * base_height / 4;
    nxx += bw * (2 * gp * n.xx + gq * n.xy);
    nxy += bw * (2 * gr * n.xy + gq * n.xx);
    nyx += bh * (2 * gp * n.yx + gq * n.yy);
    nyy += bh * (2 * gr * n.yy + gq * n.yx);
  }
  // dA = -N^T dN N^T.
  const double pxx = n.xx * nxx + n.yx * nyx, pxy = n.xx * nxy + n.yx * nyy;
  const double pyx = n.xy * nxx + n.yy * nyx, pyy = n.xy * nxy + n.yy * nyy;
  gradient[0] = T(-(pxx * n.xx + pxy * n.xy));
  gradient[1] = T(-(pxx * n.yx + pxy * n.yy));
  gradient[2] = T(tx);
  gradient[3] = T(-(pyx * n.xx + pyy * n.xy));
  gradient[4] = T(-(pyx * n.yx + pyy * n.yy));
  gradient[5] = T(ty);
}

}  // namespace diffbmp
