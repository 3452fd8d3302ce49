// Threads that live for one call: nothing to keep alive across fork, nothing to fight over with PyTorch's own pool.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace diffbmp {

template <class Job>
void parallel(int64_t count, int threads, const Job& job) {
  if (threads > count) threads = static_cast<int>(count);
  if (threads <= 1) {
    for (int64_t k = 0; k < count; ++k) job(k);
    return;
  }
  std::atomic<int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_lock;
  const auto work = [&] {
    try {
      for (int64_t k = next++; k < count; k = next++) job(k);
    } catch (...) {
      const std::lock_guard<std::mutex> guard(failure_lock);
      failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(static_cast<size_t>(threads - 1));
  try {
    for (int k = 1; k < threads; ++k) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // The system gives no more threads; those that there are do all the work.
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace diffbmp
