// The operations. In: random calls on every instruction set. Out: results that agree with the plain
// arithmetic of problem.cpp.
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "dispatch.hpp"
#include "problem.hpp"

namespace lastlayer {
namespace tests {
namespace {

constexpr Op ops[] = {
    Op::softmax,          Op::log_softmax,         Op::stats, Op::grad, Op::pick, Op::pick_grad,
    Op::softmax_backward, Op::log_softmax_backward};
constexpr Dtype dtypes[] = {Dtype::f16, Dtype::bf16, Dtype::f32, Dtype::f64};

// The gradient once more, from what the statistics' pass found.
void run_known(const Table& table, Problem& problem, bool split) {
  const std::size_t n = (std::size_t)problem.call.shape.rows;
  std::unique_ptr<double[]> peak(new double[n]), rest(new double[n]), mass(new double[n]),
      tilt(new double[n]);
  Call first = problem.call;
  first.op = Op::stats;
  first.losses = Losses();
  first.results = RowResults();
  first.results.wide = first.results.wide_peak = first.in_double();  // either type fits the memory
  first.results.peak = peak.get(), first.results.rest = rest.get();
  first.results.mass = mass.get();
  run_exactly(table, first.job(), split);
  problem.wipe();
  problem.call.known.peak = peak.get(), problem.call.known.rest = rest.get();
  run_exactly(table, problem.call.job(), split);
  problem.check((std::string(table.name) + ", known rows").c_str());
  problem.wipe();
  problem.call.known.mass = mass.get();
  run_exactly(table, problem.call.job(), split);
  problem.check((std::string(table.name) + ", known mass").c_str());
  problem.wipe();
  for (std::size_t i = 0; i < n; ++i) tilt[i] = 0;
  problem.call.known.tilt = tilt.get();
  run_exactly(table, problem.call.job(), split);
  problem.check((std::string(table.name) + ", tilted by nothing").c_str());
  problem.call.known.peak = nullptr, problem.call.known.rest = nullptr;
  problem.call.known.mass = problem.call.known.tilt = nullptr;
}

// The top-k classes that reach a threshold: labels in bounds, missing ones last.
void run_top(const Table& table, const Problem& problem, bool split) {
  const std::size_t n = (std::size_t)problem.call.shape.rows;
  Call call = problem.call;
  if (call.top.k == 0) return;
  std::unique_ptr<double[]> threshold(new double[n]);
  std::unique_ptr<std::int64_t[]> label(new std::int64_t[n * (std::size_t)call.top.k]);
  std::unique_ptr<double[]> probability(new double[n * (std::size_t)call.top.k]);
  static const double some[] = {0, INFINITY, -INFINITY, NAN, 1};
  for (std::size_t i = 0; i < n; ++i) threshold[i] = some[i % 5];
  call.target.kind = Target::none;
  call.target.of_shard = true;
  call.losses = Losses();
  call.results = RowResults();
  call.results.wide = call.results.wide_peak = call.in_double();
  call.top.label = label.get(), call.top.probability = probability.get();
  call.top.threshold = threshold.get();
  run_exactly(table, call.job(), split);
  for (std::size_t i = 0; i < n; ++i)
    for (std::int64_t a = 0; a < call.top.k; ++a) {
      const std::int64_t found = label[i * (std::size_t)call.top.k + (std::size_t)a];
      CHECK(found >= -1 && found < call.shape.classes, "%s on %s: label %lld", problem.name.c_str(),
            table.name, (long long)found);
      CHECK(a == 0 || found < 0 || label[i * (std::size_t)call.top.k + (std::size_t)a - 1] >= 0,
            "%s on %s: a gap among labels", problem.name.c_str(), table.name);
    }
}

// Ranks of a shard: within bounds, and read within the bounds of memory.
void run_ranks(const Table& table, const Problem& problem, bool split) {
  if (problem.call.target.kind != Target::index) return;
  const std::size_t n = (std::size_t)problem.call.shape.rows;
  std::unique_ptr<double[]> threshold(new double[n]);
  std::unique_ptr<std::int64_t[]> rank(new std::int64_t[n]);
  Call call = problem.call;
  call.op = Op::stats;
  call.target.of_shard = true, call.top.k = 0;
  call.losses = Losses();
  call.results = RowResults();
  call.results.wide = call.results.wide_peak = call.in_double();
  call.results.rank = rank.get();
  for (std::size_t i = 0; i < n; ++i) threshold[i] = i % 2 ? INFINITY : 0;
  call.target_score = threshold.get();
  run_exactly(table, call.job(), split);
  for (std::size_t i = 0; i < n; ++i)
    CHECK(rank[i] >= 0 && rank[i] <= call.shape.classes, "%s on %s: rank %lld", problem.name.c_str(),
          table.name, (long long)rank[i]);
}

void run_everywhere(const Request& request, bool streams = false) {
  Problem problem(request);
  Random random(request.seed);
  for (const Table* table : available()) {
    problem.wipe();
    const Cut cut = run_exactly(*table, problem.call.job(), random.once_in(3));
    CHECK(cut.streaming || !streams, "%s on %s", problem.name.c_str(), table->name);
    problem.check(table->name);
    if (request.op == Op::grad) run_known(*table, problem, random.once_in(3));
    if (request.op == Op::stats) {
      run_ranks(*table, problem, random.once_in(3));
      run_top(*table, problem, random.once_in(3));
    }
  }
}

void run_in_place(Request request) {
  request.in_place = true;
  for (const Table* table : available()) {
    Problem problem(request);
    run_exactly(*table, problem.call.job(), false);
    problem.check(table->name);
  }
}

// Class counts around every vector width, and beyond what a tile or an unrolled loop takes.
std::vector<std::int64_t> class_counts() {
  std::vector<std::int64_t> counts;
  for (std::int64_t v = 1; v <= 70; ++v) counts.push_back(v);
  for (std::int64_t v = 127; v <= 131; ++v) counts.push_back(v);
  for (std::int64_t v : {255, 256, 257, 999, 1000, 1001}) counts.push_back(v);
  return counts;
}

void sweep(int rounds) {
  static const std::int64_t few[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 70};
  std::uint64_t seed = 0;
  for (int round = 0; round < rounds; ++round) {
    for (std::int64_t v : class_counts())
      for (Op op : ops)
        for (Dtype d : dtypes) {
          Random random(++seed);
          const std::int64_t n = v > 200 ? 1 + random.below(5) : random.one_of(few);
          run_everywhere({op, d, n, v, seed, random.once_in(4), false});
        }
    for (std::int64_t n = 1; n <= 200; ++n) {
      static const std::int64_t some[] = {1, 2, 3, 4, 5, 8, 10, 17, 64, 65, 100};
      Random random(++seed);
      const Op op = random.one_of(ops);
      run_everywhere({op, random.one_of(dtypes), n, random.one_of(some), seed, random.once_in(2), false});
      if (op == Op::softmax || op == Op::log_softmax)
        run_in_place({op, random.one_of(dtypes), n, random.one_of(some), seed, random.once_in(2), true});
    }
  }
}

// Results of more than 4 MiB bypass the cache.
void large(bool quick) {
  static const std::int64_t shapes[][2] = {{350100, 3},  {110011, 10}, {16500, 65}, {11003, 100},
                                           {1060, 1001}, {1025, 1024}, {33, 33333}, {15, 70001}};
  static const Op matrices[] = {Op::softmax, Op::grad, Op::log_softmax, Op::softmax_backward};
  std::uint64_t seed = 1000000;
  for (const auto& shape : shapes)
    for (Op op : matrices) {
      ++seed;
      if (quick && seed % 5 != 0) continue;
      run_everywhere({op, Dtype::f32, shape[0], shape[1], seed, true, false}, true);
      if (quick || seed % 7 != 0) continue;
      run_everywhere({op, Dtype::f32, shape[0], shape[1], seed, false, false}, true);
      run_everywhere({op, Dtype::f64, shape[0], shape[1], seed, seed % 2 == 0, false}, true);
      if (op == Op::softmax) run_in_place({op, Dtype::f32, shape[0], shape[1], seed, true, true});
    }
}

template <class C>
void elementary(const char* isa, void (*f)(const C*, C*, std::int64_t), double (*truth)(double),
                const char* what, double least, double most) {
  Random random(7);
  const double bound = sizeof(C) == 4 ? 1.3e-7 : 2.5e-16;
  for (std::int64_t n = 0; n <= 70; ++n) {
    std::unique_ptr<C[]> x(new C[n]), y(new C[n]);
    for (std::int64_t i = 0; i < n; ++i) x[i] = (C)(least + (most - least) * random.uniform());
    f(x.get(), y.get(), n);
    for (std::int64_t i = 0; i < n; ++i) {
      const double t = truth((double)x[i]), error = std::fabs((double)y[i] - t);
      CHECK(error <= bound * std::fabs(t), "%s on %s: %s(%.17g) is %.17g; expected %.17g", what, isa, what,
            (double)x[i], (double)y[i], t);
    }
  }
}

}  // namespace

void test_kernels(bool quick) { sweep(quick ? 1 : 3); }
void test_large(bool quick) { large(quick); }

void test_elementary() {
  for (const Table* t : available()) {
    elementary<float>(t->name, t->exp_f32, std::exp, "exp", -80, 0);
    elementary<double>(t->name, t->exp_f64, std::exp, "exp", -700, 0);
    elementary<float>(t->name, t->log1p_f32, std::log1p, "log1p", 0, 1000);
    elementary<double>(t->name, t->log1p_f64, std::log1p, "log1p", 0, 1000);
  }
}

}  // namespace tests
}  // namespace lastlayer
