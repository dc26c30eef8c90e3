// A pass over the features of a linear classifier of few classes: its loss, and the gradient of its weights.
// In: features, weights, targets. Out: sums over all rows, the same for any number of threads.
//
//   z = x W^T + b,    g = dloss/dz,    loss = sum of the rows' losses,    gradient = sum_n g_n [x_n, 1]^T
//
// A block of rows stays in the second-level cache between its two products, so the features are read from
// memory once. Products are computed in float or double, and summed in float over
// a thousand rows at most, then in double.
//
// Traffic: N D numbers. Arithmetic: 2 N D K multiplications with additions, K rounded up to whole vectors.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "kernels.hpp"

namespace lastlayer {

struct LinearPass {
  const char* x = nullptr;      // N by D
  Dtype dtype = Dtype::f32;     // f16, f32 or f64
  std::int64_t row_stride = 0;  // bytes, as the next
  std::int64_t feature_stride = 0;
  bool aligned = true;     // x
  bool in_double = false;  // the computing type
  std::int64_t rows = 0, features = 0, classes = 0;
  const double* weight = nullptr;  // K by D + 1: weights, then the intercept
  // The targets: a class index each, or a row of probabilities.
  const std::int64_t* index = nullptr;  // one that is out of range has no loss
  const Operand* dense = nullptr;
  const double* sample_weight = nullptr;  // N, or null
  double on = 1.0, off = 0.0;             // label smoothing: see EffectiveTarget

  // The features can be read in place, else they are copied block by block.
  bool is_direct() const {
    const std::int64_t size = in_double ? 8 : 4;
    return dtype == (in_double ? Dtype::f64 : Dtype::f32) && aligned && feature_stride == size &&
           row_stride % size == 0;
  }
};

struct LinearSums {
  bool complete = false;  // else the call was interrupted, and the sums are unusable
  double loss = 0.0;
  double square = 0.0;  // of g
};

// Writes the gradient, K by D + 1. Throws std::bad_alloc.
LinearSums linear_pass(const LinearPass& pass, double* gradient, const Runner& runner);

}  // namespace lastlayer
