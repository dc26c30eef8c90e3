#include "linear_pass.hpp"

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "job.hpp"
#include "pool.hpp"
#include "products.hpp"

namespace lastlayer {
namespace {

constexpr std::int64_t block_bytes = 96 << 10;  // of the features of a block
constexpr std::int64_t most_rows = 1024;        // of a block
constexpr std::int64_t rows_in_float = 1024;    // that are summed before their sum is added in double
constexpr std::int64_t most_tasks = 64;
constexpr std::int64_t sums_bytes = 32 << 20;   // of all tasks
constexpr std::int64_t worth_waking = 1 << 17;  // multiplications from which threads are woken

struct Free {
  void operator()(char* p) const { ::operator delete(p, std::align_val_t(64)); }
};
using Memory = std::unique_ptr<char, Free>;

Memory zeros(std::int64_t bytes) {
  Memory p((char*)::operator new((std::size_t)bytes, std::align_val_t(64)));
  std::memset(p.get(), 0, (std::size_t)bytes);
  return p;
}

std::int64_t up(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

// How a pass is divided: by its sizes alone, so that its sums do not depend on the number of threads.
struct Division {
  std::int64_t block, rows_a_task, tasks;

  Division(const LinearPass& p, std::int64_t padded) {
    const std::int64_t size = p.in_double ? 8 : 4;
    block = block_bytes / (p.features * size);
    block = block < 16 ? 16 : block > most_rows ? most_rows : block;
    const std::int64_t blocks = (p.rows + block - 1) / block;
    tasks = sums_bytes / (padded * p.features * 8);
    tasks = tasks < 4 ? 4 : tasks > most_tasks ? most_tasks : tasks;
    const std::int64_t blocks_a_task = (blocks + tasks - 1) / tasks;
    rows_a_task = blocks_a_task * block;
    tasks = (p.rows + rows_a_task - 1) / rows_a_task;
  }
};

// Where the numbers of a column of a packed matrix are: see products.hpp.
struct Column {
  std::int64_t first, step;

  Column(std::int64_t k, std::int64_t features, std::int64_t padded, std::int64_t tile) {
    const std::int64_t start = k / tile * tile;
    step = padded - start < tile ? padded - start : tile;
    first = start * features + (k - start);
  }
};

// What the threads share; each task writes its own sums.
struct Call {
  const LinearPass& pass;
  const Table& table;
  const std::int64_t size;    // bytes of a number of the computing type
  const std::int64_t padded;  // K in whole vectors
  const Division division;
  const Memory weight, bias, ones;      // ones: class weights, where the targets need them
  const Memory gradients, intercepts;   // of each task, in double
  std::vector<double> losses, squares;  // of each task

  Call(const LinearPass& p, const Table& t)
      : pass(p),
        table(t),
        size(p.in_double ? 8 : 4),
        padded(t.columns(p.in_double).padded(p.classes)),
        division(p, padded),
        weight(zeros(padded * p.features * size)),
        bias(zeros(padded * size)),
        ones(zeros(p.classes * size)),
        gradients(zeros(division.tasks * padded * p.features * 8)),
        intercepts(zeros(division.tasks * padded * 8)),
        losses((std::size_t)division.tasks),
        squares((std::size_t)division.tasks) {
    p.in_double ? pack<double>() : pack<float>();
  }

  Column column(std::int64_t k) const {
    return {k, pass.features, padded, table.columns(pass.in_double).tile()};
  }
  double* gradient(std::int64_t task) const {
    return (double*)gradients.get() + task * padded * pass.features;
  }
  double* intercept(std::int64_t task) const { return (double*)intercepts.get() + task * padded; }

 private:
  template <class C>
  void pack() {
    for (std::int64_t k = 0; k < pass.classes; ++k) {
      const double* const from = pass.weight + k * (pass.features + 1);
      const Column to = column(k);
      C* w = (C*)weight.get() + to.first;
      for (std::int64_t c = 0; c < pass.features; ++c, w += to.step) *w = (C)from[c];
      ((C*)bias.get())[k] = (C)from[pass.features];
      ((C*)ones.get())[k] = 1;
    }
  }
};

// A thread's scratch.
class Worker {
 public:
  explicit Worker(Call& call)
      : call_(call),
        block_(call.division.block),
        x_(zeros(call.pass.is_direct() ? 64 : up(block_ * call.pass.features * call.size))),
        z_(zeros(up(block_ * call.padded * call.size))),
        g_(zeros(up(block_ * call.padded * call.size))),
        losses_(zeros(up(block_ * call.size))),
        index_(zeros(up(block_ * 8))),
        sum_(zeros(up(call.padded * call.pass.features * call.size))),
        intercept_(zeros(up(call.padded * call.size))) {}

  void run(std::int64_t task, Stop& stop) {
    call_.pass.in_double ? run_in<double>(task, stop) : run_in<float>(task, stop);
  }

 private:
  template <class C>
  void run_in(std::int64_t task, Stop& stop) {
    const LinearPass& p = call_.pass;
    const std::int64_t begin = task * call_.division.rows_a_task;
    const std::int64_t all = begin + call_.division.rows_a_task, end = all < p.rows ? all : p.rows;
    double loss = 0, square = 0;
    std::int64_t since = 0;
    for (std::int64_t first = begin; first < end && !stop.asked(); first += block_) {
      const std::int64_t n = end - first < block_ ? end - first : block_;
      square += add_block<C>(first, n, stop);
      for (std::int64_t i = 0; i < n; ++i) loss += (double)((const C*)losses_.get())[i];
      since += n;
      if (since < rows_in_float && first + n < end) continue;
      deliver<C>(sum_, call_.gradient(task), call_.padded * p.features);
      deliver<C>(intercept_, call_.intercept(task), call_.padded);
      since = 0;
    }
    call_.losses[(std::size_t)task] = loss, call_.squares[(std::size_t)task] = square;
  }

  // Adds the block's outer products; the sum of squares of its loss gradients.
  template <class C>
  double add_block(std::int64_t first, std::int64_t n, Stop& stop) {
    const LinearPass& p = call_.pass;
    const Table& t = call_.table;
    const char* const rows = p.x + first * p.row_stride;
    const C* x = (const C*)rows;
    std::int64_t x_stride = p.row_stride / (std::int64_t)sizeof(C);
    if (!p.is_direct()) {
      for (std::int64_t i = 0; i < n; ++i)
        t.load_numbers(p.dtype, rows + i * p.row_stride, p.feature_stride, p.features,
                       x_.get() + i * p.features * (std::int64_t)sizeof(C), p.in_double);
      x = (const C*)x_.get(), x_stride = p.features;
    }
    t.block_logits({x, x_stride, call_.weight.get(), call_.bias.get(), z_.get(), n, p.features, call_.padded},
                   p.in_double);
    find_gradients(first, n, stop);
    t.block_outer({x, x_stride, g_.get(), sum_.get(), n, p.features, call_.padded}, p.in_double);
    const C one = 1;
    t.block_outer({&one, 0, g_.get(), intercept_.get(), n, 1, call_.padded}, p.in_double);
    return t.block_square(g_.get(), n * call_.padded, p.in_double);
  }

  // Loss gradients of a block, from its logits. The columns that pad the classes stay zero.
  void find_gradients(std::int64_t first, std::int64_t n, Stop& stop) {
    const LinearPass& p = call_.pass;
    const Dtype dtype = p.in_double ? Dtype::f64 : Dtype::f32;
    Shape shape;
    shape.rows = n, shape.classes = p.classes, shape.axes = 1, shape.extent[0] = n;
    Operand z, g, dense;
    z.data = z_.get(), g.data = g_.get();
    z.dtype = g.dtype = dtype;
    z.class_stride = g.class_stride = call_.size;
    z.stride[0] = g.stride[0] = call_.padded * call_.size;
    EffectiveTarget target;
    target.on = p.on, target.off = p.off;
    target.class_weight = call_.ones.get(), target.class_weight_sum = (double)p.classes;
    if (p.sample_weight) target.sample_weight = p.sample_weight + first;
    if (p.dense) {
      dense = *p.dense;
      dense.data += first * dense.stride[0];
      target.kind = Target::dense, target.dense = &dense;
    } else {
      // Read once and checked: another thread may change them meanwhile.
      auto* const y = (std::int64_t*)index_.get();
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t k = p.index[first + i];
        y[i] = k < 0 || k >= p.classes ? -1 : k;
      }
      target.kind = Target::index, target.index = index_.get();
      target.has_ignore = true, target.ignore = -1;
    }
    const Transform transform;
    const Losses losses{losses_.get(), p.in_double};
    const KnownRows known;
    const Job job(LossGradient{shape, {z, transform}, target, g, losses, known});
    const Cut cut = call_.table.plan(job);
    if (cut.arena > arena_bytes_) arena_ = zeros(cut.arena), arena_bytes_ = cut.arena;
    call_.table.run(job, cut, {0, n, arena_.get(), &stop});
  }

  // Adds sums of the computing type in double, and clears them.
  template <class C>
  static void deliver(const Memory& from, double* to, std::int64_t n) {
    C* const sum = (C*)from.get();
    for (std::int64_t i = 0; i < n; ++i) to[i] += (double)sum[i], sum[i] = 0;
  }

  Call& call_;
  const std::int64_t block_;
  const Memory x_, z_, g_, losses_, index_, sum_, intercept_;
  Memory arena_;
  std::int64_t arena_bytes_ = 0;
};

// Workers of threads, made when needed.
class Workers {
 public:
  explicit Workers(Call& call) : call_(call) {}
  std::unique_ptr<Worker> take() {
    {
      const std::lock_guard<std::mutex> held(lock_);
      if (!idle_.empty()) {
        std::unique_ptr<Worker> w = std::move(idle_.back());
        idle_.pop_back();
        return w;
      }
    }
    return std::make_unique<Worker>(call_);
  }
  void give(std::unique_ptr<Worker> w) {
    const std::lock_guard<std::mutex> held(lock_);
    idle_.push_back(std::move(w));
  }

