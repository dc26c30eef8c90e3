#include "request.hpp"

#include <cstring>
#include <string>
#include <utility>

#include "gil.hpp"
#include "pool.hpp"
#include "sum.hpp"
#include "targets.hpp"

namespace nb = nanobind;

namespace lastlayer {
namespace {

// Calls of fewer scores keep the GIL and run on this thread.
constexpr std::int64_t worth_releasing = 4096;

thread_local int threads_in_use = 0;

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

// The arrays of a call: opened, checked against the scores, and laid out as operands.
class Request {
 public:
  Shape shape;
  Operand x, out, dy;
  Transform transform;
  bool in_double;      // the computing type
  bool wide;           // the type of the row results: double, else float
  bool shard = false;  // the scores are some of the classes

  explicit Request(const ScoreArguments& a, bool take_log = false) {
    scores_.open(a.array, false, a.bfloat, "scores");
    if (is_integer(scores_.dtype)) refuse("scores", "not floating point");
    if (a.axis < 0 || a.axis >= scores_.axes) refuse("axis", "out of range");
    axis_ = a.axis;
    shape.classes = scores_.shape[axis_];
    if (shape.classes < 1) refuse("scores", "no classes");
    shape.rows = scores_.items / shape.classes;
    transform = {a.temperature, a.softcap, take_log, nullptr};
    in_double = computes_in_double(scores_.dtype, transform);
    wide = scores_.dtype == Dtype::f64;
  }
  Request(const Request&) = delete;

  // Results of a shard are merged with those of other shards in the computing type.
  void set_shard() { shard = true, wide = in_double; }
  Scores scores() const { return {x, transform}; }
  Dtype row_dtype() const { return wide ? Dtype::f64 : Dtype::f32; }

  void open_out(nb::handle object) {
    out_.open(object, true, scores_.dtype == Dtype::bf16, "out");
    if (out_.dtype != scores_.dtype) refuse("out", "not the scores' dtype");
    check_shape(out_, "out");
  }
  void open_mask(nb::handle object) {
    if (object.is_none()) return;
    mask_.open(object, false, false, "where");
    if (mask_.dtype != Dtype::u8) refuse("where", "not boolean");
    check_shape(mask_, "where");
    transform.mask = &mask_operand_;
  }
  void open_upstream(nb::handle object, bool bfloat) {
    dy_.open(object, false, bfloat, "grad");
    check_shape(dy_, "grad");
    if (dy_.dtype != scores_.dtype) refuse("grad", "not the output's dtype");
  }
  void open_targets(const TargetArguments& a, EffectiveTarget& t) {
    t.of_shard = shard;
    if (a.array.is_none()) return;
    t.on = a.on, t.off = a.off;
    if (a.dense) {
      t.kind = Target::dense;
      dense_.open(a.array, false, a.bfloat, "targets");
      check_shape(dense_, "targets");
      t.dense = &dense_operand_;
    } else {
      t.kind = Target::index;
      index_.open(a.array, false, false, "targets");
      if (!is_integer(index_.dtype) || !index_.contiguous() || index_.items != shape.rows)
        refuse("targets", "not one contiguous integer a row");
      t.index = index_.data, t.index_dtype = index_.dtype;
      if (!a.ignore_index.is_none()) t.has_ignore = true, t.ignore = nb::cast<std::int64_t>(a.ignore_index);
    }
    if (!a.sample_weight.is_none()) t.sample_weight = row_argument(a.sample_weight, "sample_weight");
    const double* w = a.class_weight.is_none()
                          ? nullptr
                          : doubles_of(class_weight_, a.class_weight, shape.classes, "class_weight");
    if (w || a.dense || a.off != 0) convert_class_weight(w, t);
  }
  // A float64 of each row.
  const double* row_argument(nb::handle object, const char* name) {
    Array& array = row_arguments_[row_arguments_given_++];
    return doubles_of(array, object, shape.rows, name);
  }
  // A contiguous array of one number a row (or `each` of them), or null for None; `written`: for results.
  void* row_memory(nb::handle object, Dtype dtype, const char* name, bool written, std::int64_t each = 1) {
    if (object.is_none()) return nullptr;
    Array b;
    b.open(object, written, false, name);
    if (b.dtype != dtype || !b.contiguous() || b.items != shape.rows * each)
      refuse(name, "wrong dtype, shape or layout");
    const std::size_t bytes = (std::size_t)b.items * (std::size_t)b.item_size;
    vectors_.push_back({b.hand_over(), b.data, bytes, nullptr, written});
    if (b.aligned) return b.data;
    char* const at = (vectors_.back().aligned = std::make_unique<char[]>(bytes)).get();
    std::memcpy(at, b.data, bytes);
    return at;
  }

