#include "request.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "dispatch.hpp"
#include "gil.hpp"
#include "pool.hpp"
#include "sum.hpp"
#include "targets.hpp"

namespace nb = nanobind;

namespace lastlayer {
namespace {

// Fewer scores are computed with the GIL held, on this thread.
constexpr std::int64_t worth_releasing = 4096;

thread_local int threads_in_use = 0;

[[noreturn]] void refuse(const char* name, const char* what) {
  throw std::invalid_argument(std::string(name) + ": " + what);
}

// The memory of one number a row: the caller's, or aligned memory in its place.
struct RowMemory {
  Keeper keeper;
  char* data;
  std::size_t bytes;
  std::unique_ptr<char[]> aligned;  // null where the caller's memory is aligned
  bool written;

  void deliver() const {
    if (aligned && written) std::memcpy(data, aligned.get(), bytes);
  }
};

// The parameters of a call, and what they point to.
class Request {
 public:
  Job job;
  Array scores, out, mask, dense, dy;
  Array index, class_weight, sample_weight, mass, tilt, threshold;

  void open_scores(const ScoreArguments& a) {
    scores.open(a.array, false, a.bfloat, "scores");
    if (is_integer(scores.dtype)) refuse("scores", "not floating point");
    if (a.axis < 0 || a.axis >= scores.axes) refuse("axis", "out of range");
    axis_ = a.axis;
    job.classes = scores.shape[axis_];
    if (job.classes < 1) refuse("scores", "no classes");
    job.rows = scores.items / job.classes;
    job.temperature = a.temperature;
    job.softcap = a.softcap;
    // Dividing by a temperature rounds the scores; in double that rounding does not show.
    job.in_double =
        scores.dtype == Dtype::f64 || (scores.dtype == Dtype::f32 && (a.temperature != 1 || a.softcap != 0));
    job.rows_out.wide = scores.dtype == Dtype::f64;
  }
  void open_out(nb::handle object) {
    out.open(object, true, scores.dtype == Dtype::bf16, "out");
    if (out.dtype != scores.dtype) refuse("out", "not the scores' dtype");
    check_shape(out, "out");
  }
  void open_mask(nb::handle object) {
    if (object.is_none()) return;
    mask.open(object, false, false, "where");
    if (mask.dtype != Dtype::u8) refuse("where", "not boolean");
    check_shape(mask, "where");
  }
  void open_upstream(nb::handle object, bool bfloat) {
    dy.open(object, false, bfloat, "grad");
    check_shape(dy, "grad");
    if (dy.dtype != scores.dtype) refuse("grad", "not the output's dtype");
  }
  void open_targets(const TargetArguments& a) {
    if (a.array.is_none()) return;
    job.on = a.on, job.off = a.off;
    if (a.dense) {
      job.target = Target::dense;
      dense.open(a.array, false, a.bfloat, "targets");
      check_shape(dense, "targets");
    } else {
      job.target = Target::index;
      index.open(a.array, false, false, "targets");
      if (!is_integer(index.dtype) || !index.contiguous() || index.items != job.rows)
        refuse("targets", "not one contiguous integer a row");
      job.index = index.data, job.index_dtype = index.dtype;
      if (!a.ignore_index.is_none())
        job.has_ignore = true, job.ignore = nb::cast<std::int64_t>(a.ignore_index);
    }
    if (!a.sample_weight.is_none())
      job.sample_weight = doubles_of(sample_weight, a.sample_weight, job.rows, "sample_weight");
    const double* w = a.class_weight.is_none()
                          ? nullptr
                          : doubles_of(class_weight, a.class_weight, job.classes, "class_weight");
    if (w || a.dense || a.off != 0) convert_class_weight(w);
  }
  // A contiguous array of one number a row (or `each` of them) for results, or null for None.
  void* row_result(nb::handle object, Dtype dtype, const char* name, std::int64_t each = 1) {
    return row_memory(object, dtype, name, each, true);
  }
  // Results of a shard meet those of other shards in the computing type.
  void set_shard() { job.shard = true, job.rows_out.wide = job.in_double; }
  // Peak and rest of every row: found by a loss, known to its gradient. Scores that are computed in a wider
  // type than their results have a peak that the results cannot hold; then the gradient finds them again.
  void open_row_state(nb::handle peak, nb::handle rest) {
    const bool found = job.op == Op::stats;
    void* const p = row_memory(peak, row_dtype(), "peak", 1, found);
    double* const r = (double*)row_memory(rest, Dtype::f64, "rest", 1, found);
    if (found) job.rows_out.peak = p, job.rows_out.rest = r, job.rows_out.wide_peak = job.rows_out.wide;
    if (job.op == Op::grad && job.in_double == job.rows_out.wide) job.known.peak = p, job.known.rest = r;
  }
  Dtype row_dtype() const { return job.rows_out.wide ? Dtype::f64 : Dtype::f32; }

  void run(int threads) {
    if (threads < 0) refuse("threads", "is negative");
    if (job.rows == 0) return;
    lay_out();
    if (!run_with_gil_where_small(threads)) throw nb::python_error();
    for (const RowMemory& m : vectors_) m.deliver();
  }

