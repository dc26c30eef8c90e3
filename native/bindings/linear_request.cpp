#include "linear_request.hpp"

#include <stdexcept>
#include <string>

#include "array.hpp"
#include "gil.hpp"
#include "linear_pass.hpp"
#include "request.hpp"

namespace nb = nanobind;

namespace lastlayer {
namespace {

[[noreturn]] void refuse(const char* name, const char* what) {
  throw std::invalid_argument(std::string(name) + ": " + what);
}

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

}  // namespace lastlayer
