// Runs one kernel on the host, block after block, each of a block's threads as a fiber of its own.
//
//   fiber    runs until it comes to a barrier, a shuffle or a vote, or ends; which one runs next is drawn at random
//            from `seed`, so that different seeds are different timings of a card. So is the order of the blocks
//   warp     a shuffle or vote is answered once all 32 lanes have come to it
//   block    a barrier opens once every thread has come to it
//
// What is checked:
//
//   bounds   every access is inside a shared array, an argument's memory, or the thread's own variables
//   races    two accesses to one place, at least one of them a write and not both atomic, by two threads, without a
//            barrier of their block between them; threads of two blocks have none
//   shared   what is read was written, by this block
//   meeting  all threads come to the same barriers, all lanes to the same shuffles and votes
//
// Races are found by when places are used, not by what comes out of it: whichever thread happened to be first. The
// first thing that is wrong ends the launch and is returned as a sentence.
#include "shim.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#if !defined(__x86_64__)
#error "the fibers are written for x86-64; add the switch of registers for this machine"
#endif

extern "C" {
void shim_switch(void** from, void* to) __attribute__((visibility("hidden")));
extern const char __ehdr_start[] __attribute__((visibility("hidden")));  // this library, as the linker knows it
extern const char _end[] __attribute__((visibility("hidden")));
}

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

