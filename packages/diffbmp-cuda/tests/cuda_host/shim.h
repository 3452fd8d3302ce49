// CUDA for the host, as a kernel sees it: CUDA's names, and shared arrays that check every access.
//
// A kernel is compiled by g++ behind this header, with a call put in front of every access to memory
// (-fsanitize=thread, without its library); shim.cpp has those calls, and runs the kernel's threads.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#define DIFFBMP_ON_HOST
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define SHIM_UNCHECKED __attribute__((no_sanitize("thread"), noinline))

namespace shim {

struct Index {
  unsigned x;
};
inline Index block_index{0}, thread_index{0};

// What a thread waits for.
enum class Wait : int { kNothing, kBlock, kShuffleXor, kShuffleUp, kBallot, kEnd };

// Waits until all who must have come here too; gives what they made of the values.
uint32_t meet(Wait wait, uint32_t value, int parameter);

// --- shared memory ---

struct SharedArray {
  SharedArray(const char* name, size_t count, size_t element);
  size_t slot;
};
void read_shared(const SharedArray& array, long long index, void* to);
void write_shared(const SharedArray& array, long long index, const void* from);

template <class T>
struct View {
  const SharedArray* array;
  struct Place {
    const SharedArray* array;
    long long index;
    operator T() const {
      T value{};
      read_shared(*array, index, &value);
      return value;
    }
    void operator=(const T& value) const { write_shared(*array, index, &value); }
    void operator=(const Place&) = delete;
  };
  Place operator[](long long index) const { return {array, index}; }
};

// --- global memory ---

void before_atomic(const void* at, size_t bytes);

template <class T>
T meet_as(Wait wait, T value, int parameter) {
  static_assert(sizeof(T) == 4, "shuffles are of 4 bytes");
  uint32_t bits;
  memcpy(&bits, &value, 4);
  bits = meet(wait, bits, parameter);
  memcpy(&value, &bits, 4);
  return value;
}

template <class... Parameters, size_t... kPlaces>
SHIM_UNCHECKED void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<kPlaces...>) {
  kernel(*static_cast<std::remove_const_t<Parameters>*>(arguments[kPlaces])...);
}

// Calls a kernel with its arguments, as cuLaunchKernel is given them: each a pointer to its value.
template <class... Parameters>
SHIM_UNCHECKED void call(void (*kernel)(Parameters...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<Parameters...>());
}

}  // namespace shim

// --- CUDA's names ---

#define threadIdx shim::thread_index
#define blockIdx shim::block_index
#define DIFFBMP_SHARED(T, name, count)                           \
  static const shim::SharedArray name##_array(#name, count, sizeof(T)); \
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
inline int __syncthreads_or(int value) { return int(shim::meet(shim::Wait::kBlock, value != 0, 1)); }
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
SHIM_UNCHECKED T atomicAdd(T* at, T value) {
  shim::before_atomic(at, sizeof(T));
  const T before = *at;
  *at = before + value;
  return before;
}

extern "C" void shim_kernel(void** arguments);  // calls the one kernel of this library
