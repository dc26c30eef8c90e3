// Calls for the tests. In: an operation, a dtype, a size and a seed. Out: its parameters, the memory that
// they point to, and the expected results.
//
// All memory is allocated to the byte, so that AddressSanitizer sees an access one element too far; what
// surrounds results within their own array is filled with a pattern, which is checked afterwards. Scratch is
// filled with NaN.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "job.hpp"

namespace lastlayer {
namespace tests {

#define CHECK(condition, ...)                                                                \
  do {                                                                                       \
    if (!(condition)) ::lastlayer::tests::fail(__FILE__, __LINE__, #condition, __VA_ARGS__); \
  } while (0)

template <class... A>
std::string text(const char* format, A... a) {
  const int n = std::snprintf(nullptr, 0, format, a...);
  std::string s((std::size_t)n + 1, 0);
  std::snprintf(&s[0], s.size(), format, a...);
  s.pop_back();
  return s;
}
inline std::string text(const char* plain) { return plain; }

template <class... A>
[[noreturn]] void fail(const char* file, int line, const char* condition, A... a) {
  throw std::runtime_error(text("%s:%d: not %s: ", file, line, condition) + text(a...));
}

// splitmix64: the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::int64_t below(std::int64_t n) { return (std::int64_t)(bits() % (std::uint64_t)n); }
  double uniform() { return (double)(bits() >> 11) * 0x1p-53; }
  double normal() { return (uniform() + uniform() + uniform() + uniform() - 2) * 1.7320508; }
  bool once_in(int n) { return below(n) == 0; }
  template <class T, int N>
  T one_of(const T (&a)[N]) {
    return a[below(N)];
  }

 private:
  std::uint64_t state_;
};

double read(Dtype d, const char* p);
void write(Dtype d, char* p, double value);  // rounded to nearest even

// How an array of A x B rows by V classes lies in memory.
struct Layout {
  int order[3] = {0, 1, 2};  // of (A, B, V), outermost first
  bool turned[3] = {};       // negative stride
  int step = 1;              // of the innermost axis, in elements
  int gap = 0;               // elements between the runs of the innermost axis
  int offset = 0;            // elements before the first one
  bool shifted = false;      // off the elements' own alignment
  bool repeated = false;     // one row for all: row strides of 0
  static Layout plain() { return {}; }
  static Layout any(Random& random, bool for_result);
};

struct Request {
  Op op;
  Dtype dtype;
  std::int64_t rows, classes;
  std::uint64_t seed;
  bool plain = false;     // contiguous, and no options: the fast paths
  bool in_place = false;  // results over the scores
};

// The parts of every operation. An operation takes those that it reads.
struct Call {
  Op op;
  Shape shape;
  Operand x, out, mask, dense, dy;
  Transform transform;
  EffectiveTarget target;
  double z_loss = 0.0, scale = 1.0;
  KnownRows known;
  Losses losses;
  RowResults results;
  TopK top;
  const double* target_score = nullptr;

  bool in_double() const { return computes_in_double(x.dtype, transform); }
  Job job() const;
};

class Problem {
 public:
  explicit Problem(const Request& request);
  Problem(const Problem&) = delete;

  Call call;
  std::string name;

  void wipe();                  // the pattern over all results
  void check(const char* isa);  // results against the truth, and the pattern between them
  std::string results() const;  // all bytes of them

 private:
  struct Memory {
    std::unique_ptr<char[]> data;
    std::size_t size;
    bool result;
  };
  struct Row {  // the truth of a row
    double peak, rest, lse, confidence, gap, mass, spread, square, moment, loss, loss_size;
    std::int64_t argmax;
    bool ignored, sound;  // sound: there are probabilities
    std::int64_t y;
  };

  char* allocate(std::size_t bytes, bool result = false);
  void place(Operand& a, Dtype dtype, const Layout& layout, bool result);
  char* at(const Operand& a, std::int64_t row, std::int64_t j) const;
  void fill_scores(Random& random, bool special);
  void add_targets(Random& random, bool plain);
  void add_results(Random& random, bool plain);
  void find_truth();
  double scored(std::int64_t row, std::int64_t j, double* slope) const;
  double tolerance() const;
  bool loose() const { return loose_; }
  void near(double found, double truth, double size, double bound, double floor, const char* what,
            const char* isa, std::int64_t row, std::int64_t j = -1) const;
  void check_top(const char* isa, std::int64_t row) const;

  Request request_;
  std::vector<Memory> memory_;
  std::vector<Row> truth_;
  std::vector<double> matrix_,
      matrix_size_;  // the matrix of results, and what its errors are measured against
  std::vector<double> z_;
  std::int64_t a_ = 1, b_ = 1;
  std::string scores_before_;  // what was in memory that may not change
  bool loose_ = false;
};

// Runs a call on one instruction set, in scratch of exactly the size that its plan asks for.
Cut run_exactly(const Table& table, const Job& job, bool in_parts);

void test_kernels(bool quick);
void test_large(bool quick);
void test_elementary();
void test_digest();
void test_exact_sums();
void test_tally(bool quick);
void test_linear(bool quick);
void test_threads(bool quick, bool forks);

}  // namespace tests
}  // namespace lastlayer
