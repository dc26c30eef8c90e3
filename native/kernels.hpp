// The operations of the core: one parameter struct each, and the Table of functions that run them on one
// instruction set. In: shapes, strides, dtypes and pointers. Out: the arrays that they point to, filled.
//
//   N rows, V classes; a row is the V scores that one softmax runs over
//   z_ij                              the score after softcap, temperature and mask
//   t_ij = s_i w_j (on q_ij + off)    the effective target (docs/design.md)
//
// Nothing here knows Python. The bindings check every argument; the kernels assert preconditions in debug and
// sanitizer builds only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "metrics.hpp"
#include "products.hpp"

namespace lastlayer {

#if defined(LASTLAYER_CHECKED)
[[noreturn]] void broken(const char* condition, const char* file, int line);
#define LL_ASSERT(condition) ((condition) ? (void)0 : ::lastlayer::broken(#condition, __FILE__, __LINE__))
#else
#define LL_ASSERT(condition) ((void)0)
#endif

// --- arrays ---

enum class Dtype : std::int32_t { f16, bf16, f32, f64, i8, u8, i16, u16, i32, u32, i64, u64 };

// Bytes of an element. Static, so that each translation unit has its own: of a shared inline function the
// linker keeps one copy, which may be compiled for an instruction set that the machine lacks.
static constexpr int size_of(Dtype d) {
  constexpr int bytes[] = {2, 2, 4, 8, 1, 1, 2, 2, 4, 4, 8, 8};
  return bytes[(int)d];
}

constexpr int max_axes = 64;  // NumPy's own limit

// N rows by V classes. The rows' axes are in C order.
struct Shape {
  std::int64_t rows = 0, classes = 0;
  int axes = 0;  // of the rows
  std::int64_t extent[max_axes];

  Shape() {}  // leaves `extent` as it is: to clear it would take longer than a softmax of three logits
};

// An array of that shape: byte strides, of any sign.
struct Operand {
  char* data = nullptr;
  Dtype dtype = Dtype::f32;
  std::int64_t class_stride = 0;
  std::int64_t stride[max_axes];  // of the rows' axes; the first is set where there are none
  // Every element lies at a multiple of its size. Otherwise elements are accessed byte by byte, or by vector
  // instructions that take any address, and never as objects of their type.
  bool aligned = true;