 private:
  Call& call_;
  std::mutex lock_;
  std::vector<std::unique_ptr<Worker>> idle_;
};

}  // namespace

LinearSums linear_pass(const LinearPass& p, double* gradient, const Runner& runner) {
  LinearSums found;
  const std::int64_t d = p.features;
  for (std::int64_t i = 0; i < p.classes * (d + 1); ++i) gradient[i] = 0;
  found.complete = p.rows == 0;
  if (found.complete) return found;
  Call call(p, *current());
  Workers workers(call);
  Stop stop(runner.interrupted);
  std::atomic<bool> exhausted{false};
  auto run = [&](std::int64_t task) noexcept {
    try {
      std::unique_ptr<Worker> worker = workers.take();
      worker->run(task, stop);
      workers.give(std::move(worker));
    } catch (const std::bad_alloc&) {
      exhausted.store(true);
    }
  };
  const bool alone = p.rows * p.features * call.padded < worth_waking;
  parallel(alone ? 1 : runner.threads, call.division.tasks, run, stop, runner.hosted);
  if (exhausted.load()) throw std::bad_alloc();
  if (stop.was_asked()) return found;
  for (std::int64_t task = 0; task < call.division.tasks; ++task) {
    found.loss += call.losses[(std::size_t)task], found.square += call.squares[(std::size_t)task];
    for (std::int64_t k = 0; k < p.classes; ++k) {
      double* const to = gradient + k * (d + 1);
      const Column column = call.column(k);
      const double* from = call.gradient(task) + column.first;
      for (std::int64_t c = 0; c < d; ++c, from += column.step) to[c] += *from;
      to[d] += call.intercept(task)[k];
    }
  }
  found.complete = true;
  return found;
}

}  // namespace lastlayer