namespace shim {
namespace {

constexpr int kLanes = 32;
constexpr size_t kStack = 64 * 1024, kGranule = 4;

struct Fiber {
  void* stack_pointer = nullptr;
  Wait wait = Wait::kNothing;
  uint32_t value = 0, result = 0;
  int parameter = 0;
};

// Who used a place, and after how many barriers of the block.
struct Use {
  long long block = -1;
  int thread = 0;
  unsigned epoch = 0;
  bool atomic = false;
};

// A place's last write, and its last reads by two different threads.
struct Place {
  Use writer, readers[2];
};

struct Array {
  const char* name;
  size_t count, element;
  std::vector<char> values;
  std::vector<Place> places;
};

struct Argument {
  uintptr_t begin, end;
  std::vector<Place> places;  // one for every kGranule bytes
};

struct State {
  std::vector<Fiber> fibers;
  std::vector<char> stacks;
  std::vector<Argument> arguments;
  std::vector<Array> arrays;
  void** values = nullptr;
  void* scheduler = nullptr;
  int current = 0;
  long long block = 0;
  unsigned epoch = 1;  // barriers passed
  bool running = false;
  std::string error;
} state;

std::string said(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string said(const char* format, ...) {
  char sentence[400];
  va_list values;
  va_start(values, format);
  vsnprintf(sentence, sizeof sentence, format, values);
  va_end(values);
  return sentence;
}

// Ends the launch; the fiber that did wrong is not gone on with.
[[noreturn]] void fail(const std::string& sentence) {
  if (state.error.empty()) state.error = sentence;
  shim_switch(&state.fibers[state.current].stack_pointer, state.scheduler);
  abort();
}

std::string who(const Use& use) { return said("thread %d of block %lld", use.thread, use.block); }

Use this_use(bool atomic) { return {state.block, state.current, state.epoch, atomic}; }

bool conflicts(const Use& before, const Use& now) {
  if (before.block < 0 || (before.atomic && now.atomic)) return false;
  if (before.block != now.block) return true;
  return before.thread != now.thread && before.epoch == now.epoch;
}

// `name` gives the name of the place, for a sentence.
template <class Name>
void note(Place& place, const Use& now, bool is_write, const Name& name) {
  if (conflicts(place.writer, now))
    fail("race: " + name() + " is " + (is_write ? "written" : "read") + " by " + who(now) + " and was written by " +
         who(place.writer) + ", no barrier between");
  if (is_write) {
    for (const Use& reader : place.readers)
      if (conflicts(reader, now))
        fail("race: " + name() + " is written by " + who(now) + " and was read by " + who(reader) +
             ", no barrier between");
    place.writer = now;
  } else {
    Use& latest = place.readers[0];
    if (latest.block != now.block || latest.thread != now.thread) place.readers[1] = latest;
    latest = now;
  }
}

void note_global(const void* at, size_t bytes, bool is_write, bool atomic) {
  if (!state.running) return;
  const auto begin = reinterpret_cast<uintptr_t>(at), end = begin + bytes;
  const auto stacks = reinterpret_cast<uintptr_t>(state.stacks.data());
  if (begin >= stacks && end <= stacks + state.stacks.size()) return;
  if (begin >= reinterpret_cast<uintptr_t>(__ehdr_start) && end <= reinterpret_cast<uintptr_t>(_end)) return;
  const Use now = this_use(atomic);
  const Argument* nearest = nullptr;
  long long behind = 0;  // bytes from the end of the nearest
  for (size_t n = 0; n < state.arguments.size(); ++n) {
    Argument& argument = state.arguments[n];
    if (begin >= argument.begin && end <= argument.end) {
      const size_t first = (begin - argument.begin) / kGranule, last = (end - 1 - argument.begin) / kGranule;
      for (size_t place = first; place <= last; ++place)
        note(argument.places[place], now, is_write, [&] { return said("array %zu at byte %zu", n, place * kGranule); });
      return;
    }
    const auto distance = (long long)(end - argument.end);
    if (nearest == nullptr || llabs(distance) < llabs(behind)) nearest = &argument, behind = distance;
  }
  const std::string place =
      nearest == nullptr ? "where there is no array"
                         : said("byte %lld of array %d, which has %zu", (long long)(begin - nearest->begin),
                                int(nearest - state.arguments.data()), size_t(nearest->end - nearest->begin));
  fail("out of bounds: " + who(now) + (is_write ? " writes " : " reads ") + said("%zu bytes at ", bytes) + place);
}

// --- fibers ---

void pause(Wait wait) {
  Fiber& fiber = state.fibers[state.current];
  fiber.wait = wait;
  shim_switch(&fiber.stack_pointer, state.scheduler);
}

[[noreturn]] void begin_fiber() {
  shim_kernel(state.values);
  pause(Wait::kEnd);
  abort();
}

void prepare(Fiber& fiber, char* stack) {
  auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + kStack) & ~uintptr_t(15));
  top[-2] = reinterpret_cast<void*>(&begin_fiber);
  for (int n = 3; n <= 8; ++n) top[-n] = nullptr;  // registers
  fiber = Fiber{};
  fiber.stack_pointer = top - 8;
}

// --- the scheduler ---

void settle_warp(int warp) {
  Fiber* lanes = state.fibers.data() + warp * kLanes;
  const Wait wait = lanes[0].wait;
  for (int l = 0; l < kLanes; ++l)
    if (lanes[l].wait != wait || lanes[l].parameter != lanes[0].parameter) {
      state.error = "the lanes of a warp come to different shuffles or votes";
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
bool settle() {
  const int threads = int(state.fibers.size());
  bool opened = false;
  for (int warp = 0; warp < threads / kLanes; ++warp) {
    int at_warp = 0;
    for (int l = 0; l < kLanes; ++l) {
      const Wait wait = state.fibers[warp * kLanes + l].wait;
      at_warp += wait == Wait::kShuffleXor || wait == Wait::kShuffleUp || wait == Wait::kBallot;
    }
    if (at_warp == kLanes) {
      settle_warp(warp);
      opened = true;
    }
  }
  int at_block = 0, kinds = 0;
  uint32_t any = 0;
  for (const Fiber& f : state.fibers) {
    at_block += f.wait == Wait::kBlock;
    kinds |= 1 << f.parameter % 2;
    any |= f.value;
  }
  if (at_block == threads) {
    if (kinds == 3) state.error = "the threads of a block come to different barriers";
    for (Fiber& f : state.fibers) {
      f.wait = Wait::kNothing;
      f.result = any;
    }
    ++state.epoch;
    opened = true;
  }
  return opened;
}

void run_block(std::minstd_rand& random) {
  for (Array& array : state.arrays) array.places.assign(array.count, Place{});
  state.epoch = 1;
  for (size_t t = 0; t < state.fibers.size(); ++t) prepare(state.fibers[t], state.stacks.data() + t * kStack);
  std::vector<int> ready;
  for (;;) {
    ready.clear();
    bool ended = true;
    for (size_t t = 0; t < state.fibers.size(); ++t) {
      if (state.fibers[t].wait == Wait::kNothing) ready.push_back(int(t));
      ended = ended && state.fibers[t].wait == Wait::kEnd;
    }
    if (ended) return;
    if (ready.empty() && !settle()) {
      state.error = "some threads of a block wait at a barrier, a shuffle or a vote that others never come to";
      return;
    }
    for (size_t n = ready.size(); n > 1; --n) std::swap(ready[n - 1], ready[random() % n]);
    for (int t : ready) {
      state.current = t;
      thread_index.x = unsigned(t);
      shim_switch(&state.scheduler, state.fibers[t].stack_pointer);
      if (!state.error.empty()) return;
    }
    if (!state.error.empty()) return;
  }
}

Array& shared_array(const SharedArray& array, long long index, const char* doing) {
  Array& found = state.arrays[array.slot];
  if (index < 0 || index >= (long long)(found.count))
    fail("out of bounds: " + who(this_use(false)) + doing + said("%s[%lld], which has %zu", found.name, index,
                                                                  found.count));
  return found;
}

std::string element(const Array& array, long long index) { return said("%s[%lld]", array.name, index); }

}  // namespace

uint32_t meet(Wait wait, uint32_t value, int parameter) {
  Fiber& fiber = state.fibers[state.current];
  fiber.value = value;
  fiber.parameter = parameter;
  pause(wait);
  return fiber.result;
}

SharedArray::SharedArray(const char* name, size_t count, size_t element) : slot(state.arrays.size()) {
  state.arrays.push_back({name, count, element, std::vector<char>(count * element), std::vector<Place>(count)});
}

void read_shared(const SharedArray& array, long long index, void* to) {
  Array& from = shared_array(array, index, " reads ");
  if (from.places[index].writer.block < 0)
    fail("read before anything was written: " + element(from, index) + " by " + who(this_use(false)));
  note(from.places[index], this_use(false), false, [&] { return element(from, index); });
  memcpy(to, from.values.data() + index * from.element, from.element);
}

void write_shared(const SharedArray& array, long long index, const void* from) {
  Array& to = shared_array(array, index, " writes ");
  note(to.places[index], this_use(false), true, [&] { return element(to, index); });
  memcpy(to.values.data() + index * to.element, from, to.element);
}

void before_atomic(const void* at, size_t bytes) { note_global(at, bytes, true, true); }

}  // namespace shim

// --- what the compiler calls before every access ---

#define SHIM_HOOKS(bytes)                                                                                  \
  void __tsan_read##bytes(const void* at) { shim::note_global(at, bytes, false, false); }                  \
  void __tsan_write##bytes(const void* at) { shim::note_global(at, bytes, true, false); }                  \
  void __tsan_unaligned_read##bytes(const void* at) { shim::note_global(at, bytes, false, false); }        \
  void __tsan_unaligned_write##bytes(const void* at) { shim::note_global(at, bytes, true, false); }

extern "C" {
SHIM_HOOKS(1)
SHIM_HOOKS(2)
SHIM_HOOKS(4)
SHIM_HOOKS(8)
SHIM_HOOKS(16)
void __tsan_read_range(const void* at, size_t bytes) { shim::note_global(at, bytes, false, false); }
void __tsan_write_range(const void* at, size_t bytes) { shim::note_global(at, bytes, true, false); }
void __tsan_init() {}

// Runs the kernel. Array n of `count` is the memory that it may use from begins[n] on, sizes[n] bytes of it. Returns
// the first thing that was wrong, or null.
__attribute__((visibility("default"))) const char* shim_launch(long long blocks, int threads, void** values,
                                                               int count, const uintptr_t* begins,
                                                               const size_t* sizes, unsigned seed) {
  using namespace shim;
  state.error.clear();
  state.fibers.assign(size_t(threads), Fiber{});
  state.stacks.resize(threads * kStack);
  state.values = values;
  state.arguments.clear();
  for (int n = 0; n < count; ++n)
    state.arguments.push_back({begins[n], begins[n] + sizes[n], std::vector<Place>(sizes[n] / kGranule + 1)});
  std::minstd_rand random(seed + 1);
  std::vector<long long> order;  // of blocks, which on a card is any
  for (long long b = 0; b < blocks; ++b) order.push_back(b);
  for (size_t n = order.size(); n > 1; --n) std::swap(order[n - 1], order[random() % n]);
  state.running = true;
  for (long long b : order) {
    state.block = b;
    block_index.x = unsigned(b);
    run_block(random);
    if (!state.error.empty()) break;
  }
  state.running = false;
  return state.error.empty() ? nullptr : state.error.c_str();
}
}
