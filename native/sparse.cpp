#include "sparse.hpp"

#include <atomic>

#include "pool.hpp"

namespace lastlayer {
namespace {

constexpr std::int64_t most_tasks = 256;
constexpr std::int64_t worth_waking = 1 << 16;  // multiplications from which threads are woken

}  // namespace

SparseResult sparse_product(const SparseRows& a, const Runner& runner) {
  const Table& table = *current();
  Stop stop(runner.interrupted);
  std::atomic<bool> valid{true};
  const std::int64_t rows_a_task = (a.rows + most_tasks - 1) / most_tasks;
  const std::int64_t tasks = rows_a_task ? (a.rows + rows_a_task - 1) / rows_a_task : 0;
  auto run = [&](std::int64_t task) noexcept {
    const std::int64_t first = task * rows_a_task, all = first + rows_a_task;
    if (!table.sparse_rows(a, first, all < a.rows ? all : a.rows)) valid.store(false);
  };
  const bool alone = a.entries * a.k < worth_waking;
  parallel(alone ? 1 : runner.threads, tasks, run, stop, runner.hosted);
  if (!valid.load()) return SparseResult::out_of_range;
  return stop.was_asked() ? SparseResult::interrupted : SparseResult::complete;
}

}  // namespace lastlayer
