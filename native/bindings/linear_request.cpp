#include "linear_request.hpp"

#include <string>

#include "array.hpp"
#include "gil.hpp"
#include "linear_pass.hpp"
#include "request.hpp"
#include "sparse.hpp"

namespace nb = nanobind;

namespace lastlayer {
namespace {

bool is_real(Dtype d) { return d == Dtype::f16 || d == Dtype::f32 || d == Dtype::f64; }

}  // namespace

nb::tuple linear_sums(nb::handle x, nb::handle weight, nb::handle targets, nb::handle sample_weight,
                      double smoothing, bool in_double, nb::handle gradient) {
  Array features, w, y, s, g;
  features.open(x, false, false, "x");
  if (features.axes != 2 || !is_real(features.dtype)) refuse("x", "not N rows of D numbers");
  LinearPass p;
  p.x = features.data, p.dtype = features.dtype, p.aligned = features.aligned;
  p.rows = features.shape[0], p.features = features.shape[1];
  p.row_stride = features.strides[0], p.feature_stride = features.strides[1];
  p.in_double = in_double;
  if (p.features < 1) refuse("x", "no features");
  w.open(weight, false, false, "weight");
  if (w.dtype != Dtype::f64 || w.axes != 2 || !w.contiguous() || w.shape[1] != p.features + 1 ||
      w.shape[0] < 1)
    refuse("weight", "not contiguous float64 (K, D + 1)");
  w.align();
  p.weight = (const double*)w.data, p.classes = w.shape[0];
  g.open(gradient, true, false, "gradient");
  if (g.dtype != Dtype::f64 || g.axes != 2 || !g.contiguous() || !g.aligned || g.shape[0] != p.classes ||
      g.shape[1] != p.features + 1)
    refuse("gradient", "not contiguous float64 (K, D + 1)");
  y.open(targets, false, false, "targets");
  Operand dense;
  if (y.axes == 2) {
    if (y.shape[0] != p.rows || y.shape[1] != p.classes || !is_real(y.dtype))
      refuse("targets", "not probabilities (N, K)");
    dense.data = y.data, dense.dtype = y.dtype, dense.aligned = y.aligned;
    dense.class_stride = y.strides[1], dense.stride[0] = y.strides[0];
    p.dense = &dense;
  } else {
    if (y.axes != 1 || y.dtype != Dtype::i64 || !y.contiguous() || y.items != p.rows)
      refuse("targets", "not contiguous int64 (N,)");
    y.align();
    p.index = (const std::int64_t*)y.data;
  }
  if (!sample_weight.is_none()) p.sample_weight = doubles_of(s, sample_weight, p.rows, "sample_weight");
  p.on = 1 - smoothing, p.off = smoothing / (double)p.classes;
  LinearSums found;
  {
    const Runner runner = runner_of_call(0);
    WithoutGil released;
    found = linear_pass(p, (double*)g.data, runner);
  }
  if (!found.complete) throw nb::python_error();
  return nb::make_tuple(found.loss, found.square);
}

void sparse_product(nb::handle starts, nb::handle columns, nb::handle numbers, nb::handle b, nb::handle out) {
  Array s, c, x, dense, to;
  auto open = [](Array& array, nb::handle object, bool written, const char* name) {
    array.open(object, written, false, name);
    if (!array.contiguous() || (written && !array.aligned)) refuse(name, "not contiguous and aligned");
    array.align();
  };
  open(s, starts, false, "starts"), open(c, columns, false, "columns"), open(x, numbers, false, "numbers");
  open(dense, b, false, "b"), open(to, out, true, "out");
  auto is_index = [](const Array& a) {
    return a.axes == 1 && (a.dtype == Dtype::i32 || a.dtype == Dtype::i64);
  };
  if (!is_index(s) || s.items < 1) refuse("starts", "not int32 or int64, one more than there are rows");
  if (!is_index(c)) refuse("columns", "not int32 or int64");
  if (x.axes != 1 || x.items != c.items || (x.dtype != Dtype::f32 && x.dtype != Dtype::f64))
    refuse("numbers", "not a float of each column");
  if (dense.axes != 2 || dense.dtype != x.dtype || dense.shape[1] < 1) refuse("b", "not (D, K) of the dtype");
  if (to.axes != 2 || to.dtype != x.dtype || to.shape[0] != s.items - 1 || to.shape[1] != dense.shape[1])
    refuse("out", "not (N, K) of the dtype");
  const SparseRows rows{s.data,     s.dtype == Dtype::i64, c.data,         c.dtype == Dtype::i64,
                        x.data,     x.dtype == Dtype::f64, s.items - 1,    c.items,
                        dense.data, dense.shape[0],        dense.shape[1], to.data};
  SparseResult result;
  {
    const Runner runner = runner_of_call(0);
    WithoutGil released;
    result = sparse_product(rows, runner);
  }
  if (result == SparseResult::out_of_range) refuse("columns", "out of range");
  if (result == SparseResult::interrupted) throw nb::python_error();
}

}  // namespace lastlayer