 private:
  void check_shape(const Array& b, const char* name) const {
    bool same = b.axes == scores.axes;
    for (int d = 0; same && d < b.axes; ++d) same = b.shape[d] == scores.shape[d];
    if (!same) refuse(name, "not the scores' shape");
  }

  // The class weights in the computing type, or ones.
  void convert_class_weight(const double* w) {
    const std::size_t n = (std::size_t)job.classes;
    job.class_weight_sum =
        w ? sum_of(job.classes, [w](std::int64_t j) { return w[j]; }) : (double)job.classes;
    if (job.in_double) {
      weights_double_.resize(n);
      for (std::size_t j = 0; j < n; ++j) weights_double_[j] = w ? w[j] : 1.0;
      job.class_weight = weights_double_.data();
    } else {
      weights_float_.resize(n);
      for (std::size_t j = 0; j < n; ++j) weights_float_[j] = w ? (float)w[j] : 1.0f;
      job.class_weight = weights_float_.data();
    }
  }

  void* row_memory(nb::handle object, Dtype dtype, const char* name, std::int64_t each, bool written) {
    if (object.is_none()) return nullptr;
    Array b;
    b.open(object, written, false, name);
    if (b.dtype != dtype || !b.contiguous() || b.items != job.rows * each)
      refuse(name, "wrong dtype, shape or layout");
    const std::size_t bytes = (std::size_t)b.items * (std::size_t)b.item_size;
    vectors_.push_back({b.hand_over(), b.data, bytes, nullptr, written});
    if (b.aligned) return b.data;
    char* const at = (vectors_.back().aligned = std::make_unique<char[]>(bytes)).get();
    std::memcpy(at, b.data, bytes);
    return at;
  }

  // The rows' axes, merged where every operand allows, and each operand's strides over them.
  void lay_out() {
    const Array* arrays[5];
    Operand* operands[5];
    int given = 0;
    auto lay = [&](const Array& array, Operand& operand) {
      if (!array.given) return;
      operand.data = array.data, operand.dtype = array.dtype, operand.aligned = array.aligned;
      operand.class_stride = array.strides[axis_];
      arrays[given] = &array, operands[given] = &operand, ++given;
    };
    lay(scores, job.x), lay(out, job.out), lay(mask, job.mask), lay(dense, job.dense), lay(dy, job.dy);
    int n = 0;
    for (int d = 0; d < scores.axes; ++d) {
      if (d == axis_ || scores.shape[d] == 1) continue;
      bool merges = n > 0;
      for (int k = 0; k < given && merges; ++k)
        merges = operands[k]->stride[n - 1] == arrays[k]->strides[d] * scores.shape[d];
      if (!merges) job.extent[n++] = 1;
      job.extent[n - 1] *= scores.shape[d];
      for (int k = 0; k < given; ++k) operands[k]->stride[n - 1] = arrays[k]->strides[d];
    }
    job.axes = n;
  }

  bool run_with_gil_where_small(int threads) {
    if (job.rows * job.classes < worth_releasing) return run_job(job, Runner{});
    const int asked = threads ? threads : threads_in_use;
    const Runner runner{asked ? asked : threads_of_process(), asked > 0, interrupted};
    WithoutGil released;
    return run_job(job, runner);
  }

