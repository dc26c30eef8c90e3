// Python objects -> Job. Arrays and tensors are held for the length of the call, and are checked here for
// everything that memory safety rests on: shape, dtype, writability. What they mean is checked in problem.py;
// errors raised here are the package's own mistakes.
//
// `threads` of the functions, or use_threads for all calls of a thread: so many, instead of the process's
// number of threads, and hosted (pool.hpp); 0 for that number.
#include <Python.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "array.hpp"
#include "digest.hpp"
#include "dispatch.hpp"
#include "pool.hpp"

namespace nb = nanobind;
using namespace lastlayer;

namespace {

std::atomic<int> thread_count{0};
thread_local int threads_in_use = 0;

int threads_of_process() {
  int n = thread_count.load(std::memory_order_relaxed);
  if (n == 0) thread_count.store(n = default_threads(), std::memory_order_relaxed);
  return n;
}

// Python ends a thread that asks for the GIL after the interpreter has shut down (up to 3.13 by unwinding its
// stack, which the destructors on it would turn into an abort). Such a thread waits for the end of the
// process instead.
template <class Take>
void take_gil(Take&& take) {
  try {
    take();
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    take_gil([&] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

bool interrupted() {
  PyGILState_STATE state;
  take_gil([&] { state = PyGILState_Ensure(); });
  const bool yes = PyErr_CheckSignals() != 0;
  PyGILState_Release(state);
  return yes;
}

// f(0) + ... + f(n - 1), in a fixed order. Blocks are added as a pair: the error does not grow with n.
template <class F>
double sum_of(std::int64_t n, F&& f) {
  double hi = 0, lo = 0;
  for (std::int64_t i = 0, end; i < n; i = end) {
    end = n - i < 128 ? n : i + 128;
    double part[8] = {};
    std::int64_t j = i;
    for (; j + 8 <= end; j += 8)
      for (int l = 0; l < 8; ++l) part[l] += f(j + l);
    for (; j < end; ++j) part[j & 7] += f(j);
    const double a =
        ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
    const double sum = hi + a, t = sum - hi;
    lo += (hi - (sum - t)) + (a - t);
    hi = sum;
  }
  return hi - hi == 0 ? hi + lo : hi;
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

// A call in the making: the Job and what must stay alive under it.
struct Request {
  Job job;
  Array x, out, mask, target, class_weight, sample_weight, mass, tilt;
  std::vector<double> weights_double;
  std::vector<float> weights_float;
  std::vector<RowMemory> vectors;
  int axis = 0;

  static bool floating(Dtype d) { return d <= Dtype::f64; }

  void scores(nb::handle array, int class_axis, bool bfloat, double temperature, double softcap) {
    x.open(array, false, bfloat, "scores");
    if (!floating(x.dtype)) throw std::invalid_argument("scores: not floating point");
    if (class_axis < 0 || class_axis >= x.axes) throw std::invalid_argument("axis: out of range");
    axis = class_axis;
    job.classes = x.shape[axis];
    if (job.classes < 1) throw std::invalid_argument("scores: no classes");
    job.rows = x.items / job.classes;
    job.temperature = temperature;
    job.softcap = softcap;
    // Dividing by a temperature rounds the scores; in double that is out of sight.
    job.in_double = x.dtype == Dtype::f64 || (x.dtype == Dtype::f32 && (temperature != 1 || softcap != 0));
    job.rows_out.wide = x.dtype == Dtype::f64;
  }
  void same_shape(const Array& b, const char* name) const {
    if (b.axes != x.axes) throw std::invalid_argument(std::string(name) + ": not the scores' shape");
    for (int d = 0; d < b.axes; ++d)
      if (b.shape[d] != x.shape[d])
        throw std::invalid_argument(std::string(name) + ": not the scores' shape");
  }
  void result(nb::handle array) {
    out.open(array, true, x.dtype == Dtype::bf16, "out");
    if (out.dtype != x.dtype) throw std::invalid_argument("out: not the scores' dtype");
    same_shape(out, "out");
  }
  void where(nb::handle array) {
    if (array.is_none()) return;
    mask.open(array, false, false, "where");
    if (mask.dtype != Dtype::u8) throw std::invalid_argument("where: not boolean");
    same_shape(mask, "where");
  }
  void second(nb::handle array, bool bfloat, const char* name) {
    target.open(array, false, bfloat, name);
    same_shape(target, name);
  }
  void targets(nb::handle array, bool dense, bool bfloat, nb::handle class_weights, nb::handle sample_weights,
               nb::handle ignore, double on, double off, double z_loss, double scale) {
    if (array.is_none()) return;
    job.on = on, job.off = off, job.z_loss = z_loss, job.scale = scale;
    if (dense) {
      job.target = Target::dense;
      second(array, bfloat, "targets");
    } else {
      job.target = Target::index;
      target.open(array, false, false, "targets");
      if (floating(target.dtype) || !target.contiguous() || target.items != job.rows)
        throw std::invalid_argument("targets: not one contiguous integer a row");
      job.index = target.data, job.index_dtype = target.dtype;
      if (!ignore.is_none()) job.has_ignore = true, job.ignore = nb::cast<std::int64_t>(ignore);
    }
    if (!sample_weights.is_none()) {
      vector_of(sample_weight, sample_weights, job.rows, "sample_weight");
      job.sample_weight = (const double*)sample_weight.data;
    }
    const bool given = !class_weights.is_none();
    if (given) vector_of(class_weight, class_weights, job.classes, "class_weight");
    if (!given && !dense && off == 0) return;
    const double* w = given ? (const double*)class_weight.data : nullptr;
    job.class_weight_sum =
        w ? sum_of(job.classes, [w](std::int64_t j) { return w[j]; }) : (double)job.classes;
    if (job.in_double) {
      weights_double.resize((std::size_t)job.classes);
      for (std::int64_t j = 0; j < job.classes; ++j) weights_double[j] = w ? w[j] : 1.0;
      job.class_weight = weights_double.data();
    } else {
      weights_float.resize((std::size_t)job.classes);
      for (std::int64_t j = 0; j < job.classes; ++j) weights_float[j] = w ? (float)w[j] : 1.0f;
      job.class_weight = weights_float.data();
    }
  }
  static void vector_of(Array& b, nb::handle array, std::int64_t n, const char* name) {
    b.open(array, false, false, name);
    if (b.dtype != Dtype::f64 || !b.contiguous() || b.items != n)
      throw std::invalid_argument(std::string(name) + ": not contiguous float64 of the right length");
    b.align();
  }
  // A contiguous array of one number a row (or `each` of them).
  void* row_result(nb::handle array, Dtype dtype, const char* name, std::int64_t each = 1) {
    return row_memory(array, dtype, name, each, true);
  }
  void* row_memory(nb::handle array, Dtype dtype, const char* name, std::int64_t each, bool written) {
    if (array.is_none()) return nullptr;
    Array b;
    b.open(array, written, false, name);
    if (b.dtype != dtype || !b.contiguous() || b.items != job.rows * each)
      throw std::invalid_argument(std::string(name) + ": wrong dtype, shape or layout");
    const std::size_t bytes = (std::size_t)b.items * (std::size_t)size_of(dtype);
    vectors.push_back({b.hand_over(), b.data, bytes, nullptr, written});
    if (b.aligned) return b.data;
    char* const at = (vectors.back().aligned = std::make_unique<char[]>(bytes)).get();
    std::memcpy(at, b.data, bytes);
    return at;
  }
  // Some of the classes only: what is found has to meet what other parts have found, in the computing type.
  void be_shard() { job.shard = true, job.rows_out.wide = job.in_double; }
  // Peak and rest of every row: found by a loss, known to its gradient. Scores that are computed in a wider
  // type than their results have a peak that the results cannot hold; then they are found again.
  void statistics(nb::handle peak, nb::handle rest) {
    const bool found = job.op == Op::stats;
    void *p = row_memory(peak, row_dtype(), "peak", 1, found),
         *r = row_memory(rest, Dtype::f64, "rest", 1, found);
    if (found)
      job.rows_out.peak = p, job.rows_out.rest = (double*)r, job.rows_out.wide_peak = job.rows_out.wide;
    if (job.op == Op::grad && job.in_double == job.rows_out.wide)
      job.known_peak = p, job.known_rest = (const double*)r;
  }
  Dtype row_dtype() const { return job.rows_out.wide ? Dtype::f64 : Dtype::f32; }

  // The rows' axes, merged where every operand allows, and each operand's strides over them.
  void lay_out() {
    const Array* buffers[4] = {&x, &out, &mask, job.target == Target::index ? &mask : &target};
    Operand* operands[4] = {&job.x, &job.out, &job.mask, &job.q};
    const bool present[4] = {true, out.given, mask.given, job.target != Target::index && target.given};
    for (int k = 0; k < 4; ++k) {
      if (!present[k]) continue;
      operands[k]->data = buffers[k]->data;
      operands[k]->dtype = buffers[k]->dtype;
      operands[k]->class_stride = buffers[k]->strides[axis];
      operands[k]->aligned = buffers[k]->aligned;
    }
    int n = 0;
    for (int d = 0; d < x.axes; ++d) {
      if (d == axis || x.shape[d] == 1) continue;
      bool merges = n > 0;
      for (int k = 0; k < 4 && merges; ++k)
        if (present[k]) merges = operands[k]->stride[n - 1] == buffers[k]->strides[d] * x.shape[d];
      if (!merges) job.extent[n++] = 1;
      job.extent[n - 1] *= x.shape[d];
      for (int k = 0; k < 4; ++k)
        if (present[k]) operands[k]->stride[n - 1] = buffers[k]->strides[d];
    }
    job.axes = n;
  }

  void run(int at_most) {
    if (at_most < 0) throw std::invalid_argument("threads: is negative");
    if (job.rows == 0) return;
    lay_out();
    bool stopped = false;
    if (job.rows * job.classes < 4096) {
      run_job(job, 1, false, nullptr, &stopped);
    } else {
      const int asked = at_most ? at_most : threads_in_use, n = asked ? asked : threads_of_process();
      WithoutGil released;
      run_job(job, n, asked > 0, interrupted, &stopped);
    }
    if (stopped) throw nb::python_error();
    for (const RowMemory& m : vectors) m.deliver();
  }
};

void softmax(nb::handle x, int axis, nb::handle out, bool log, nb::handle where, double temperature,
             double softcap, bool bfloat, int threads) {
  Request r;
  r.job.op = log ? Op::log_softmax : Op::softmax;
  r.scores(x, axis, bfloat, temperature, softcap);
  r.result(out);
  r.where(where);
  r.run(threads);
}

void softmax_backward(nb::handle grad, nb::handle y, int axis, nb::handle out, bool log, bool bfloat,
                      int threads) {
  Request r;
  r.job.op = log ? Op::log_softmax_backward : Op::softmax_backward;
  r.scores(y, axis, bfloat, 1.0, 0.0);
  r.second(grad, bfloat, "grad");
  if (r.target.dtype != r.x.dtype) throw std::invalid_argument("grad: not the output's dtype");
  r.result(out);
  r.run(threads);
}

void row_stats(nb::handle x, int axis, bool bfloat, nb::handle where, double temperature, double softcap,
               nb::handle target, bool dense, bool target_bfloat, nb::handle ignore, nb::dict into,
               std::int64_t k, int threads, nb::handle class_weight, nb::handle sample_weight, double on,
               double off, bool shard, nb::handle threshold) {
  Request r;
  r.job.op = Op::stats;
  r.scores(x, axis, bfloat, temperature, softcap);
  if (shard) r.be_shard();
  r.where(where);
  r.targets(target, dense, target_bfloat, class_weight, sample_weight, ignore, on, off, 0.0, 1.0);
  auto slot = [&](const char* name, Dtype dtype, std::int64_t each = 1) -> void* {
    // Owned: what runs while it is opened may take it out of the dict.
    const nb::object array = nb::borrow(PyDict_GetItemString(into.ptr(), name));
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
  if (o.rank && r.job.target != Target::index) throw std::invalid_argument("rank: needs index targets");
  const bool given = !threshold.is_none(), ranks = o.rank != nullptr;
  if (given ? !shard || ranks == (k != 0) : shard && ranks)
    throw std::invalid_argument("threshold: for the ranks or for the best classes of a shard");
  Array thresholds;
  if (given) {
    Request::vector_of(thresholds, threshold, r.job.rows, "threshold");
    r.job.threshold = (const double*)thresholds.data;
  }
  if ((o.loss || o.gap || o.mass) && r.job.target == Target::none)
    throw std::invalid_argument("nll: needs targets");
  if (k != 0) {
    if (k < 1 || k > r.job.classes) throw std::invalid_argument("k: out of range");
    r.job.top_label = (std::int64_t*)slot("top_label", Dtype::i64, k);
    r.job.top_probability = slot("top_probability", r.row_dtype(), k);
    if (!r.job.top_label || !r.job.top_probability)
      throw std::invalid_argument("k: nowhere to put the result");
    r.job.k = k;
  }
  r.run(threads);
}

// grad_alone: without the losses.
enum class Kind { loss, grad, pick, pick_log, grad_alone, pick_grad, pick_log_grad };

// The rows' losses into `losses` if given; their sum times `scale` as the result.
double cross_entropy(nb::handle x, int axis, bool bfloat, double temperature, double softcap,
                     nb::handle target, bool dense, bool target_bfloat, nb::handle class_weight,
                     nb::handle sample_weight, nb::handle ignore, double on, double off, double z_loss,
                     double scale, int kind, nb::handle losses, nb::handle grad, int threads, nb::handle peak,
                     nb::handle rest, nb::handle mass, nb::handle tilt) {
  Request r;
  const Kind what = (Kind)kind;
  const bool gradient = what == Kind::grad || what == Kind::grad_alone;
  const bool of_pick = what == Kind::pick_grad || what == Kind::pick_log_grad;
  r.job.op = what == Kind::loss ? Op::stats : gradient ? Op::grad : of_pick ? Op::pick_grad : Op::pick;
  r.job.take_log = what == Kind::pick_log || what == Kind::pick_log_grad;
  if (target.is_none()) throw std::invalid_argument("targets: missing");
  r.scores(x, axis, bfloat, temperature, softcap);
  if (r.job.take_log && r.x.dtype == Dtype::f32) r.job.in_double = false;
  if (!mass.is_none()) {
    if (!gradient || peak.is_none() || rest.is_none())
      throw std::invalid_argument("mass: only with a gradient whose peak and rest are known");
    r.be_shard();
    Request::vector_of(r.mass, mass, r.job.rows, "mass");
    r.job.known_mass = (const double*)r.mass.data;
  }
  if (!tilt.is_none()) {
    if (mass.is_none()) throw std::invalid_argument("tilt: only where the mass is known");
    Request::vector_of(r.tilt, tilt, r.job.rows, "tilt");
    r.job.known_tilt = (const double*)r.tilt.data;
  }
  r.targets(target, dense, target_bfloat, class_weight, sample_weight, ignore, on, off, z_loss, scale);
  if (of_pick && (dense || off != 0)) throw std::invalid_argument("targets: of one class only");
  if (gradient || of_pick) r.result(grad);
  r.job.skips_ignored = what == Kind::loss || gradient;
  if (!peak.is_none() && !rest.is_none()) r.statistics(peak, rest);
  std::unique_ptr<double[]> as_double;
  std::unique_ptr<float[]> as_float;
  const std::size_t n = (std::size_t)r.job.rows;
  if (what == Kind::grad_alone || of_pick) {
    r.run(threads);
    return 0.0;
  }
  if (!losses.is_none()) {
    r.job.rows_out.loss = r.row_result(losses, r.row_dtype(), "losses");
  } else if (r.job.rows_out.wide) {
    as_double.reset(new double[n]);
    r.job.rows_out.loss = as_double.get();
  } else {
    as_float.reset(new float[n]);
    r.job.rows_out.loss = as_float.get();
  }
  r.run(threads);
  if (!losses.is_none()) return 0.0;
  return scale == 0 ? 0.0 : scale * sum_of(r.job.rows, [&](std::int64_t i) {
                              return r.job.rows_out.wide ? as_double[(std::size_t)i]
                                                         : (double)as_float[(std::size_t)i];
                            });
}

// A class index as a signed number: one beyond 2^63 stays beyond every class, and is no `ignore`.
template <class T>
bool beyond(T y) {
  return std::is_same<T, std::uint64_t>::value && (std::uint64_t)y > (std::uint64_t)INT64_MAX;
}

template <class T>
std::int64_t scan(const T* y, std::int64_t n, std::int64_t classes, bool has_ignore, std::int64_t ignore,
                  std::int64_t& kept) {
  auto skipped = [&](T t) { return has_ignore && (std::int64_t)t == ignore && !beyond(t); };
  auto outside = [&](T t) { return (std::int64_t)t < 0 || (std::int64_t)t >= classes; };
  // most often each is a class and none is ignored: then no sign bit is set here
  if (!has_ignore || ignore < 0 || ignore >= classes) {
    std::int64_t signs = 0;
    for (std::int64_t i = 0; i < n; ++i) signs |= (std::int64_t)y[i] | (classes - 1 - (std::int64_t)y[i]);
    kept = n;
    if (signs >= 0) return -1;
  }
  std::int64_t ignored = 0, bad = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool skip = skipped(y[i]);
    ignored += skip;
    bad += !skip && outside(y[i]);
  }
  kept = n - ignored;
  for (std::int64_t i = 0; bad && i < n; ++i)
    if (!skipped(y[i]) && outside(y[i])) return i;
  return -1;
}

// (position of the first index outside [0, classes) that is not `ignore`, or -1;
//  sum over the other rows of sample_weight[i] * class_weight[targets[i]])
nb::tuple target_totals(nb::handle targets, std::int64_t classes, nb::handle ignore, nb::handle class_weight,
                        nb::handle sample_weight) {
  Array t, w, s;
  t.open(targets, false, false, "targets");
  if (!t.contiguous()) throw std::invalid_argument("targets: not contiguous");
  t.align();
  const std::int64_t n = t.items;
  const bool has_ignore = !ignore.is_none();
  const std::int64_t skip = has_ignore ? nb::cast<std::int64_t>(ignore) : 0;
  if (!class_weight.is_none()) Request::vector_of(w, class_weight, classes, "class_weight");
  if (!sample_weight.is_none()) Request::vector_of(s, sample_weight, n, "sample_weight");
  std::int64_t kept = n, bad = -1;
  double total = 0;
  {
    std::optional<WithoutGil> released;
    if (n >= 4096) released.emplace();
    auto each = [&](auto* y) {
      bad = scan(y, n, classes, has_ignore, skip, kept);
      if (bad >= 0) return;
      total = (double)kept;
      if (!w.given && !s.given) return;
      const double *wp = w.given ? (const double*)w.data : nullptr,
                   *sp = s.given ? (const double*)s.data : nullptr;
      total = sum_of(n, [&](std::int64_t i) {
        // read once: another thread may have changed it since it was looked at, and may change it again
        const auto once = *const_cast<const volatile std::remove_pointer_t<decltype(y)>*>(y + i);
        const std::int64_t v = (std::int64_t)once;
        if ((has_ignore && v == skip) || v < 0 || v >= classes) return 0.0;
        return (wp ? wp[v] : 1.0) * (sp ? sp[i] : 1.0);
      });
    };
    const void* p = t.data;
    switch (t.dtype) {
      case Dtype::i8: each((const std::int8_t*)p); break;
      case Dtype::u8: each((const std::uint8_t*)p); break;
      case Dtype::i16: each((const std::int16_t*)p); break;
      case Dtype::u16: each((const std::uint16_t*)p); break;
      case Dtype::i32: each((const std::int32_t*)p); break;
      case Dtype::u32: each((const std::uint32_t*)p); break;
      case Dtype::i64: each((const std::int64_t*)p); break;
      case Dtype::u64: each((const std::uint64_t*)p); break;
      default: throw std::invalid_argument("targets: not integers");
    }
  }
  return nb::make_tuple(bad, total);
}

// Asks for the memory of a new array in large pages: for each small one the kernel is entered when it is
// first written, which can take longer than the writing. Nothing changes for memory that is in use.
void large_pages(nb::handle array) {
#if defined(__linux__)
  Array a;
  a.open(array, true, false, "array");
  std::int64_t span = size_of(a.dtype);
  for (int d = 0; d < a.axes; ++d) {
    if (a.strides[d] < 0) return;
    span += (a.shape[d] - 1) * a.strides[d];
  }
  const std::uintptr_t page = 2 << 20, data = (std::uintptr_t)a.data;
  const std::uintptr_t first = (data + page - 1) & ~(page - 1),
                       end = (data + (std::uintptr_t)span) & ~(page - 1);
  if (a.items > 0 && first < end) (void)madvise((void*)first, end - first, MADV_HUGEPAGE);
#else
  (void)array;
#endif
}

// See digest.hpp.
std::uint64_t digest_of(nb::handle array) {
  Array a;
  a.open(array, false, false, "array");
  if (a.items < 4096) return digest(a.data, size_of(a.dtype), a.axes, a.shape, a.strides);
  WithoutGil released;
  return digest(a.data, size_of(a.dtype), a.axes, a.shape, a.strides);
}

template <class T, Dtype D>
void elementary(nb::handle x, nb::handle out, void (*f)(const T*, T*, std::int64_t)) {
  Array a, b;
  a.open(x, false, false, "x"), b.open(out, true, false, "out");
  if (a.dtype != D || b.dtype != D || !a.contiguous() || !b.contiguous() || a.items != b.items)
    throw std::invalid_argument("elementary function: wrong dtype or layout");
  f((const T*)a.data, (T*)b.data, a.items);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "The native core of lastlayer: see native.py, its only caller.";
  m.def("softmax", &softmax, nb::arg().none(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg() = 0);
  m.def("softmax_backward", &softmax_backward, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg() = 0);
  m.def("row_stats", &row_stats, nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(),
        nb::arg().none(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(), nb::arg(), nb::arg() = 0,
        nb::arg() = nb::none(), nb::arg() = nb::none(), nb::arg() = 1.0, nb::arg() = 0.0, nb::arg() = false,
        nb::arg() = nb::none());
  m.def("cross_entropy", &cross_entropy, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg().none(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(), nb::arg() = 0,
        nb::arg() = nb::none(), nb::arg() = nb::none(), nb::arg() = nb::none(), nb::arg() = nb::none());
  m.def("target_totals", &target_totals, nb::arg(), nb::arg(), nb::arg().none(), nb::arg().none(),
        nb::arg().none());
  m.def("large_pages", &large_pages, nb::arg());
  m.def("digest", &digest_of, nb::arg());
  m.def("get_num_threads", &threads_of_process, "Threads that large calls are divided over.");
  m.def(
      "set_num_threads",
      [](int n) {
        if (n < 1) throw std::invalid_argument("set_num_threads: n is below 1");
        thread_count.store(n, std::memory_order_relaxed);
      },
      "Sets the number of threads of this process.");
  m.def(
      "use_threads",
      [](int n) {
        if (n < 0) throw std::invalid_argument("use_threads: n is negative");
        return std::exchange(threads_in_use, n);
      },
      "Sets the number of threads for this thread's calls, and returns the one before; 0: the process's.");
  m.def(
      "isas",
      [] {
        std::vector<std::string> names;
        for (const Table* t : available()) names.emplace_back(t->name);
        return names;
      },
      "Instruction sets this machine can run, widest first.");
  m.def("isa", [] { return std::string(current()->name); }, "The instruction set in use.");
  m.def("set_isa", &choose, "Chooses an instruction set by name; False if it cannot run here.");
  m.def("exp_f32",
        [](nb::handle x, nb::handle y) { elementary<float, Dtype::f32>(x, y, current()->exp_f32); });
  m.def("exp_f64",
        [](nb::handle x, nb::handle y) { elementary<double, Dtype::f64>(x, y, current()->exp_f64); });
  m.def("log1p_f32",
        [](nb::handle x, nb::handle y) { elementary<float, Dtype::f32>(x, y, current()->log1p_f32); });
  m.def("log1p_f64",
        [](nb::handle x, nb::handle y) { elementary<double, Dtype::f64>(x, y, current()->log1p_f64); });
}
