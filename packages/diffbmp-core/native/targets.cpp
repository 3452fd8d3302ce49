// Which of the compiled instruction sets this machine has, the best first.
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace diffbmp {

#define DIFFBMP_DECLARE(name) extern const Target kTarget_##name;
#if defined(__x86_64__)
DIFFBMP_DECLARE(avx2)
DIFFBMP_DECLARE(sse2)
#else
DIFFBMP_DECLARE(neon)
#endif
#undef DIFFBMP_DECLARE

int available_targets(const Target** targets) {
  int count = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) targets[count++] = &kTarget_avx2;
  targets[count++] = &kTarget_sse2;
#else
  targets[count++] = &kTarget_neon;
#endif
  return count;
}

const Target* find_target(const char* name) {
  const Target* targets[kMostTargets];
  const int count = available_targets(targets);
  if (!*name) return targets[0];
  for (int n = 0; n < count; ++n)
    if (std::strcmp(targets[n]->name, name) == 0) return targets[n];
  return nullptr;
}

}  // namespace diffbmp
