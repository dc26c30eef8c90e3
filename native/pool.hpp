// Tasks on threads. In: task(0) ... task(count - 1) and a number of threads, of which one is the caller's.
// Out: each task has run once. Which thread runs a task is not defined, so what a task computes may not
// depend on it.
//
// Workers are started when first needed and kept. One call at a time uses them: a call that finds them busy
// (from another Python thread, or from within a task) runs on its own thread. After fork() the child starts
// its own.
//
// A process that computes with PyTorch has workers already, those of its OpenMP runtime. After each of
// PyTorch's operations they spin for a while on the processors that ours would need. A `hosted` call runs on
// them: it starts at once and does not compete with them. After fork() no call is hosted, since OpenMP
// runtimes do not survive it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>

namespace lastlayer {

// A reference to a callable, which must outlive the call and may not throw.
template <class... A>
class CallableRef {
 public:
  CallableRef() = default;
  template <class F, class = std::enable_if_t<!std::is_same<std::decay_t<F>, CallableRef>::value>>
  CallableRef(F&& f)  // NOLINT: implicit on purpose
      : object_((void*)std::addressof(f)),
        call_([](void* object, A... a) noexcept { (*(std::remove_reference_t<F>*)object)(a...); }) {
    static_assert(noexcept(f(std::declval<A>()...)), "an exception would end the process");
  }
  explicit operator bool() const { return call_ != nullptr; }
  void operator()(A... a) const noexcept { call_(object_, a...); }

 private:
  void* object_ = nullptr;
  void (*call_)(void*, A...) noexcept = nullptr;
};

// Whether a call is to end early. All its threads ask it, between tasks and within long ones.
class Stop {
 public:
  // `interrupted` is called every 30 ms at most, on the thread that makes this object. Null: never stopped.
  explicit Stop(bool (*interrupted)(void*) noexcept = nullptr, void* data = nullptr)
      : interrupted_(interrupted), data_(data) {}
  // The same for a function without data, as a Runner has it.
  explicit Stop(bool (*interrupted)() noexcept)
      : plain_(interrupted), interrupted_(interrupted ? &ask_plain : nullptr), data_(this) {}
  bool asked() noexcept;
  // The last answer, without asking again.
  bool was_asked() const noexcept { return set_.load(std::memory_order_relaxed); }

 private:
  static bool ask_plain(void* stop) noexcept { return static_cast<Stop*>(stop)->plain_(); }

  bool (*const plain_)() noexcept = nullptr;
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