  int axis_ = 0;
  std::vector<double> weights_double_;
  std::vector<float> weights_float_;
  std::vector<RowMemory> vectors_;
};

// The results of `row_stats`: the arrays in the dict `into`, by name.
void open_statistics(Request& r, const StatsArguments& a) {
  auto slot = [&](const char* name, Dtype dtype, std::int64_t each = 1) -> void* {
    // Owned: Python code that runs while it is opened may take it out of the dict.
    const nb::object array = nb::borrow(PyDict_GetItemString(a.into.ptr(), name));
    return array.is_valid() ? r.row_result(array, dtype, name, each) : nullptr;
  };
  RowResults& o = r.job.rows_out;
  o.loss = slot("nll", r.row_dtype());
  o.lse = slot("lse", r.row_dtype());
  o.wide_peak = r.job.in_double;  // a float may not hold the peak of scores that are computed in double
  o.peak = slot("peak", o.wide_peak ? Dtype::f64 : Dtype::f32);
  o.confidence = slot("confidence", r.row_dtype());
  o.rest = (double*)slot("rest", Dtype::f64);
  o.gap = (double*)slot("gap", Dtype::f64);
  o.mass = (double*)slot("mass", Dtype::f64);
  o.spread = (double*)slot("spread", Dtype::f64);
  o.square = (double*)slot("square", Dtype::f64);
  o.argmax = (std::int64_t*)slot("argmax", Dtype::i64);
  o.rank = (std::int64_t*)slot("rank", Dtype::i64);
  if (o.rank && r.job.target != Target::index) refuse("rank", "needs index targets");
  const bool given = !a.threshold.is_none(), ranks = o.rank != nullptr;
  if (given ? !a.shard || ranks == (a.k != 0) : a.shard && ranks)
    refuse("threshold", "for the ranks or for the best classes of a shard");
  if (given)
    (ranks ? r.job.target_score : r.job.top.least) =
        doubles_of(r.threshold, a.threshold, r.job.rows, "threshold");
  if ((o.loss || o.gap || o.mass) && r.job.target == Target::none) refuse("nll", "needs targets");
  if (a.k == 0) return;
  if (a.k < 1 || a.k > r.job.classes) refuse("k", "out of range");
  r.job.top.label = (std::int64_t*)slot("top_label", Dtype::i64, a.k);
  r.job.top.probability = slot("top_probability", r.row_dtype(), a.k);
  if (!r.job.top.label || !r.job.top.probability) refuse("k", "nowhere to put the result");
  r.job.top.k = a.k;
}

// A shard's gradient: the mass and tilt of whole rows.
void open_shard_gradient(Request& r, const LossArguments& a, bool gradient) {
  if (!a.mass.is_none()) {
    if (!gradient || a.peak.is_none() || a.rest.is_none())
      refuse("mass", "only with a gradient whose peak and rest are known");
    r.set_shard();
    r.job.known.mass = doubles_of(r.mass, a.mass, r.job.rows, "mass");
  }
  if (a.tilt.is_none()) return;
  if (a.mass.is_none()) refuse("tilt", "only where the mass is known");
  r.job.known.tilt = doubles_of(r.tilt, a.tilt, r.job.rows, "tilt");
}

// scale * (loss_0 + loss_1 + ...) of losses that the caller does not want themselves.
template <class T>
double run_for_the_sum(Request& r, double scale, int threads) {
  const std::unique_ptr<T[]> losses(new T[(std::size_t)r.job.rows]);
  r.job.rows_out.loss = losses.get();
  r.run(threads);
  if (scale == 0) return 0.0;
  return scale * sum_of(r.job.rows, [&](std::int64_t i) { return (double)losses[(std::size_t)i]; });
}

}  // namespace

int use_threads(int n) { return std::exchange(threads_in_use, n); }

const double* doubles_of(Array& array, nb::handle object, std::int64_t n, const char* name) {
  array.open(object, false, false, name);
  if (array.dtype != Dtype::f64 || !array.contiguous() || array.items != n)
    refuse(name, "not contiguous float64 of the right length");
  array.align();
  return (const double*)array.data;
}

void softmax(const ScoreArguments& scores, nb::handle out, bool log, nb::handle where, int threads) {
  Request r;
  r.job.op = log ? Op::log_softmax : Op::softmax;
  r.open_scores(scores);
  r.open_out(out);
  r.open_mask(where);
  r.run(threads);
}

void softmax_backward(const ScoreArguments& y, nb::handle grad, nb::handle out, bool log, int threads) {
  Request r;
  r.job.op = log ? Op::log_softmax_backward : Op::softmax_backward;
  r.open_scores(y);
  r.open_upstream(grad, y.bfloat);
  r.open_out(out);
  r.run(threads);
}

void row_stats(const ScoreArguments& scores, const TargetArguments& targets, const StatsArguments& stats,
               int threads) {
  Request r;
  r.job.op = Op::stats;
  r.open_scores(scores);
  if (stats.shard) r.set_shard();
  r.open_mask(stats.where);
  r.open_targets(targets);
  open_statistics(r, stats);
  r.run(threads);
}

double cross_entropy(const ScoreArguments& scores, const TargetArguments& targets, const LossArguments& a,
                     int threads) {
  Request r;
  const LossKind kind = (LossKind)a.kind;
  const bool gradient = kind == LossKind::loss_and_grad || kind == LossKind::grad_alone;
  const bool pick_gradient = kind == LossKind::nll_grad || kind == LossKind::log_loss_grad;
  r.job.op = kind == LossKind::loss ? Op::stats
             : gradient             ? Op::grad
             : pick_gradient        ? Op::pick_grad
                                    : Op::pick;
  r.job.take_log = kind == LossKind::log_loss || kind == LossKind::log_loss_grad;
  if (targets.array.is_none()) refuse("targets", "missing");
  r.open_scores(scores);
  if (r.job.take_log && r.scores.dtype == Dtype::f32) r.job.in_double = false;
  open_shard_gradient(r, a, gradient);
  r.open_targets(targets);
  r.job.z_loss = a.z_loss, r.job.scale = a.scale;
  if (pick_gradient && (targets.dense || targets.off != 0)) refuse("targets", "of one class only");
  if (gradient || pick_gradient) r.open_out(a.grad);
  r.job.skip_inactive = kind == LossKind::loss || gradient;
  if (!a.peak.is_none() && !a.rest.is_none()) r.open_row_state(a.peak, a.rest);
  if (kind == LossKind::grad_alone || pick_gradient) {
    r.run(threads);
    return 0.0;
  }
  if (a.losses.is_none())
    return r.job.rows_out.wide ? run_for_the_sum<double>(r, a.scale, threads)
                               : run_for_the_sum<float>(r, a.scale, threads);
  r.job.rows_out.loss = r.row_result(a.losses, r.row_dtype(), "losses");
  r.run(threads);
  return 0.0;
}

}  // namespace lastlayer
