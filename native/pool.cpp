#include "pool.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels.hpp"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace lastlayer {
namespace {

// Whether this thread is running tasks of a call. A call that it starts meanwhile (in a task, or in the
// handler of a signal) runs on this thread alone.
thread_local bool at_work = false;

struct Call {
  const CallableRef<std::int64_t> task;
  const std::int64_t count;
  Stop& stop;
  const CallableRef<> leave;
  std::atomic<std::int64_t> next{0};

  // Runs tasks on this thread until there are none left.
  void work() noexcept {
    const bool before = at_work;
    at_work = true;
    while (!stop.asked()) {
      const std::int64_t i = next.fetch_add(1, std::memory_order_relaxed);
      if (i >= count) break;
      task(i);
    }
    if (leave) leave();
    at_work = before;
  }
};

class Pool {
 public:
  std::mutex in_use;  // owned by the call that has the workers; never tried by its own thread (at_work)

  // Runs the call on this thread and up to `helpers` workers. Returns when all tasks are done; a worker that
  // wakes up after that does not join the call.
  void run(Call& call, int helpers) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (started_ < helpers) {
        try {
          std::thread(&Pool::help, this).detach();
        } catch (...) {
          break;  // the system has no more threads: fewer do the work
        }
        ++started_;
      }
      helpers = started_ < helpers ? started_ : helpers;
      call_ = &call;
      places_ = helpers;
    }
    for (int i = 0; i < helpers; ++i) wake_.notify_one();
    call.work();
    std::unique_lock<std::mutex> lock(mutex_);
    call_ = nullptr;
    places_ = 0;
    done_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void help() noexcept {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return places_ > 0; });
      --places_;
      ++busy_;
      Call* const call = call_;
      lock.unlock();
      call->work();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Call* call_ = nullptr;
  int started_ = 0;
  int places_ = 0;  // how many helpers may still join the call
  int busy_ = 0;    // how many helpers run tasks
};

// Never destroyed: detached workers may outlive every destructor. A forked child drops its parent's pool,
// whose threads do not exist there and whose locks may be held. `forked` is set even if the parent had no
// pool: the parent may have used the OpenMP runtime (see below).
std::atomic<Pool*> the_pool{nullptr};
std::atomic<bool> forked{false};
#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, [] {
  the_pool.store(nullptr, std::memory_order_release);
  forked.store(true, std::memory_order_release);
});
#endif

Pool* pool() {
  Pool* p = the_pool.load(std::memory_order_acquire);
  if (p) return p;
  Pool* fresh = new Pool;
  if (the_pool.compare_exchange_strong(p, fresh, std::memory_order_acq_rel)) return fresh;
  delete fresh;
  return p;
}

// The entry point of the OpenMP runtime that the process has loaded globally (as PyTorch does), in the
// calling convention of GCC's compiler, which LLVM's runtime offers too. Null without one, or after fork().
using Team = void (*)(void (*)(void*), void*, unsigned, unsigned);

Team team() {
#if defined(__unix__) || defined(__APPLE__)
  static const Team found = reinterpret_cast<Team>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return forked.load(std::memory_order_acquire) ? nullptr : found;
#else
  return nullptr;
#endif
}

int positive(const char* name) {
  const char* text = std::getenv(name);
  if (!text) return 0;
  const long n = std::strtol(text, nullptr, 10);
  return n > 0 && n < 4096 ? (int)n : 0;
}

}  // namespace

bool Stop::asked() noexcept {
  if (set_.load(std::memory_order_relaxed)) return true;
  if (!interrupted_ || std::this_thread::get_id() != caller_) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < std::chrono::milliseconds(30)) return false;
  last_ = now;
  if (!interrupted_(data_)) return false;
  set_.store(true, std::memory_order_relaxed);
  return true;
}
bool stop_asked(Stop& stop) noexcept { return stop.asked(); }

void parallel(int threads, std::int64_t count, CallableRef<std::int64_t> task, Stop& stop, bool hosted,
              CallableRef<> leave) {
  Call call{task, count, stop, leave};
  const int helpers = at_work ? 0 : (int)(count < threads ? count : threads) - 1;
  if (const Team host = hosted && helpers > 0 ? team() : nullptr) {
    host([](void* data) { static_cast<Call*>(data)->work(); }, &call, (unsigned)(helpers + 1), 0);
    return;
  }
  if (helpers > 0) {
    Pool* p = pool();
    std::unique_lock<std::mutex> mine(p->in_use, std::try_to_lock);
    if (mine.owns_lock()) return p->run(call, helpers);
  }
  call.work();
}

namespace {

int default_threads() {
  for (const char* name : {"LASTLAYER_NUM_THREADS", "OMP_NUM_THREADS"})
    if (const int n = positive(name)) return n;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set) > 0 ? CPU_COUNT(&set) : 1;
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n ? (int)n : 1;
}

std::atomic<int> thread_count{0};  // 0: not yet known

}  // namespace

int threads_of_process() {
  int n = thread_count.load(std::memory_order_relaxed);
  if (n == 0) thread_count.store(n = default_threads(), std::memory_order_relaxed);
  return n;
}
void set_threads_of_process(int n) { thread_count.store(n, std::memory_order_relaxed); }

}  // namespace lastlayer
