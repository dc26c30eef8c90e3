// The Python module `_core`: its functions and the names of their parameters. In: Python objects. Out: calls
// of request.hpp and of the files beside the kernels. _core.pyi describes the arguments.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "array.hpp"
#include "digest.hpp"
#include "dispatch.hpp"
#include "exact_sums.hpp"
#include "gil.hpp"
#include "large_pages.hpp"
#include "linear_request.hpp"
#include "pool.hpp"
#include "request.hpp"
#include "tally_request.hpp"
#include "targets.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace lastlayer;

namespace {

// The number of elements from which the GIL is released while an array is read.
constexpr std::int64_t worth_releasing = 4096;

nb::tuple totals(nb::handle targets, std::int64_t classes, nb::handle ignore_index, nb::handle class_weight,
                 nb::handle sample_weight) {
  Array y, w, s;
  y.open(targets, false, false, "targets");
  if (!y.contiguous()) throw std::invalid_argument("targets: not contiguous");
  if (!is_integer(y.dtype)) throw std::invalid_argument("targets: not integers");
  y.align();
  IndexTargets t{y.data, y.dtype, y.items, classes, !ignore_index.is_none(), 0, nullptr, nullptr};
  if (t.has_ignore) t.ignore = nb::cast<std::int64_t>(ignore_index);
  if (!class_weight.is_none()) t.class_weight = doubles_of(w, class_weight, classes, "class_weight");
  if (!sample_weight.is_none()) t.sample_weight = doubles_of(s, sample_weight, y.items, "sample_weight");
  TargetTotals found;
  {
    std::optional<WithoutGil> released;
    if (t.rows >= worth_releasing) released.emplace();
    found = target_totals(t);
  }
  return nb::make_tuple(found.out_of_range, found.weight);
}

// The limbs must not share memory with the other two: another thread or the caller may not change a place
// between the look at it and its use, so places are read from a copy.
std::int64_t add_exactly_to(nb::handle values, nb::handle places, std::int64_t place, nb::handle limbs) {
  Array v, p, sums;
  v.open(values, false, false, "values");
  sums.open(limbs, true, false, "limbs");
  if (v.dtype != Dtype::f64 || v.axes != 1 || !v.contiguous())
    throw std::invalid_argument("values: not a contiguous array of float64");
  if (sums.dtype != Dtype::i64 || sums.axes != 2 || sums.shape[1] != 3 || !sums.contiguous() || !sums.aligned)
    throw std::invalid_argument("limbs: not a contiguous array of int64, three for each sum");
  v.align();
  const std::int64_t count = sums.shape[0];
  std::vector<std::int64_t> copy;
  if (!places.is_none()) {
    p.open(places, false, false, "places");
    if (p.dtype != Dtype::i64 || p.axes != 1 || p.items != v.items || !p.contiguous())
      throw std::invalid_argument("places: not a contiguous array of int64, one for each value");
    p.align();
    const auto* first = (const std::int64_t*)p.data;
    copy.assign(first, first + p.items);
    if (!places_exist(copy.data(), p.items, count)) throw std::invalid_argument("places: out of range");
  } else if (place < 0 || place >= count) {
    throw std::invalid_argument("place: out of range");
  }
  const Addends addends{(const double*)v.data, places.is_none() ? nullptr : copy.data(), place, v.items};
  std::optional<WithoutGil> released;
  if (v.items >= worth_releasing) released.emplace();
  return add_exactly(addends, (std::int64_t*)sums.data);
}

void large_pages_of(nb::handle array) {
  Array a;
  a.open(array, true, false, "array");
  if (a.items > 0) large_pages(a.data, a.item_size, a.axes, a.shape, a.strides);
}

std::uint64_t digest_of(nb::handle array) {
  Array a;
  a.open(array, false, false, "array");
  std::optional<WithoutGil> released;
  if (a.items >= worth_releasing) released.emplace();
  return digest(a.data, a.item_size, a.axes, a.shape, a.strides);
}

template <class T, Dtype D>
void elementary(nb::handle x, nb::handle out, void (*f)(const T*, T*, std::int64_t)) {
  Array a, b;
  a.open(x, false, false, "x"), b.open(out, true, false, "out");
  if (a.dtype != D || b.dtype != D || !a.contiguous() || !b.contiguous() || a.items != b.items)
    throw std::invalid_argument("elementary function: wrong dtype or layout");
  f((const T*)a.data, (T*)b.data, a.items);
}

void define_operations(nb::module_& m) {
  m.def(
      "softmax",
      [](nb::handle scores, int axis, nb::handle out, bool log, nb::handle where, double temperature,
         double softcap, bool bfloat,
         int threads) { softmax({scores, axis, bfloat, temperature, softcap}, out, log, where, threads); },
      "scores"_a, "axis"_a, "out"_a, "log"_a, "where"_a.none(), "temperature"_a, "softcap"_a, "bfloat"_a,
      "threads"_a = 0);
  m.def(
      "softmax_backward",
      [](nb::handle grad, nb::handle y, int axis, nb::handle out, bool log, bool bfloat, int threads) {
        softmax_backward({y, axis, bfloat}, grad, out, log, threads);
      },
      "grad"_a, "y"_a, "axis"_a, "out"_a, "log"_a, "bfloat"_a, "threads"_a = 0);
  m.def(
      "row_stats",
      [](nb::handle scores, int axis, bool bfloat, nb::handle where, double temperature, double softcap,
         nb::handle targets, bool dense, bool targets_bfloat, nb::handle ignore_index, nb::dict into,
         std::int64_t k, int threads, nb::handle class_weight, nb::handle sample_weight, double on,
         double off, bool shard, nb::handle threshold) {
        row_stats({scores, axis, bfloat, temperature, softcap},
                  {targets, dense, targets_bfloat, class_weight, sample_weight, ignore_index, on, off},
                  {where, into, k, shard, threshold}, threads);
      },
      "scores"_a, "axis"_a, "bfloat"_a, "where"_a.none(), "temperature"_a, "softcap"_a, "targets"_a.none(),
      "dense"_a, "targets_bfloat"_a, "ignore_index"_a.none(), "into"_a, "k"_a, "threads"_a = 0,
      "class_weight"_a = nb::none(), "sample_weight"_a = nb::none(), "on"_a = 1.0, "off"_a = 0.0,
      "shard"_a = false, "threshold"_a = nb::none());
  m.def(
      "cross_entropy",
      [](nb::handle scores, int axis, bool bfloat, double temperature, double softcap, nb::handle targets,
         bool dense, bool targets_bfloat, nb::handle class_weight, nb::handle sample_weight,
         nb::handle ignore_index, double on, double off, double z_loss, double scale, int kind,
         nb::handle losses, nb::handle grad, int threads, nb::handle peak, nb::handle rest, nb::handle mass,
         nb::handle tilt) {
        return cross_entropy(
            {scores, axis, bfloat, temperature, softcap},
            {targets, dense, targets_bfloat, class_weight, sample_weight, ignore_index, on, off},
            {kind, z_loss, scale, losses, grad, peak, rest, mass, tilt}, threads);
      },
      "scores"_a, "axis"_a, "bfloat"_a, "temperature"_a, "softcap"_a, "targets"_a, "dense"_a,
      "targets_bfloat"_a, "class_weight"_a.none(), "sample_weight"_a.none(), "ignore_index"_a.none(), "on"_a,
      "off"_a, "z_loss"_a, "scale"_a, "kind"_a, "losses"_a.none(), "grad"_a.none(), "threads"_a = 0,
      "peak"_a = nb::none(), "rest"_a = nb::none(), "mass"_a = nb::none(), "tilt"_a = nb::none());
  m.def("target_totals", &totals, "targets"_a, "classes"_a, "ignore_index"_a.none(), "class_weight"_a.none(),
        "sample_weight"_a.none());
}

void define_evaluation(nb::module_& m) {
  m.def("sparse_product",
        (void (*)(nb::handle, nb::handle, nb::handle, nb::handle, nb::handle))&sparse_product, "starts"_a,
        "columns"_a, "numbers"_a, "b"_a, "out"_a);
  m.def("linear_sums", &linear_sums, "x"_a, "weight"_a, "targets"_a, "sample_weight"_a.none(), "smoothing"_a,
        "in_double"_a, "gradient"_a);
  m.def("tally", &tally_rows, "scores"_a, "bfloat"_a, "targets"_a, "ignore_index"_a.none(), "temperature"_a,
        "tables"_a, "numbers"_a.none(), "floor"_a, "weights"_a = nb::none());
  m.def("row_metrics", &row_metrics, "stats"_a, "into"_a);
}

void define_memory(nb::module_& m) {
  m.def("add_exactly", &add_exactly_to, "values"_a, "places"_a.none(), "place"_a, "limbs"_a);
  m.def("large_pages", &large_pages_of, "array"_a);
  m.def("digest", &digest_of, "array"_a);
}

void define_threads(nb::module_& m) {
  m.def("get_num_threads", &threads_of_process, "Threads that large calls are divided over.");
  m.def(
      "set_num_threads",
      [](int n) {
        if (n < 1) throw std::invalid_argument("set_num_threads: n is below 1");
        set_threads_of_process(n);
      },
      "n"_a, "Sets the number of threads of this process.");
  m.def(
      "use_threads",
      [](int n) {
        if (n < 0) throw std::invalid_argument("use_threads: n is negative");
        return use_threads(n);
      },
      "n"_a,
      "Sets the number of threads for this thread's calls, and returns the one before; 0: the process's.");
}

void define_instruction_sets(nb::module_& m) {
  m.def(
      "isas",
      [] {
        std::vector<std::string> names;
        for (const Table* t : available()) names.emplace_back(t->name);
        return names;
      },
      "Instruction sets this machine can run, widest first.");
  m.def("isa", [] { return std::string(current()->name); }, "The instruction set in use.");
  m.def("set_isa", &choose, "name"_a, "Chooses an instruction set by name; False if it cannot run here.");
  m.def(
      "exp_f32",
      [](nb::handle x, nb::handle out) { elementary<float, Dtype::f32>(x, out, current()->exp_f32); }, "x"_a,
      "out"_a);
  m.def(
      "exp_f64",
      [](nb::handle x, nb::handle out) { elementary<double, Dtype::f64>(x, out, current()->exp_f64); }, "x"_a,
      "out"_a);
  m.def(
      "log1p_f32",
      [](nb::handle x, nb::handle out) { elementary<float, Dtype::f32>(x, out, current()->log1p_f32); },
      "x"_a, "out"_a);
  m.def(
      "log1p_f64",
      [](nb::handle x, nb::handle out) { elementary<double, Dtype::f64>(x, out, current()->log1p_f64); },
      "x"_a, "out"_a);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() =
      "The native core of lastlayer. core.py is its only caller; _core.pyi says what the arguments mean.";
  define_operations(m);
  define_evaluation(m);
  define_memory(m);
  define_threads(m);
  define_instruction_sets(m);
}
