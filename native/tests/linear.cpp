// Products of a linear classifier. In: features, weights, targets, sparse rows. Out: what loops in double
// give, on every instruction set; the same bits for every number of threads. Entries out of range are
// refused.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "linear_pass.hpp"
#include "problem.hpp"
#include "sparse.hpp"

namespace lastlayer {
namespace tests {
namespace {

using Numbers = std::vector<double>;

struct Case {
  std::int64_t n, d, k;
  Dtype dtype;
  bool in_double;
  bool dense = false, weighted = false, reversed = false, shifted = false;
  double smoothing = 0;
};

// Arrays of a case, allocated to the byte, and the sums by loops in double.
struct Linear {
  const Case c;
  std::vector<char> x;
  Numbers wide, weight, sample_weight, q;
  std::vector<std::int64_t> y;
  LinearPass pass;
  Operand dense;
  double loss = 0, square = 0;
  Numbers gradient, size;  // size: of the terms of a sum, for its bound

  explicit Linear(const Case& given) : c(given) {
    Random random(c.n * 31 + c.d * 7 + c.k);
    const int bytes = size_of(c.dtype);
    const std::int64_t shift = c.shifted ? 1 : 0;
    x.resize((std::size_t)(c.n * c.d * bytes + shift));
    wide.resize((std::size_t)(c.n * c.d));
    for (std::size_t i = 0; i < wide.size(); ++i) {
      char* const at = &x[i * (std::size_t)bytes + (std::size_t)shift];
      write(c.dtype, at, random.normal());
      wide[i] = read(c.dtype, at);
    }
    for (std::int64_t i = 0; i < c.k * (c.d + 1); ++i)
      weight.push_back((double)(float)(random.normal() / std::sqrt((double)c.d)));
    for (std::int64_t i = 0; i < c.n; ++i) {
      y.push_back(random.below(c.k));
      if (i % 29 == 7) y.back() = i % 2 ? -1 : c.k;
      sample_weight.push_back((double)random.below(4) / 2);
      for (std::int64_t j = 0; j < c.k; ++j) q.push_back((double)(float)random.uniform());
    }
    const std::int64_t row = c.d * bytes;
    pass.x = x.data() + shift + (c.reversed ? (c.n - 1) * row : 0);
    pass.row_stride = c.reversed ? -row : row;
    pass.feature_stride = bytes, pass.dtype = c.dtype, pass.aligned = !c.shifted;
    pass.in_double = c.in_double;
    pass.rows = c.n, pass.features = c.d, pass.classes = c.k;
    pass.weight = weight.data();
    if (c.dense) {
      dense.data = (char*)q.data(), dense.dtype = Dtype::f64;
      dense.class_stride = 8, dense.stride[0] = c.k * 8;
      pass.dense = &dense;
    } else {
      pass.index = y.data();
    }
    if (c.weighted) pass.sample_weight = sample_weight.data();
    pass.on = 1 - c.smoothing, pass.off = c.smoothing / (double)c.k;
    find_truth();
  }

  void find_truth() {
    const std::int64_t D = c.d + 1;
    gradient.assign((std::size_t)(c.k * D), 0), size.assign(gradient.size(), 0);
    for (std::int64_t i = 0; i < c.n; ++i) {
      const double* const row = &wide[(std::size_t)((c.reversed ? c.n - 1 - i : i) * c.d)];
      const std::int64_t label = y[(std::size_t)i];
      if (!c.dense && (label < 0 || label >= c.k)) continue;
      Numbers z((std::size_t)c.k), t(z.size());
      double peak = -std::numeric_limits<double>::infinity(), rest = 0, mass = 0, inner = 0;
      const double s = c.weighted ? sample_weight[(std::size_t)i] : 1;
      for (std::int64_t j = 0; j < c.k; ++j) {
        double sum = weight[(std::size_t)(j * D + c.d)];
        for (std::int64_t f = 0; f < c.d; ++f) sum += weight[(std::size_t)(j * D + f)] * row[f];
        z[(std::size_t)j] = sum;
        peak = sum > peak ? sum : peak;
        const double part = c.dense ? q[(std::size_t)(i * c.k + j)] : label == j ? 1 : 0;
        t[(std::size_t)j] = s * (pass.on * part + pass.off);
        mass += t[(std::size_t)j], inner += t[(std::size_t)j] * sum;
      }
      for (const double v : z) rest += std::exp(v - peak);
      const double lse = peak + std::log(rest);
      loss += mass * lse - inner;
      for (std::int64_t j = 0; j < c.k; ++j) {
        const double g = mass * std::exp(z[(std::size_t)j] - lse) - t[(std::size_t)j];
        square += g * g;
        for (std::int64_t f = 0; f < D; ++f) {
          const double term = g * (f < c.d ? row[f] : 1);
          gradient[(std::size_t)(j * D + f)] += term;
          size[(std::size_t)(j * D + f)] += std::fabs(term) + 1e-3;
        }
      }
    }
  }

