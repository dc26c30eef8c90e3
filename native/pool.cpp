#include "pool.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace lastlayer {
namespace {

struct Call {
  const std::function<void(std::int64_t)>* task;
  std::int64_t count;
  std::atomic<std::int64_t> next{0};
  std::atomic<bool> stop{false};

  bool one() {
    if (stop.load(std::memory_order_relaxed)) return false;
    const std::int64_t i = next.fetch_add(1, std::memory_order_relaxed);
    if (i >= count) return false;
    (*task)(i);
    return true;
  }
};

class Pool {
 public:
  std::mutex in_use;

  void run(Call& call, int helpers, const std::function<void()>& on_caller) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while ((int)started_ < helpers) {
        try {
          std::thread(&Pool::work, this, started_).detach();
        } catch (...) {
          break;  // no more threads to be had: fewer do the work
        }
        ++started_;
      }
      if (helpers > (int)started_) helpers = (int)started_;
      call_ = &call;
      wanted_ = (unsigned)helpers;
      pending_ = helpers;
      ++generation_;
    }
    wake_.notify_all();
    on_caller();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return pending_ == 0; });
    call_ = nullptr;
  }

 private:
  void work(unsigned id) {
    std::uint64_t seen = 0;
    for (;;) {
      Call* call;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen && call_ != nullptr; });
        seen = generation_;
        if (id >= wanted_) continue;
        call = call_;
      }
      while (call->one()) {
      }
      std::lock_guard<std::mutex> lock(mutex_);
      if (--pending_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Call* call_ = nullptr;
  std::uint64_t generation_ = 0;
  unsigned started_ = 0, wanted_ = 0;
  int pending_ = 0;
};

// Never destroyed: detached workers may outlive every destructor. A forked child forgets its parent's pool,
// whose locks and threads mean nothing there, and knows that it was forked: from the beginning, since whoever
// forks may have used an OpenMP runtime (see below) without us.
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

// The entry of the OpenMP runtime that the process has loaded for all (as PyTorch does), in the calling
// convention that compilers use: GCC's, which LLVM's runtime offers too. Null without one, or after fork().
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

bool parallel(int threads, std::int64_t count, const std::function<void(std::int64_t)>& task,
              const std::function<bool()>& interrupted, bool hosted) {
  Call call;
  call.task = &task;
  call.count = count;
  auto on_caller = [&] {
    using Clock = std::chrono::steady_clock;
    auto asked = Clock::now();
    while (call.one()) {
      const auto now = Clock::now();
      if (now - asked < std::chrono::milliseconds(50)) continue;
      asked = now;
      if (interrupted && interrupted()) call.stop.store(true, std::memory_order_relaxed);
    }
  };
  const int helpers = (int)(count < threads ? count : threads) - 1;
  if (const Team host = hosted && helpers > 0 ? team() : nullptr) {
    struct Shared {
      Call& call;
      const std::function<void()> on_caller;
      const std::thread::id caller;
    } shared{call, on_caller, std::this_thread::get_id()};
    host(
        [](void* data) {
          Shared& s = *static_cast<Shared*>(data);
          if (std::this_thread::get_id() == s.caller) return s.on_caller();
          while (s.call.one()) {
          }
        },
        &shared, (unsigned)(helpers + 1), 0);
    return !call.stop.load(std::memory_order_relaxed);
  }
  if (helpers > 0) {
    Pool* p = pool();
    std::unique_lock<std::mutex> mine(p->in_use, std::try_to_lock);
    if (mine.owns_lock()) {
      p->run(call, helpers, on_caller);
      return !call.stop.load(std::memory_order_relaxed);
    }
  }
  on_caller();
  return !call.stop.load(std::memory_order_relaxed);
}

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

}  // namespace lastlayer