  // Runs an operation on these arrays: a parameter struct of kernels.hpp.
  template <class Operation>
  void run(const Operation& operation, int threads) {
    if (threads < 0) refuse("threads", "is negative");
    if (shape.rows == 0) return;
    lay_out();
    if (!run_with_gil_where_small(Job(operation), threads)) throw nb::python_error();
    for (const RowMemory& m : vectors_) m.deliver();
  }

 private:
  void check_shape(const Array& b, const char* name) const {
    bool same = b.axes == scores_.axes;
    for (int d = 0; same && d < b.axes; ++d) same = b.shape[d] == scores_.shape[d];
    if (!same) refuse(name, "not the scores' shape");
  }

  // The class weights in the computing type, or ones.
  void convert_class_weight(const double* w, EffectiveTarget& t) {
    const std::size_t n = (std::size_t)shape.classes;
    t.class_weight_sum =
        w ? sum_of(shape.classes, [w](std::int64_t j) { return w[j]; }) : (double)shape.classes;
    if (in_double) {
      weights_double_.resize(n);
      for (std::size_t j = 0; j < n; ++j) weights_double_[j] = w ? w[j] : 1.0;
      t.class_weight = weights_double_.data();
    } else {
      weights_float_.resize(n);
      for (std::size_t j = 0; j < n; ++j) weights_float_[j] = w ? (float)w[j] : 1.0f;
      t.class_weight = weights_float_.data();
    }
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
    lay(scores_, x), lay(out_, out), lay(mask_, mask_operand_), lay(dense_, dense_operand_), lay(dy_, dy);
    int n = 0;
    for (int d = 0; d < scores_.axes; ++d) {
      if (d == axis_ || scores_.shape[d] == 1) continue;
      bool merges = n > 0;
      for (int k = 0; k < given && merges; ++k)
        merges = operands[k]->stride[n - 1] == arrays[k]->strides[d] * scores_.shape[d];
      if (!merges) shape.extent[n++] = 1;
      shape.extent[n - 1] *= scores_.shape[d];
      for (int k = 0; k < given; ++k) operands[k]->stride[n - 1] = arrays[k]->strides[d];
    }
    shape.axes = n;
  }

  bool run_with_gil_where_small(const Job& job, int threads) {
    if (shape.rows * shape.classes < worth_releasing) return run_job(job, Runner{});
    const Runner runner = runner_of_call(threads);
    WithoutGil released;
    return run_job(job, runner);
  }

