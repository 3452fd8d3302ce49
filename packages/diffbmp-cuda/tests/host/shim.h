// CUDA for the host: runs one kernel, block after block, each of a block's threads as a fiber of its own.
//
//   fiber    runs until it comes to a barrier, a shuffle or a vote, or ends; which one runs next is drawn at random
//            from `seed`, so that different seeds are different timings of a card
//   warp     a shuffle or vote is answered once all 32 lanes have come to it
//   block    a barrier opens once every thread has come to it
//
// What is checked: every access to shared memory is inside its array, reads something that was written in this block,
// and does not meet another thread's access to the same element without a barrier between them; and all threads come
// to the same barriers, shuffles and votes. The first thing that is wrong is returned as a sentence. Accesses to
// global memory are checked by the address sanitizer, where the build has it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#define DIFFBMP_ON_HOST
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)

namespace shim {

constexpr int kLanes = 32, kMostWarps = 32;

struct Index {
  unsigned x;
};

// What a thread waits for. A value is that of a lane, or of a thread.
enum class Wait : int { kNothing, kBlock, kShuffleXor, kShuffleUp, kBallot, kEnd };

struct Fiber {
  void* stack_pointer = nullptr;
  Wait wait = Wait::kNothing;
  uint32_t value = 0, result = 0;
  int parameter = 0;
};

struct Run {
  std::vector<Fiber> fibers;
  void* scheduler = nullptr;
  void (*body)(void*) = nullptr;
  void* arguments = nullptr;
  int current = 0;
  unsigned block_epoch = 1;               // barriers passed
  unsigned warp_epoch[kMostWarps] = {};   // __syncwarp passed
  char error[512] = {};

  void fail(const char* sentence) {
    if (!error[0]) snprintf(error, sizeof error, "%s", sentence);
  }
};

inline Run* run = nullptr;

inline int thread() { return run->current; }

// --- fibers ---

#if !defined(__x86_64__)
#error "the fibers are written for x86-64; add the switch of registers for this machine"
#endif
extern "C" void shim_switch(void** from, void* to) __attribute__((visibility("hidden")));
asm(R"(
.text
.hidden shim_switch
.globl shim_switch
.type shim_switch, @function
shim_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size shim_switch, .-shim_switch
)");

constexpr size_t kStack = 256 * 1024;

inline void pause(Wait wait) {
  Fiber& fiber = run->fibers[run->current];
  fiber.wait = wait;
  shim_switch(&fiber.stack_pointer, run->scheduler);
}

[[noreturn]] inline void begin_fiber() {
  run->body(run->arguments);
  pause(Wait::kEnd);
  abort();
}

inline void prepare(Fiber& fiber, char* stack) {
  auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + kStack) & ~uintptr_t(15));
  top[-2] = reinterpret_cast<void*>(&begin_fiber);
  for (int n = 3; n <= 8; ++n) top[-n] = nullptr;  // registers
  fiber = Fiber{};
  fiber.stack_pointer = top - 8;
}

// --- shared memory ---

struct Element {
  int writer = -1;
  unsigned block_epoch = 0, warp_epoch = 0;
  struct {
    unsigned block_epoch = 0, warp_epoch = 0, lanes = 0;
  } readers[kMostWarps];
};

struct ArrayBase {
  const char* name;
  std::vector<Element> elements;

  ArrayBase(const char* name, size_t count) : name(name), elements(count) { all().push_back(this); }
  static std::vector<ArrayBase*>& all() {
    static std::vector<ArrayBase*> arrays;
    return arrays;
  }
  void forget() {
    for (Element& e : elements) e = Element{};
  }

