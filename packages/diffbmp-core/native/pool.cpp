#include "pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

namespace diffbmp {
namespace {

using Call = void (*)(const void* self, int64_t index, int worker);

// One run in flight. `generation` tells a waking worker that there is a new one.
struct State {
  std::mutex busy;  // held by the caller whose run it is
  std::mutex mutex;
  std::condition_variable wake, done;
  uint64_t generation = 0;
  int workers = 0;       // threads started
  int wanted = 0;        // workers that take part in this run, besides the caller
  int active = 0;        // of these, those not yet finished
  int64_t jobs = 0;
  Call call = nullptr;
  const void* self = nullptr;
  std::atomic<int64_t> next{0};
  std::exception_ptr error;  // the first that a job threw
};

// Never destroyed: workers may outlive static destruction. Replaced in the child after a fork, where no worker runs
// and any mutex may be locked for ever.
State* state = nullptr;

void drain(State& s, int worker) {
  const int64_t jobs = s.jobs;
  try {
    for (int64_t index; (index = s.next.fetch_add(1, std::memory_order_relaxed)) < jobs;) s.call(s.self, index, worker);
  } catch (...) {
    s.next.store(jobs, std::memory_order_relaxed);
    std::lock_guard<std::mutex> lock(s.mutex);
    if (!s.error) s.error = std::current_exception();
  }
}

void work(State* s, int worker, uint64_t seen) {
  std::unique_lock<std::mutex> lock(s->mutex);
  for (;;) {
    s->wake.wait(lock, [&] { return s->generation != seen; });
    seen = s->generation;
    if (worker > s->wanted) continue;
    lock.unlock();
    drain(*s, worker);
    lock.lock();
    if (--s->active == 0) s->done.notify_one();
  }
}

// Returns how many workers there are, at most `wanted`; fewer where the system gives no more threads.
int ensure_workers(State& s, int wanted) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (s.workers < wanted) {
      std::thread(work, &s, s.workers + 1, s.generation).detach();
      ++s.workers;
    }
  } catch (const std::system_error&) {
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return std::min(s.workers, wanted);
}

}  // namespace

Pool& Pool::shared() {
  static Pool pool;
  static const bool once = [] {
    state = new State;
    pthread_atfork(nullptr, nullptr, [] { state = new State; });
    return true;
  }();
  (void)once;
  return pool;
}

void Pool::run_erased(int64_t jobs, int threads, Call call, const void* self) {
  State& s = *state;
  const int helpers = int(std::min<int64_t>(threads, jobs)) - 1;
  std::unique_lock<std::mutex> mine(s.busy, std::defer_lock);
  if (helpers < 1 || !mine.try_lock()) {
    for (int64_t index = 0; index < jobs; ++index) call(self, index, 0);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    s.jobs = jobs;
    s.call = call;
    s.self = self;
    s.error = nullptr;
    s.next.store(0, std::memory_order_relaxed);
    s.wanted = s.active = ensure_workers(s, helpers);
    ++s.generation;
  }
  s.wake.notify_all();
  drain(s, 0);
  std::unique_lock<std::mutex> lock(s.mutex);
  s.done.wait(lock, [&] { return s.active == 0; });
  if (s.error) std::rethrow_exception(s.error);
}

}  // namespace diffbmp
