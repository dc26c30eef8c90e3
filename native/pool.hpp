// Threads. `parallel` runs task(0) ... task(count - 1), each once, on up to `threads` threads of which the
// caller is one. Which thread runs a task is left open; what a task computes may not depend on it.
//
// Workers are started when first needed and kept. One call at a time uses them: a call that finds them busy
// (another Python thread, or a call from within a task) runs on its own thread. After fork() the child starts
// its own.
//
// Whoever computes with PyTorch already has workers, those of its OpenMP runtime, and after each of its
// operations they stay awake for a while on the processors that ours would need. A `hosted` call is done by
// them: it starts at once, and nobody is in the way. Not so after fork(), which OpenMP runtimes do not
// survive.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

namespace lastlayer {

// Whether a call is to end early. All its threads ask, between tasks and within long ones.
class Stop {
 public:
  // `interrupted` is called every 30 ms at most, on the thread that makes this object. Empty: never stopped.
  explicit Stop(std::function<bool()> interrupted = nullptr) : interrupted_(std::move(interrupted)) {}
  bool asked();
  // The answer so far, without asking anew.
  bool was_asked() const { return set_.load(std::memory_order_relaxed); }

 private:
  const std::function<bool()> interrupted_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::atomic<bool> set_{false};
};

// `leave`, if given, is called on every thread that took part, after its last task.
void parallel(int threads, std::int64_t count, const std::function<void(std::int64_t)>& task, Stop& stop,
              bool hosted = false, const std::function<void()>& leave = nullptr);

// LASTLAYER_NUM_THREADS, OMP_NUM_THREADS, or the processors that this process may use.
int default_threads();

}  // namespace lastlayer