  Operand() { stride[0] = 0; }  // leaves the others, as Shape does
};

// --- parts that operations share ---

// From the scores as they were passed to z: softcap, then temperature, then logarithm, then mask.
struct Transform {
  double temperature = 1.0;
  double softcap = 0.0;           // 0: none
  bool take_log = false;          // the scores are probabilities
  const Operand* mask = nullptr;  // u8, 0 = the class is excluded
};

struct Scores {
  const Operand& x;
  const Transform& transform;
};

enum class Target : std::int32_t { none, index, dense };

// The effective target t of every row. Without an index or dense target nothing else of it is read.
struct EffectiveTarget {
  Target kind = Target::none;
  const char* index = nullptr;  // N class indices, contiguous
  Dtype index_dtype = Dtype::i64;
  bool has_ignore = false;
  std::int64_t ignore = 0;
  const Operand* dense = nullptr;         // q
  const double* sample_weight = nullptr;  // N; aligned, as all vectors but `index`
  const void* class_weight = nullptr;     // V numbers of the computing type; required if dense or off != 0
  double class_weight_sum = 0.0;
  double on = 1.0, off = 0.0;
  // The classes are a shard of all: an index outside of them is a class of another shard, and its row counts.
  bool of_shard = false;
};

// The losses of the rows, contiguous and aligned. Null: not wanted.
struct Losses {
  void* at = nullptr;
  bool wide = false;  // double, else float
};

// Other results of one number a row, contiguous and aligned, each optional. `wide`: double, else float;
// `wide_peak`: the same for the peak.
struct RowResults {
  bool wide = false;
  bool wide_peak = false;
  void* lse = nullptr;
  void* peak = nullptr;
  void* confidence = nullptr;
  double* rest = nullptr;
  double* gap = nullptr;
  double* mass = nullptr;
  double* spread = nullptr;
  double* square = nullptr;
  double* moment = nullptr;
  std::int64_t* argmax = nullptr;
  std::int64_t* rank = nullptr;
};

// The top-k classes of each row and their probabilities, N by k; k = 0: not wanted.
struct TopK {
  std::int64_t k = 0;
  std::int64_t* label = nullptr;
  void* probability = nullptr;  // of the type of the row results
  // Of a shard: only classes whose score reaches the row's threshold are wanted. -inf or NaN: all are.
  const double* threshold = nullptr;
};

// What an earlier pass found of each row. Null: not known.
struct KnownRows {
  const void* peak = nullptr;  // of the computing type
  const double* rest = nullptr;
  // A shard's gradient is (mass + tilt (z_j - peak)) p_j - t_j; all four are of the whole row.
  const double* mass = nullptr;
  const double* tilt = nullptr;
};

// --- operations ---
//
// Each refers to its parts, which outlive the call.

// out = softmax(z), or its logarithm.
struct Softmax {
  const Shape& shape;
  Scores scores;
  const Operand& out;
  bool log = false;
};

// out = y (dy - sum(dy y)), y the softmax; or dy - exp(y) sum(dy), y the log-softmax.
struct SoftmaxBackward {
  const Shape& shape;
  const Operand& y;
  const Operand& dy;
  const Operand& out;
  bool log = false;
};

// The losses of the rows, with targets; other statistics; the top-k classes. Also those of a shard of the
// classes.
struct RowStatistics {
  const Shape& shape;
  Scores scores;
  const EffectiveTarget& target;
  const Losses& losses;
  const RowResults& results;
  const TopK& top;
  double z_loss = 0.0;
  // Of a shard whose ranks are wanted: the score of each row's target, whose class may be another shard's.
  const double* target_score = nullptr;
  bool skip_inactive = false;  // of inactive rows only the losses are read
};

// out = scale dloss/dscores; and the losses.
struct LossGradient {
  const Shape& shape;
  Scores scores;
  const EffectiveTarget& target;
  const Operand& out;
  const Losses& losses;
  const KnownRows& known;
  double z_loss = 0.0, scale = 1.0;
};

// losses = -sum_j t_ij log p_ij: the scores are log-probabilities, or probabilities (take_log).
struct Pick {
  const Shape& shape;
  Scores scores;
  const EffectiveTarget& target;
  const Losses& losses;
};

// out = scale times the gradient of that, of index targets without smoothing.
struct PickGradient {
  const Shape& shape;
  Scores scores;
  const EffectiveTarget& target;
  const Operand& out;
  double scale = 1.0;
};

// Whether the kernels compute in double, else in float. Temperature and softcap round the scores: float32 is
// computed in double then, where that rounding does not show.
bool computes_in_double(Dtype scores, const Transform& transform);

// --- running them ---

struct Job;  // an operation as the kernels read it: job.hpp
class Stop;  // whether a call is to end early: pool.hpp
bool stop_asked(Stop& stop) noexcept;

// How a call is cut up on one instruction set.
struct Cut {
  bool lanes = false;      // vectors run across rows: few classes, or the class axis is not the last
  std::int64_t block = 1;  // rows a block
  std::int64_t arena = 0;  // bytes of scratch a thread needs
  bool streaming = false;  // results bypass the cache
};

// A part of a call, on one thread: the rows [begin, end), and scratch aligned to 64 bytes.
struct Task {
  std::int64_t begin, end;
  char* arena;
  Stop* stop = nullptr;  // asked within long rows; null: the task runs to its end
};

struct SparseRows;  // sparse.hpp

struct Table {
  const char* name;
  Cut (*plan)(const Job&);
  void (*run)(const Job&, const Cut&, const Task&);
  // The numbers of n rows that an evaluation counts; and their exact sums: metrics.hpp.
  void (*row_metrics)(const RowSums&, const RowMetrics&, std::int64_t);
  void (*count_metrics)(const RowSums&, const std::int64_t* rank, std::int64_t, MetricBlock&);
  // Products of a block of rows with a narrow matrix, and numbers in the computing type: products.hpp.
  NarrowColumns (*columns)(bool in_double);
  void (*block_logits)(const BlockLogits&, bool in_double);
  void (*block_outer)(const BlockOuter&, bool in_double);
  double (*block_square)(const void*, std::int64_t, bool in_double);
  void (*load_numbers)(Dtype, const char*, std::int64_t stride, std::int64_t, void* to, bool in_double);
  // Rows of a sparse matrix times a dense one: sparse.hpp.
  bool (*sparse_rows)(const SparseRows&, std::int64_t first, std::int64_t last);
  // Elementary functions by themselves, to be measured by the tests: n numbers in, n out.
  void (*exp_f32)(const float*, float*, std::int64_t);
  void (*exp_f64)(const double*, double*, std::int64_t);
  void (*log1p_f32)(const float*, float*, std::int64_t);
  void (*log1p_f64)(const double*, double*, std::int64_t);
};

// nullptr where the instruction set was not compiled in.
const Table* table_baseline();
const Table* table_avx2();
const Table* table_avx512();
const Table* table_neon();

}  // namespace lastlayer
