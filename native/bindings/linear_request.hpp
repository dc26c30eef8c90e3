// Products of a linear classifier, from Python. In: arrays. Out: sums, products: linear_pass.hpp, sparse.hpp.
#pragma once

#include <nanobind/nanobind.h>

namespace lastlayer {

// Fills `gradient` (K, D + 1); the sum of the losses, and that of their gradients' squares.
// `targets`: int64 (N,), or float32 or float64 (N, K). `sample_weight`: float64 (N,), or None.
nanobind::tuple linear_sums(nanobind::handle x, nanobind::handle weight, nanobind::handle targets,
                            nanobind::handle sample_weight, double smoothing, bool in_double,
                            nanobind::handle gradient);

// out (N, K) = sparse rows (starts, columns, numbers) times b (D, K): see sparse.hpp. Numbers, b and out have
// one dtype, float32 or float64; starts and columns are int32 or int64.
void sparse_product(nanobind::handle starts, nanobind::handle columns, nanobind::handle numbers,
                    nanobind::handle b, nanobind::handle out);

}  // namespace lastlayer
