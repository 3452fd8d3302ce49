// Compiled once for each instruction set, with DIFFBMP_TARGET naming it.
#include "kernels.h"

#include "backward.h"
#include "fetch.h"
#include "forward.h"

#define DIFFBMP_JOIN_(a, b) a##b
#define DIFFBMP_JOIN(a, b) DIFFBMP_JOIN_(a, b)
#define DIFFBMP_TEXT_(a) #a
#define DIFFBMP_TEXT(a) DIFFBMP_TEXT_(a)

namespace diffbmp {
namespace {

template <class Real, Lookup kLookup, Blend kBlend>
constexpr KernelTable<Real> kTable = {forward_tile<Real, kLookup, kBlend>, backward_tile<Real, kLookup, kBlend>};

#define DIFFBMP_OF_BLEND(code, name) kTable<Real, kLookup, Blend::code>,
template <class Real, Lookup kLookup>
constexpr BlendKernels<Real> kOfLookup = {{DIFFBMP_EACH_BLEND(DIFFBMP_OF_BLEND)}};

#define DIFFBMP_OF_FILTER(code, name) kOfLookup<Real, lookup_of(Filter::code)>,
template <class Real>
constexpr Kernels<Real> kKernels = {{DIFFBMP_EACH_FILTER(DIFFBMP_OF_FILTER)}};

}  // namespace

extern const Target DIFFBMP_JOIN(kTarget_, DIFFBMP_TARGET);
const Target DIFFBMP_JOIN(kTarget_, DIFFBMP_TARGET) = {DIFFBMP_TEXT(DIFFBMP_TARGET), &kKernels<float>,
                                                       &kKernels<double>, fetch_plain, fetch_tuned};

}  // namespace diffbmp
