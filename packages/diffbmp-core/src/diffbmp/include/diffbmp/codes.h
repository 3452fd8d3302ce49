// The numbers by which kernels know blend modes and filters, and the lookups that filters come to: given here and nowhere
// else. Python has the same names in the same order (rendering/renderer.py); core compares them when it loads its native
// module.
#pragma once

#include "diffbmp/base.h"

namespace diffbmp {

// X(what code calls it, what a person calls it); the first is number 0.
#define DIFFBMP_EACH_BLEND(X) X(kOver, "over") X(kAdd, "add")
#define DIFFBMP_EACH_FILTER(X) \
  X(kMipmap, "mipmap") X(kTrilinear, "trilinear") X(kBilinear, "bilinear") X(kNearestTexel, "nearest_texel")

#define DIFFBMP_ENUMERATOR(code, name) code,
enum class Blend : int { DIFFBMP_EACH_BLEND(DIFFBMP_ENUMERATOR) };
enum class Filter : int { DIFFBMP_EACH_FILTER(DIFFBMP_ENUMERATOR) };
#undef DIFFBMP_ENUMERATOR

#define DIFFBMP_COUNTED(code, name) +1
constexpr int kBlends = 0 DIFFBMP_EACH_BLEND(DIFFBMP_COUNTED);
constexpr int kFilters = 0 DIFFBMP_EACH_FILTER(DIFFBMP_COUNTED);
#undef DIFFBMP_COUNTED

// How a texture is read: "mipmap" and "bilinear" differ only in the level that is read.
enum class Lookup : int { kBilinear, kTrilinear, kNearestTexel };

DIFFBMP_INLINE constexpr Lookup lookup_of(Filter filter) {
  return filter == Filter::kTrilinear      ? Lookup::kTrilinear
         : filter == Filter::kNearestTexel ? Lookup::kNearestTexel
                                           : Lookup::kBilinear;
}

}  // namespace diffbmp
