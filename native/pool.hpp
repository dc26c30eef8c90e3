// Threads. `parallel` runs task(0) ... task(count - 1), each once, on up to `threads` threads, one of which
// is the caller's. It is not defined which thread runs a task, so what a task computes may not depend on it.
//
// Workers are started when first needed and kept. One call at a time uses them: a call that finds them busy
// (another Python thread, or a call from within a task) runs on its own thread. After fork() the child starts
// its own.
//
// A process that computes with PyTorch already has workers, those of its OpenMP runtime, and after each of
// PyTorch's operations they spin for a while on the processors that ours would need. A `hosted` call is given
// to them: it starts at once, and does not compete with them. This is not done after fork(), which OpenMP
// runtimes do not survive.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>

namespace lastlayer {

// A callable of the caller's, by reference: it must outlive the call, and may not throw.
template <class... A>
class CallableRef {
 public:
  CallableRef() = default;
  template <class F, class = std::enable_if_t<!std::is_same<std::decay_t<F>, CallableRef>::value>>
  CallableRef(F&& f)  // NOLINT: implicit on purpose
      : object_((void*)std::addressof(f)),
        call_([](void* object, A... a) noexcept { (*(std::remove_reference_t<F>*)object)(a...); }) {
    static_assert(noexcept(f(std::declval<A>()...)), "a thread has nobody to throw to");
  }
  explicit operator bool() const { return call_ != nullptr; }
  void operator()(A... a) const noexcept { call_(object_, a...); }

 private:
  void* object_ = nullptr;
  void (*call_)(void*, A...) noexcept = nullptr;
};

// Whether a call is to end early. All its threads ask, between tasks and within long ones.
class Stop {
 public:
  // `interrupted` is called every 30 ms at most, on the thread that makes this object. Null: never stopped.
  explicit Stop(bool (*interrupted)(void*) noexcept = nullptr, void* data = nullptr)
      : interrupted_(interrupted), data_(data) {}
  bool asked() noexcept;
  // The last answer, without asking again.
  bool was_asked() const noexcept { return set_.load(std::memory_order_relaxed); }

 private:
  bool (*const interrupted_)(void*) noexcept;
  void* const data_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::atomic<bool> set_{false};
};

// `leave`, if given, is called on every thread that took part, after its last task.
void parallel(int threads, std::int64_t count, CallableRef<std::int64_t> task, Stop& stop,
              bool hosted = false, CallableRef<> leave = {});

// The number of threads of this process; initially LASTLAYER_NUM_THREADS, OMP_NUM_THREADS, or the number of
// processors that it may use.
int threads_of_process();
void set_threads_of_process(int n);

}  // namespace lastlayer