  std::string name(const Table* table) const {
    return text("%s: %d rows of %d features, %d classes, %d bytes%s%s%s%s%s", table->name, (int)c.n, (int)c.d,
                (int)c.k, size_of(c.dtype), c.in_double ? ", in double" : "", c.dense ? ", dense" : "",
                c.weighted ? ", weighted" : "", c.reversed ? ", reversed" : "", c.shifted ? ", shifted" : "");
  }
};

void check_pass(const Case& given) {
  const Linear linear(given);
  const double unit = given.in_double ? 0x1p-53 : 0x1p-24;
  const double depth = 16 * (std::sqrt((double)given.d) + 8);
  for (const Table* table : available()) {
    choose(table->name);
    const std::string name = linear.name(table);
    Numbers first;
    LinearSums of_first;
    for (const int threads : {1, 2, 5}) {
      Runner runner;
      runner.threads = threads;
      Numbers found(linear.gradient.size(), std::nan(""));
      const LinearSums sums = linear_pass(linear.pass, found.data(), runner);
      CHECK(sums.complete, "%s", name.c_str());
      if (threads > 1) {
        const bool same = std::memcmp(found.data(), first.data(), found.size() * 8) == 0;
        CHECK(same && sums.loss == of_first.loss && sums.square == of_first.square, "%s, %d threads",
              name.c_str(), threads);
        continue;
      }
      first = found, of_first = sums;
      for (std::size_t i = 0; i < found.size(); ++i)
        CHECK(std::fabs(found[i] - linear.gradient[i]) <= depth * unit * linear.size[i],
              "%s: gradient %d: %g, not %g", name.c_str(), (int)i, found[i], linear.gradient[i]);
      const double bound = depth * unit * (1 + std::fabs(linear.loss) + (double)given.n);
      CHECK(std::fabs(sums.loss - linear.loss) <= bound, "%s: loss %g, not %g", name.c_str(), sums.loss,
            linear.loss);
      CHECK(std::fabs(sums.square - linear.square) <= bound, "%s: square %g, not %g", name.c_str(),
            sums.square, linear.square);
    }
  }
}

template <class C, class Index>
void check_sparse(std::int64_t n, std::int64_t d, std::int64_t k, Random& random) {
  std::vector<std::int64_t> starts{0};
  std::vector<Index> columns;
  std::vector<C> numbers, b((std::size_t)(d * k));
  for (C& v : b) v = (C)random.normal();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t e = random.below(40); e > 0 && d > 0; --e) {
      columns.push_back((Index)random.below(d));
      numbers.push_back((C)random.normal());
    }
    starts.push_back((std::int64_t)columns.size());
  }
  const bool in_double = sizeof(C) == 8, wide = sizeof(Index) == 8;
  Numbers truth((std::size_t)(n * k), 0);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t e = starts[(std::size_t)i]; e < starts[(std::size_t)i + 1]; ++e)
      for (std::int64_t j = 0; j < k; ++j)
        truth[(std::size_t)(i * k + j)] +=
            (double)numbers[(std::size_t)e] *
            (double)b[(std::size_t)((std::int64_t)columns[(std::size_t)e] * k + j)];
  for (const Table* table : available()) {
    choose(table->name);
    std::vector<C> out(truth.size(), (C)NAN);
    SparseRows rows{starts.data(),
                    true,
                    columns.data(),
                    wide,
                    numbers.data(),
                    in_double,
                    n,
                    (std::int64_t)columns.size(),
                    b.data(),
                    d,
                    k,
                    out.data()};
    Runner runner;
    runner.threads = 3;
    CHECK(sparse_product(rows, runner) == SparseResult::complete, "%s", table->name);
    const double unit = in_double ? 0x1p-50 : 0x1p-20;
    for (std::size_t i = 0; i < out.size(); ++i)
      CHECK(std::fabs((double)out[i] - truth[i]) <= unit * 40, "%s: %d columns: %g, not %g", table->name,
            (int)k, (double)out[i], truth[i]);
    if (columns.empty()) continue;
    // Any wrong entry is found: a column that does not exist, and starts that point outside or backwards.
    const std::size_t at = (std::size_t)random.below((std::int64_t)columns.size());
    const Index kept = columns[at];
    for (const std::int64_t wrong :
         {d, (std::int64_t)-1, (std::int64_t)std::numeric_limits<std::int32_t>::max()}) {
      columns[at] = (Index)wrong;
      CHECK(sparse_product(rows, runner) == SparseResult::out_of_range, "%s: column %d", table->name,
            (int)wrong);
    }
    columns[at] = kept;
    const std::size_t row = (std::size_t)random.below(n);
    const std::int64_t start = starts[row + 1];
    for (const std::int64_t wrong :
         {(std::int64_t)-1, rows.entries + 1, std::numeric_limits<std::int64_t>::max()}) {
      starts[row + 1] = wrong;
      CHECK(sparse_product(rows, runner) == SparseResult::out_of_range, "%s: start %d", table->name,
            (int)row);
    }
    starts[row + 1] = start;
  }
}

}  // namespace