  void complain(const char* what, long long index, int other) {
    char sentence[256];
    snprintf(sentence, sizeof sentence, what, name, index, thread(), other);
    run->fail(sentence);
  }
  bool inside(long long index) {
    if (index >= 0 && index < (long long)(elements.size())) return true;
    complain("out of bounds: %s[%lld] by thread %d", index, 0);
    return false;
  }
  bool is_ordered(const Element& e) const {
    const int warp = thread() / kLanes;
    return e.writer == thread() || e.block_epoch < run->block_epoch ||
           (e.writer / kLanes == warp && e.warp_epoch < run->warp_epoch[warp]);
  }
  void on_read(long long index) {
    Element& e = elements[index];
    const int warp = thread() / kLanes, lane = thread() % kLanes;
    if (e.writer < 0)
      complain("read before anything was written: %s[%lld] by thread %d", index, 0);
    else if (!is_ordered(e))
      complain("race: %s[%lld] is read by thread %d and was written by thread %d, no barrier between", index, e.writer);
    auto& r = e.readers[warp];
    if (r.block_epoch != run->block_epoch || r.warp_epoch != run->warp_epoch[warp]) r.lanes = 0;
    r.block_epoch = run->block_epoch;
    r.warp_epoch = run->warp_epoch[warp];
    r.lanes |= 1u << lane;
  }
  void on_write(long long index) {
    Element& e = elements[index];
    const int warp = thread() / kLanes, lane = thread() % kLanes;
    if (e.writer >= 0 && !is_ordered(e))
      complain("race: %s[%lld] is written by thread %d and by thread %d, no barrier between", index, e.writer);
    for (int w = 0; w < kMostWarps; ++w) {
      const auto& r = e.readers[w];
      if (r.lanes == 0 || r.block_epoch != run->block_epoch) continue;
      const unsigned others = w == warp ? (r.warp_epoch == run->warp_epoch[w] ? r.lanes & ~(1u << lane) : 0u) : r.lanes;
      if (others)
        complain("race: %s[%lld] is written by thread %d and was read by thread %d, no barrier between", index,
                 w * kLanes + __builtin_ctz(others));
    }
    e.writer = thread();
    e.block_epoch = run->block_epoch;
    e.warp_epoch = run->warp_epoch[warp];
  }
};

template <class T>
struct Array : ArrayBase {
  std::vector<T> values;
  T nowhere{};
  Array(const char* name, size_t count) : ArrayBase(name, count), values(count) {}
};

template <class T>
struct View {
  Array<T>* array;
  struct Place {
    Array<T>* array;
    long long index;
    operator T() const {
      if (!array->inside(index)) return array->nowhere;
      array->on_read(index);
      return array->values[index];
    }
    void operator=(const T& value) const {
      if (!array->inside(index)) return;
      array->on_write(index);
      array->values[index] = value;
    }
    void operator=(const Place&) = delete;
  };
  Place operator[](long long index) const { return {array, index}; }
};

// --- the scheduler ---

inline void settle_warp(int warp) {
  Fiber* lanes = run->fibers.data() + warp * kLanes;
  const Wait wait = lanes[0].wait;
  for (int l = 0; l < kLanes; ++l)
    if (lanes[l].wait != wait || lanes[l].parameter != lanes[0].parameter) {
      run->fail("the lanes of a warp come to different shuffles or votes");
      return;
    }
  uint32_t ballot = 0;
  for (int l = 0; l < kLanes; ++l) ballot |= uint32_t(lanes[l].value != 0) << l;
  for (int l = 0; l < kLanes; ++l) {
    const int from = wait == Wait::kShuffleXor ? l ^ lanes[l].parameter : l - lanes[l].parameter;
    lanes[l].result = wait == Wait::kBallot ? ballot : lanes[from >= 0 ? from : l].value;
  }
  for (int l = 0; l < kLanes; ++l) lanes[l].wait = Wait::kNothing;
}

// Opens what all have come to. Returns whether anything was opened.
inline bool settle() {
  const int threads = int(run->fibers.size());
  bool opened = false;
  for (int warp = 0; warp < threads / kLanes; ++warp) {
    int at_warp = 0;
    for (int l = 0; l < kLanes; ++l) {
      const Wait wait = run->fibers[warp * kLanes + l].wait;
      at_warp += wait == Wait::kShuffleXor || wait == Wait::kShuffleUp || wait == Wait::kBallot;
    }
    if (at_warp == kLanes) {
      settle_warp(warp);
      opened = true;
    }
  }
  int at_block = 0;
  uint32_t any = 0;
  for (const Fiber& f : run->fibers) {
    at_block += f.wait == Wait::kBlock;
    any |= f.value;
  }
  if (at_block == threads) {
    for (Fiber& f : run->fibers) {
      f.wait = Wait::kNothing;
      f.result = any;
    }
    ++run->block_epoch;
    opened = true;
  }
  return opened;
}

inline Index block_index{0}, thread_index{0};

