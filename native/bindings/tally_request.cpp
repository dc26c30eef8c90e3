#include "tally_request.hpp"

#include <deque>
#include <string>

#include "array.hpp"
#include "dispatch.hpp"
#include "gil.hpp"
#include "metrics.hpp"
#include "request.hpp"
#include "tally.hpp"
#include "targets.hpp"

namespace nb = nanobind;

namespace lastlayer {
namespace {

// The arrays of a dict, by name, held for the length of a call.
class Arrays {
 public:
  explicit Arrays(nb::dict from) : from_(from) {}

  // Contiguous and aligned; `items` of them, or any number if negative. Null where there is none.
  template <class T>
  T* optional(const char* name, Dtype dtype, std::int64_t items, bool written) {
    // Owned: Python code that runs while it is opened may take it out of the dict.
    const nb::object object = nb::borrow(PyDict_GetItemString(from_.ptr(), name));
    if (!object.is_valid()) return nullptr;
    Array& a = held_.emplace_back();
    a.open(object, written, false, name);
    if (a.dtype != dtype || !a.contiguous() || !a.aligned || (items >= 0 && a.items != items))
      refuse(name, "wrong dtype, shape or layout");
    return (T*)a.data;
  }
  template <class T>
  T* needed(const char* name, Dtype dtype, std::int64_t items, bool written) {
    T* const found = optional<T>(name, dtype, items, written);
    if (!found) refuse(name, "missing or empty");
    return found;
  }
  std::int64_t* counts(const char* name, std::int64_t items) {
    return needed<std::int64_t>(name, Dtype::i64, items, true);
  }
  const double* doubles(const char* name, std::int64_t items) {
    return needed<const double>(name, Dtype::f64, items, false);
  }
  std::int64_t last_items() const { return held_.back().items; }

 private:
  nb::dict from_;
  std::deque<Array> held_;
};

constexpr std::int64_t most_confused = 1 << 20;  // classes: their square has to be a number

// `weighted`: the tables of weighted rows, in which three integers hold each sum.
TallyTables tables_of(Arrays& arrays, std::int64_t N, std::int64_t V, std::int64_t bins, std::int64_t ks,
                      std::int64_t buckets, bool weighted) {
  TallyTables t{};
  const std::int64_t each = weighted ? 3 : 1, all = FineBins::all, metrics = 3 * (5 + ks);
  if (weighted)
    t.weight = arrays.counts("weight", 12), t.weighted[0] = arrays.counts("wx", metrics),
    t.weighted[1] = arrays.counts("w2x", metrics), t.weighted[2] = arrays.counts("w2x2", metrics);
  else
    t.sums = arrays.counts("sums", metrics), t.squares = arrays.counts("squares", metrics);
  t.support = arrays.counts("support", each * V), t.predicted = arrays.counts("predicted", each * V);
  t.correct = arrays.counts("correct", each * V), t.class_loss = arrays.counts("class_loss", 3 * V);
  t.confusion = V <= most_confused
                    ? arrays.optional<std::int64_t>("confusion", Dtype::i64, V * V * each, true)
                    : nullptr;
  t.argmax = arrays.optional<std::int64_t>("argmax", Dtype::i64, N, true);
  if (t.argmax && !weighted && V <= TallyCall::few_classes) refuse("argmax", "of few classes");
  t.ranks = arrays.counts("ranks", each * buckets);
  t.equal = {arrays.counts("bin_rows", each * bins), arrays.counts("bin_hits", each * bins),
             arrays.counts("bin_confidence", 3 * bins)};
  t.fine = {arrays.counts("fine_rows", each * all), arrays.counts("fine_hits", each * all),
            arrays.counts("fine_confidence", 3 * all)};
  return t;
}

nb::tuple result_of(const TallyFound& found) {
  nb::list hardest;
  for (const HardRow& row : found.hardest)
    hardest.append(nb::make_tuple(row.loss, row.number, row.target, row.predicted));
  const nb::bytes unusual((const char*)found.unusual.data(), found.unusual.size() * sizeof(std::int64_t));
  return nb::make_tuple(found.rows, found.ignored, unusual, hardest);
}

}  // namespace

nb::tuple tally_rows(nb::handle scores, bool bfloat, nb::handle targets, nb::handle ignore_index,
                     double temperature, nb::dict tables, nb::handle numbers, double floor,
                     nb::handle weights) {
  Array z, y, rows, w;
  z.open(scores, false, bfloat, "scores");
  if (is_integer(z.dtype) || z.axes != 2 || z.shape[1] < 1) refuse("scores", "not N rows of V numbers");
  const std::int64_t N = z.shape[0], V = z.shape[1];
  y.open(targets, false, false, "targets");
  if (!is_integer(y.dtype) || !y.contiguous() || y.items != N)
    refuse("targets", "not one contiguous integer a row");
  y.align();
  Shape shape;
  shape.rows = N, shape.classes = V, shape.axes = 1, shape.extent[0] = N;
  Operand x;
  x.data = z.data, x.dtype = z.dtype, x.aligned = z.aligned;
  x.class_stride = z.strides[1], x.stride[0] = z.strides[0];
  IndexTargets index{y.data, y.dtype, N, V, !ignore_index.is_none(), 0, nullptr, nullptr};
  if (index.has_ignore) index.ignore = nb::cast<std::int64_t>(ignore_index);
  const std::int64_t* number = nullptr;
  if (!numbers.is_none()) {
    rows.open(numbers, false, false, "numbers");
    if (rows.dtype != Dtype::i64 || !rows.contiguous() || rows.items != N)
      refuse("numbers", "not one contiguous int64 a row");
    rows.align();
    number = (const std::int64_t*)rows.data;
  }
  const double* const weight = weights.is_none() ? nullptr : doubles_of(w, weights, N, "weights");
  Arrays arrays(tables);
  const auto* top_k = arrays.needed<const std::int64_t>("top_k", Dtype::i64, -1, false);
  const std::int64_t ks = arrays.last_items();
  const double* edges = arrays.doubles("edges", -1);
  const std::int64_t bins = arrays.last_items() - 1;
  if (bins < 1) refuse("edges", "no bins");
  const double* fine_edges = arrays.doubles("fine_edges", FineBins::all + 1);
  RankBuckets ranks{arrays.needed<const std::int64_t>("rank_starts", Dtype::i64, -1, false), 0};
  ranks.count = arrays.last_items();
  const TallyTables to = tables_of(arrays, N, V, bins, ks, ranks.count, weight != nullptr);
  if (N == 0) return result_of(TallyFound{});
  TallyCall call(
      {x, shape, temperature, index, top_k, ks, bins, edges, fine_edges, number, floor, weight, ranks});
  TallyFound found;
  {
    const Runner runner = runner_of_call(0);
    WithoutGil released;
    found = call.count(runner);
  }
  if (!found.complete) throw nb::python_error();
  call.add_to(to);
  return result_of(found);
}

void row_metrics(nb::dict stats, nb::dict into) {
  Arrays in(stats), out(into);
  const double* const peak = in.doubles("peak", -1);
  const std::int64_t n = in.last_items();
  const RowSums rows{peak,
                     in.doubles("rest", n),
                     in.doubles("gap", n),
                     in.doubles("mass", n),
                     in.doubles("spread", n),
                     in.doubles("square", n)};
  auto place = [&](const char* name) { return out.needed<double>(name, Dtype::f64, n, true); };
  const RowMetrics metrics{place("loss"), place("brier"), place("confidence"), place("entropy")};
  current()->row_metrics(rows, metrics, n);
}

}  // namespace lastlayer