void test_linear(bool quick) {
  const Table* const before = current();
  const Dtype dtypes[] = {Dtype::f32, Dtype::f64, Dtype::f16};
  for (const Dtype dtype : dtypes)
    for (const std::int64_t k : {1, 2, 3, 7, 8, 9, 16, 17, 33, 64, 65, 100})
      for (const std::int64_t d : {1, 5, 13, 130}) {
        if (quick && (k > 20 || d > 20)) continue;
        check_pass({37, d, k, dtype, dtype == Dtype::f64});
      }
  check_pass({0, 4, 3, Dtype::f32, false});
  check_pass({1, 4, 3, Dtype::f32, false});
  check_pass({quick ? 700 : 5000, 40, 6, Dtype::f32, false});
  check_pass({600, 300, 5, Dtype::f32, true});
  check_pass({300, 20, 4, Dtype::f32, false, true, true, false, false, 0.1});
  check_pass({300, 20, 4, Dtype::f64, true, false, true, true, false, 0.25});
  check_pass({300, 20, 40, Dtype::f32, false, false, true, true});
  check_pass({100, 20, 4, Dtype::f32, false, false, false, false, true});
  check_pass({100, 20, 4, Dtype::f64, true, true, false, false, true});
  check_pass({40, 7000, 3, Dtype::f32, false});
  Random random(5);
  for (const std::int64_t k : {1, 2, 7, 8, 15, 16, 17, 33, 64, 65, 130}) {
    check_sparse<float, std::int32_t>(50, 30, k, random);
    check_sparse<double, std::int64_t>(50, 30, k, random);
  }
  check_sparse<double, std::int32_t>(quick ? 300 : 3000, 200, 20, random);
  check_sparse<float, std::int64_t>(0, 5, 3, random);
  check_sparse<float, std::int32_t>(5, 0, 3, random);
  choose(before->name);
}

}  // namespace tests
}  // namespace lastlayer
