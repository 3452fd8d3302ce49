// Memory for arrays that may be large. The system hands out fresh memory page by page, at the first touch of each; of
// 4 KiB pages that took longer than drawing did on the largest canvases. So it is asked for huge pages where it has them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace diffbmp {

constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kLarge = 2 * kHugePage;

// Asks for huge pages for the whole ones within `bytes` at `at`. Only a wish: it changes no contents and cannot fail.
inline void prefer_huge_pages(void* at, size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const uintptr_t mask = kHugePage - 1, from = (uintptr_t(at) + mask) & ~mask, to = (uintptr_t(at) + bytes) & ~mask;
  if (bytes >= kLarge && from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)at, (void)bytes;
#endif
}

// Leaves trivial elements as they come: whoever resizes an array fills it, on all threads.
template <class T>
struct LargeAllocator {
  using value_type = T;
  LargeAllocator() = default;
  template <class U>
  LargeAllocator(const LargeAllocator<U>&) {}

  T* allocate(size_t count) {
    if (count > SIZE_MAX / 2 / sizeof(T)) throw std::bad_alloc();
    const size_t bytes = count * sizeof(T), unit = bytes < kLarge ? 64 : kHugePage;
    void* at = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
    if (!at) throw std::bad_alloc();
    prefer_huge_pages(at, bytes);
    return static_cast<T*>(at);
  }
  void deallocate(T* at, size_t) { std::free(at); }

  template <class U>
  void construct(U* at) {
    ::new (static_cast<void*>(at)) U;
  }
  template <class U, class... Arguments>
  void construct(U* at, Arguments&&... arguments) {
    ::new (static_cast<void*>(at)) U(std::forward<Arguments>(arguments)...);
  }
  template <class U>
  bool operator==(const LargeAllocator<U>&) const { return true; }
  template <class U>
  bool operator!=(const LargeAllocator<U>&) const { return false; }
};

template <class T>
using LargeVector = std::vector<T, LargeAllocator<T>>;

}  // namespace diffbmp
