// A pool of threads that outlives the calls: jobs are taken from one counter, so that whoever is free takes the next.
//
//   calling thread   worker 0, does its share like the others
//   worker 1 ..      sleep between runs; block every signal, so that Ctrl-C reaches Python's own thread
//
// Safe after fork (the child starts with no workers and makes its own) and with several callers at once (the second
// one works alone). What a job throws is thrown again by `run`.
#pragma once

#include <cstdint>

namespace diffbmp {

class Pool {
 public:
  static Pool& shared();

  // Calls job(index, worker) for every index in [0, jobs), worker in [0, threads), and returns when all are done.
  template <class Job>
  void run(int64_t jobs, int threads, const Job& job) {
    run_erased(
        jobs, threads, [](const void* self, int64_t index, int worker) { (*static_cast<const Job*>(self))(index, worker); },
        &job);
  }

 private:
  using Call = void (*)(const void* self, int64_t index, int worker);
  void run_erased(int64_t jobs, int threads, Call call, const void* self);
};

}  // namespace diffbmp