inline void run_block(std::vector<char>& stacks, std::minstd_rand& random) {
  for (ArrayBase* array : ArrayBase::all()) array->forget();
  run->block_epoch = 1;
  memset(run->warp_epoch, 0, sizeof run->warp_epoch);
  for (size_t t = 0; t < run->fibers.size(); ++t) prepare(run->fibers[t], stacks.data() + t * kStack);
  std::vector<int> ready;
  for (;;) {
    ready.clear();
    bool ended = true;
    for (size_t t = 0; t < run->fibers.size(); ++t) {
      if (run->fibers[t].wait == Wait::kNothing) ready.push_back(int(t));
      ended = ended && run->fibers[t].wait == Wait::kEnd;
    }
    if (ended) return;
    if (ready.empty() && !settle()) {
      run->fail("some threads of a block wait at a barrier, a shuffle or a vote that others never come to");
      return;
    }
    for (size_t n = ready.size(); n > 1; --n) std::swap(ready[n - 1], ready[random() % n]);
    for (int t : ready) {
      run->current = t;
      thread_index.x = unsigned(t);
      shim_switch(&run->scheduler, run->fibers[t].stack_pointer);
    }
    if (run->error[0]) return;
  }
}

template <class... Parameters, size_t... kPlaces>
void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<kPlaces...>) {
  kernel(*static_cast<std::remove_const_t<Parameters>*>(arguments[kPlaces])...);
}

template <class... Parameters>
const char* launch(void (*kernel)(Parameters...), long long blocks, int threads, void** arguments, unsigned seed) {
  static Run state;
  static std::vector<char> stacks;
  static void (*chosen)(Parameters...);
  chosen = kernel;
  state.error[0] = 0;
  state.fibers.assign(size_t(threads), Fiber{});
  if (stacks.size() < threads * kStack) stacks.resize(threads * kStack);
  state.body = [](void* a) { call(chosen, static_cast<void**>(a), std::index_sequence_for<Parameters...>()); };
  state.arguments = arguments;
  run = &state;
  std::minstd_rand random(seed + 1);
  std::vector<long long> order;  // of blocks, which on a card is any
  for (long long b = 0; b < blocks; ++b) order.push_back(b);
  for (size_t n = order.size(); n > 1; --n) std::swap(order[n - 1], order[random() % n]);
  for (long long b : order) {
    block_index.x = unsigned(b);
    run_block(stacks, random);
    if (state.error[0]) return state.error;
  }
  return nullptr;
}

inline uint32_t meet(Wait wait, uint32_t value, int parameter) {
  Fiber& fiber = run->fibers[run->current];
  fiber.value = value;
  fiber.parameter = parameter;
  pause(wait);
  return fiber.result;
}

template <class T>
T meet_as(Wait wait, T value, int parameter) {
  static_assert(sizeof(T) == 4, "shuffles are of 4 bytes");
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits = meet(wait, bits, parameter);
  memcpy(&value, &bits, 4);
  return value;
}

}  // namespace shim

// --- CUDA's names ---

#define threadIdx shim::thread_index
#define blockIdx shim::block_index
#define DIFFBMP_SHARED(T, name, count)              \
  static shim::Array<T> name##_array(#name, count); \
  const shim::View<T> name { &name##_array }

namespace diffbmp {
template <class T>
using Shared = shim::View<T>;

inline float half_to_float(unsigned short bits) {
  _Float16 half;
  memcpy(&half, &bits, 2);
  return float(half);
}
}  // namespace diffbmp

inline void __syncthreads() { shim::meet(shim::Wait::kBlock, 0, 0); }
inline int __syncthreads_or(int value) { return int(shim::meet(shim::Wait::kBlock, value != 0, 0)); }
template <class T>
T __shfl_xor_sync(unsigned, T value, int lanes) {
  return shim::meet_as(shim::Wait::kShuffleXor, value, lanes);
}
template <class T>
T __shfl_up_sync(unsigned, T value, int lanes) {
  return shim::meet_as(shim::Wait::kShuffleUp, value, lanes);
}
inline unsigned __ballot_sync(unsigned, int value) { return shim::meet(shim::Wait::kBallot, value != 0, 0); }
inline int __any_sync(unsigned mask, int value) { return __ballot_sync(mask, value) != 0; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
template <class To, class From>
To shim_bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "bits stay as many");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline unsigned __float_as_uint(float value) { return shim_bits<unsigned>(value); }
inline float __int_as_float(int bits) { return shim_bits<float>(bits); }
inline double __longlong_as_double(long long bits) { return shim_bits<double>(bits); }
inline long long __float2ll_rn(float value) { return llrintf(value); }
template <class T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at = before + value;
  return before;
}

extern "C" const char* shim_launch(long long blocks, int threads, void** arguments, unsigned seed);
