// The contract between the bindings and the kernels: one Job describes one call, and every instruction set
// gives a Table of the same functions. Nothing here knows Python; nothing below the bindings checks an
// argument again.
//
//   N rows, V classes; a row is the V scores that one softmax runs over. The rows' axes are in C order.
//   z_ij                the score after softcap, temperature and mask
//   t_ij = s_i w_j (on q_ij + off)           the effective target (docs/design.md)
#pragma once

#include <cstddef>
#include <cstdint>

namespace lastlayer {

// Preconditions, checked in debug and sanitizer builds.
#if defined(LASTLAYER_CHECKED)
[[noreturn]] void broken(const char* condition, const char* file, int line);
#define LL_ASSERT(condition) ((condition) ? (void)0 : ::lastlayer::broken(#condition, __FILE__, __LINE__))
#else
#define LL_ASSERT(condition) ((void)0)
#endif

enum class Dtype : std::int32_t { f16, bf16, f32, f64, i8, u8, i16, u16, i32, u32, i64, u64 };

// Bytes of an element. Static, so that each translation unit has its own: of a shared inline function the
// linker keeps one copy, maybe that of an instruction set which the machine lacks.
static constexpr int size_of(Dtype d) {
  constexpr int bytes[] = {2, 2, 4, 8, 1, 1, 2, 2, 4, 4, 8, 8};
  return bytes[(int)d];
}

enum class Op : std::int32_t {
  softmax,
  log_softmax,
  stats,                 // per-row results only
  grad,                  // per-row results and dloss/dscores
  pick,                  // -sum_j t_ij log p_ij: the scores are log-probabilities or probabilities
  pick_grad,             // the gradient of that: index targets without smoothing only
  softmax_backward,      // x = the softmax y:      y * (dy - sum(dy * y))
  log_softmax_backward,  // x = the log-softmax y:  dy - exp(y) * sum(dy)
};

enum class Target : std::int32_t { none, index, dense };

constexpr int max_axes = 64;  // NumPy's own limit

// An array of N rows by V classes: byte strides, of any sign.
struct Operand {
  char* data = nullptr;
  Dtype dtype = Dtype::f32;
  std::int64_t class_stride = 0;
  std::int64_t stride[max_axes];  // of the rows' axes; the first is set where there are none
  // Every element lies at a multiple of its size. Without it elements are accessed byte by byte, or by vector
  // instructions that take any address, and never as objects of their type.
  bool aligned = true;

  Operand() { stride[0] = 0; }  // not the others: it would take longer than three logits
};

// Results of one number a row, contiguous and aligned, each optional. `wide`: double, else float;
// `wide_peak`: the peak.
struct RowResults {
  bool wide = false;
  bool wide_peak = false;
  void* loss = nullptr;
  void* lse = nullptr;
  void* peak = nullptr;
  void* confidence = nullptr;
  double* rest = nullptr;
  double* gap = nullptr;
  double* mass = nullptr;
  double* spread = nullptr;
  double* square = nullptr;
  std::int64_t* argmax = nullptr;
  std::int64_t* rank = nullptr;
};

// What a gradient knows of each row from an earlier pass. Null: not known.
struct KnownRows {
  const void* peak = nullptr;  // of the computing type
  const double* rest = nullptr;
  // A shard's gradient is (mass + tilt (z_j - peak)) p_j - t_j; all four are of the whole row.
  const double* mass = nullptr;
  const double* tilt = nullptr;
};

// The top-k classes of each row and their probabilities, N by k; k = 0: not wanted.
struct TopK {
  std::int64_t k = 0;
  std::int64_t* label = nullptr;
  void* probability = nullptr;  // double if the row results are wide, else float
  // Of a shard: each row's k-th best score so far; classes below it are not wanted. -inf or NaN: all are.
  const double* least = nullptr;
};

struct Job {
  Op op = Op::softmax;
  std::int64_t rows = 0, classes = 0;
  int axes = 0;  // of the rows
  std::int64_t extent[max_axes];
  Operand x, out;
  Operand mask;            // u8, 0 = excluded
  Operand dense;           // dense targets q
  Operand dy;              // the upstream gradient, of the backward operations
  bool in_double = false;  // the type the kernels compute in

  double temperature = 1.0, softcap = 0.0;  // softcap 0: none
  bool take_log = false;                    // pick, pick_grad: the scores are probabilities

  Target target = Target::none;
  const char* index = nullptr;  // N class indices, contiguous
  Dtype index_dtype = Dtype::i64;
  const void* class_weight =
      nullptr;  // V numbers of the computing type; required where off != 0 or target is dense
  const double* sample_weight = nullptr;  // N; aligned, as all vectors but `index`
  bool has_ignore = false;
  std::int64_t ignore = 0;
  bool shard = false;          // a part of the classes: an index outside of them is a class of another part
  bool skip_inactive = false;  // the statistics of inactive rows are not wanted
  double on = 1.0, off = 0.0, class_weight_sum = 0.0, z_loss = 0.0, scale = 1.0;

  KnownRows known;  // grad
  // stats of a shard: the score of each row's target, whose class may be another shard's; for its rank
  const double* target_score = nullptr;

  RowResults rows_out;
  TopK top;  // stats

  // Asked within long rows: true ends the call early.
  bool (*stop_asked)(void*) = nullptr;
  void* stop = nullptr;

  // How the driver cuts the work; set by `plan`.
  bool lanes = false;      // vectors run across rows (few classes, or the class axis is not last)
  std::int64_t block = 1;  // rows a block
  std::int64_t arena = 0;  // bytes of scratch a thread needs
  bool streaming = false;  // results bypass the cache
};

struct Table {
  const char* name;
  void (*plan)(Job&);  // fills the last group of a Job
  void (*run)(const Job&, std::int64_t begin, std::int64_t end, char* arena);  // rows [begin, end)
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
