// Threads. In: calls from any number of threads, from many callers at once, and after fork(). Out: the same
// bits.
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "dispatch.hpp"
#include "pool.hpp"
#include "problem.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace lastlayer {
namespace tests {
namespace {

const std::vector<Request>& requests() {
  static const std::vector<Request> all = {
      {Op::softmax, Dtype::f32, 9001, 10, 1, true, false},
      {Op::grad, Dtype::f32, 700, 100, 2, true, false},
      {Op::stats, Dtype::f64, 301, 400, 3, false, false},
      {Op::log_softmax, Dtype::bf16, 97, 1001, 4, false, false},
      {Op::grad, Dtype::f16, 4000, 33, 5, false, false},
      {Op::pick, Dtype::f32, 2048, 40, 6, false, false},
      {Op::softmax, Dtype::f32, 70, 20000, 7, true, false},
      {Op::softmax_backward, Dtype::f32, 3000, 21, 8, false, false},
  };
  return all;
}

std::string run(Problem& problem, int threads) {
  problem.wipe();
  const Runner runner{threads, false, nullptr};
  const bool stopped = !run_job(problem.call.job(), runner);
  CHECK(!stopped, "%s", problem.name.c_str());
  return problem.results();
}

std::vector<std::unique_ptr<Problem>> make() {
  std::vector<std::unique_ptr<Problem>> problems;
  for (const Request& request : requests()) problems.push_back(std::make_unique<Problem>(request));
  return problems;
}

std::vector<std::string> alone(const std::vector<std::unique_ptr<Problem>>& problems) {
  std::vector<std::string> results;
  for (const auto& problem : problems) {
    results.push_back(run(*problem, 1));
    problem->check(current()->name);
  }
  return results;
}

void any_number_of_threads() {
  const auto problems = make();
  const std::string before = current()->name;
  for (const Table* table : available()) {
    CHECK(choose(table->name), "%s", table->name);
    const auto expected = alone(problems);
    for (int threads : {2, 3, 4, 9})
      for (std::size_t i = 0; i < problems.size(); ++i)
        CHECK(run(*problems[i], threads) == expected[i], "%s, %d threads on %s", problems[i]->name.c_str(),
              threads, table->name);
  }
  CHECK(!choose("abacus"), "there is no such instruction set");
  CHECK(choose(before), "%s", before.c_str());
}

// Several callers at once: one has the pool, the others run on their own threads, and all results are the
// same.
void many_callers(int times) {
  const auto expected = alone(make());
  std::vector<std::string> failures(4);
  std::vector<std::thread> callers;
  for (std::size_t c = 0; c < failures.size(); ++c)
    callers.emplace_back([&, c] {
      try {
        const auto mine = make();
        for (int t = 0; t < times; ++t)
          for (std::size_t i = 0; i < mine.size(); ++i) {
            const std::size_t k = (i + c) % mine.size();
            CHECK(run(*mine[k], 1 + (int)(c + i) % 3) == expected[k], "%s", mine[k]->name.c_str());
          }
      } catch (const std::exception& e) {
        failures[c] = e.what();
      }
    });
  for (std::thread& caller : callers) caller.join();
  for (const std::string& failure : failures) CHECK(failure.empty(), "%s", failure.c_str());
}

void each_task_once() {
  for (int threads : {1, 2, 7, 40})
    for (std::int64_t count : {0, 1, 2, 5, 200000}) {
      std::vector<std::atomic<int>> done((std::size_t)count);
      for (auto& d : done) d = 0;
      Stop never;
      std::atomic<int> left{0};
      parallel(
          threads, count, [&](std::int64_t i) noexcept { ++done[(std::size_t)i]; }, never, false,
          [&]() noexcept { ++left; });
      CHECK(!never.was_asked() && left >= 1 && left <= threads, "%d threads, %d left", threads, left.load());
      for (auto& d : done) CHECK(d == 1, "%d threads, %lld tasks", threads, (long long)count);
    }
  std::atomic<int> inner{0};  // a call from within a task runs on its own thread
  Stop never;
  parallel(
      2, 8, [&](std::int64_t) noexcept { parallel(2, 8, [&](std::int64_t) noexcept { ++inner; }, never); },
      never);
  CHECK(inner == 64, "%d", inner.load());
}

void an_interruption_ends_the_call() {
  for (int threads : {1, 2}) {
    std::atomic<int> done{0};
    int asked = 0;
    auto task = [&](std::int64_t) noexcept {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ++done;
    };
    Stop second([](void* count) noexcept { return ++*(int*)count == 2; }, &asked),
        other([](void*) noexcept { return false; });
    parallel(threads, 1000, task, second);
    CHECK(second.was_asked() && asked == 2 && done < 200, "%d asked, %d done", asked, done.load());
    parallel(threads, 2, task, other);
    CHECK(!other.was_asked(), "the next call is not stopped");
  }
}

// ThreadSanitizer does not follow a process with threads through fork(): it ends the child.
#if (defined(__unix__) || defined(__APPLE__)) && !defined(__SANITIZE_THREAD__)
void in_child(const std::vector<std::unique_ptr<Problem>>& problems,
              const std::vector<std::string>& expected) {
  const pid_t child = fork();
  CHECK(child >= 0, "fork");
  if (child == 0) {
    alarm(60);  // a child that waits for its parent's threads would wait forever
    int code = 1;
    try {
      bool same = true;
      for (int threads : {2, 3})
        for (std::size_t i = 0; i < problems.size(); ++i) same &= run(*problems[i], threads) == expected[i];
      code = same ? 0 : 2;
    } catch (...) {
    }
    _exit(code);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with status %d", status);
}

void after_fork() {
  const auto problems = make();
  const auto expected = alone(problems);
  run(*problems[0], 3);  // now there are workers to lose
  in_child(problems, expected);
  CHECK(run(*problems[0], 3) == expected[0], "the parent goes on");
  std::atomic<bool> stop{false};  // forks at any moment of a parallel call
  std::thread busy([&] {
    Problem mine(requests()[1]);
    while (!stop) run(mine, 2);
  });
  try {
    for (int i = 0; i < 8; ++i) in_child(problems, expected);
  } catch (...) {
    stop = true;
    busy.join();
    throw;
  }
  stop = true;
  busy.join();
}
#else
void after_fork() {}
#endif

}  // namespace

void test_threads(bool quick, bool forks) {
  each_task_once();
  an_interruption_ends_the_call();
  any_number_of_threads();
  many_callers(quick ? 2 : 6);
  if (forks) after_fork();
}

}  // namespace tests
}  // namespace lastlayer
