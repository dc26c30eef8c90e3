// Passes over the features of a linear classifier, from Python. In: arrays. Out: sums: see linear_pass.hpp.
#pragma once

#include <nanobind/nanobind.h>

namespace lastlayer {

// Fills `gradient` (K, D + 1); the sum of the losses, and that of their gradients' squares.
// `targets`: int64 (N,), or float32 or float64 (N, K). `sample_weight`: float64 (N,), or None.
nanobind::tuple linear_sums(nanobind::handle x, nanobind::handle weight, nanobind::handle targets,
                            nanobind::handle sample_weight, double smoothing, bool in_double,
                            nanobind::handle gradient);

}  // namespace lastlayer