  int axis_ = 0;
  Array scores_, out_, mask_, dense_, dy_, index_, class_weight_;
  Operand mask_operand_, dense_operand_;
  Array row_arguments_[3];  // at most: sample weight; and threshold, or mass and tilt
  int row_arguments_given_ = 0;
  std::vector<double> weights_double_;
  std::vector<float> weights_float_;
  std::vector<RowMemory> vectors_;
};

// The parts of `row_stats`.
struct Statistics {
  EffectiveTarget target;
  Losses losses;
  RowResults results;
  TopK top;
  const double* target_score = nullptr;
};

// Its results: the arrays in the dict `into`, by name.
void open_statistics(Request& r, const StatsArguments& a, Statistics& call) {
  auto slot = [&](const char* name, Dtype dtype, std::int64_t each = 1) -> void* {
    // Owned: Python code that runs while it is opened may take it out of the dict.
    const nb::object array = nb::borrow(PyDict_GetItemString(a.into.ptr(), name));
    return array.is_valid() ? r.row_memory(array, dtype, name, true, each) : nullptr;
  };
  RowResults& o = call.results;
  o.wide = r.wide;
  call.losses = {slot("nll", r.row_dtype()), r.wide};
  o.lse = slot("lse", r.row_dtype());
  o.wide_peak = r.in_double;  // a float may not hold the peak of scores that are computed in double
  o.peak = slot("peak", o.wide_peak ? Dtype::f64 : Dtype::f32);
  o.confidence = slot("confidence", r.row_dtype());
  o.rest = (double*)slot("rest", Dtype::f64);
  o.gap = (double*)slot("gap", Dtype::f64);
  o.mass = (double*)slot("mass", Dtype::f64);
  o.spread = (double*)slot("spread", Dtype::f64);
  o.square = (double*)slot("square", Dtype::f64);
  o.moment = (double*)slot("moment", Dtype::f64);
  o.argmax = (std::int64_t*)slot("argmax", Dtype::i64);
  o.rank = (std::int64_t*)slot("rank", Dtype::i64);
  if (o.rank && call.target.kind != Target::index) refuse("rank", "needs index targets");
  const bool given = !a.threshold.is_none(), ranks = o.rank != nullptr;
  if (given ? !a.shard || ranks == (a.k != 0) : a.shard && ranks)
    refuse("threshold", "for the ranks or for the best classes of a shard");
  if (given) (ranks ? call.target_score : call.top.threshold) = r.row_argument(a.threshold, "threshold");
  if ((call.losses.at || o.gap || o.mass) && call.target.kind == Target::none) refuse("nll", "needs targets");
  if (a.k == 0) return;
  if (a.k < 1 || a.k > r.shape.classes) refuse("k", "out of range");
  call.top.label = (std::int64_t*)slot("top_label", Dtype::i64, a.k);
  call.top.probability = slot("top_probability", r.row_dtype(), a.k);
  if (!call.top.label || !call.top.probability) refuse("k", "nowhere to put the result");
  call.top.k = a.k;
}

// A shard's gradient: the mass and tilt of whole rows.
void open_shard_gradient(Request& r, const LossArguments& a, bool gradient, KnownRows& known) {
  if (!a.mass.is_none()) {
    if (!gradient || a.peak.is_none() || a.rest.is_none())
      refuse("mass", "only with a gradient whose peak and rest are known");
    r.set_shard();
    known.mass = r.row_argument(a.mass, "mass");
  }
  if (a.tilt.is_none()) return;
  if (a.mass.is_none()) refuse("tilt", "only where the mass is known");
  known.tilt = r.row_argument(a.tilt, "tilt");
}

// Peak and rest of every row: results of a loss, and known to its gradient. Where scores are computed in a
// wider type than their results, the results cannot hold the peak; then the gradient finds both again.
void open_row_state(Request& r, const LossArguments& a, RowResults& found, KnownRows& known) {
  if (a.peak.is_none() || a.rest.is_none()) return;
  const LossKind kind = (LossKind)a.kind;
  const bool written = kind == LossKind::loss;
  void* const peak = r.row_memory(a.peak, r.row_dtype(), "peak", written);
  double* const rest = (double*)r.row_memory(a.rest, Dtype::f64, "rest", written);
  if (written) found.peak = peak, found.rest = rest, found.wide = found.wide_peak = r.wide;
  const bool gradient = kind == LossKind::loss_and_grad || kind == LossKind::grad_alone;
  if (gradient && r.in_double == r.wide) known.peak = peak, known.rest = rest;
}

// scale * (loss_0 + loss_1 + ...), where `run` computes the losses into memory that it is given.
template <class T, class Run>
double sum_of_losses(std::int64_t rows, double scale, Run&& run) {
  const std::unique_ptr<T[]> losses(new T[(std::size_t)rows]);
  run(losses.get());
  if (scale == 0) return 0.0;
  return scale * sum_of(rows, [&](std::int64_t i) { return (double)losses[(std::size_t)i]; });
}

}  // namespace

int use_threads(int n) { return std::exchange(threads_in_use, n); }

Runner runner_of_call(int threads) {
  const int asked = threads ? threads : threads_in_use;
  return {asked ? asked : threads_of_process(), asked > 0, interrupted};
}

const double* doubles_of(Array& array, nb::handle object, std::int64_t n, const char* name) {
  array.open(object, false, false, name);
  if (array.dtype != Dtype::f64 || !array.contiguous() || array.items != n)
    refuse(name, "not contiguous float64 of the right length");
  array.align();
  return (const double*)array.data;
}

void softmax(const ScoreArguments& scores, nb::handle out, bool log, nb::handle where, int threads) {
  Request r(scores);
  r.open_out(out);
  r.open_mask(where);
  r.run(Softmax{r.shape, r.scores(), r.out, log}, threads);
}

void softmax_backward(const ScoreArguments& y, nb::handle grad, nb::handle out, bool log, int threads) {
  Request r(y);
  r.open_upstream(grad, y.bfloat);
  r.open_out(out);
  r.run(SoftmaxBackward{r.shape, r.x, r.dy, r.out, log}, threads);
}

void row_stats(const ScoreArguments& scores, const TargetArguments& targets, const StatsArguments& stats,
               int threads) {
  Request r(scores);
  if (stats.shard) r.set_shard();
  r.open_mask(stats.where);
  Statistics s;
  r.open_targets(targets, s.target);
  open_statistics(r, stats, s);
  r.run(RowStatistics{r.shape, r.scores(), s.target, s.losses, s.results, s.top, 0.0, s.target_score},
        threads);
}

double cross_entropy(const ScoreArguments& scores, const TargetArguments& targets, const LossArguments& a,
                     int threads) {
  const LossKind kind = (LossKind)a.kind;
  const bool gradient = kind == LossKind::loss_and_grad || kind == LossKind::grad_alone;
  const bool pick_gradient = kind == LossKind::nll_grad || kind == LossKind::log_loss_grad;
  if (targets.array.is_none()) refuse("targets", "missing");
  Request r(scores, kind == LossKind::log_loss || kind == LossKind::log_loss_grad);
  KnownRows known;
  RowResults found;
  open_shard_gradient(r, a, gradient, known);
  EffectiveTarget target;
  r.open_targets(targets, target);
  if (pick_gradient && (targets.dense || targets.off != 0)) refuse("targets", "of one class only");
  if (gradient || pick_gradient) r.open_out(a.grad);
  open_row_state(r, a, found, known);
  auto run = [&](void* memory) {
    const Losses losses{memory, r.wide};
    const Scores z = r.scores();
    if (gradient)
      r.run(LossGradient{r.shape, z, target, r.out, losses, known, a.z_loss, a.scale}, threads);
    else if (pick_gradient)
      r.run(PickGradient{r.shape, z, target, r.out, a.scale}, threads);
    else if (kind != LossKind::loss)
      r.run(Pick{r.shape, z, target, losses}, threads);
    else
      r.run(RowStatistics{r.shape, z, target, losses, found, Absent::top, a.z_loss, nullptr, true}, threads);
  };
  if (kind == LossKind::grad_alone || pick_gradient)
    run(nullptr);
  else if (!a.losses.is_none())
    run(r.row_memory(a.losses, r.row_dtype(), "losses", true));
  else
    return r.wide ? sum_of_losses<double>(r.shape.rows, a.scale, run)
                  : sum_of_losses<float>(r.shape.rows, a.scale, run);
  return 0.0;
}

}  // namespace lastlayer
