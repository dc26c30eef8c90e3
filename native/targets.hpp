// Totals of index targets. In: class indices and weights. Out: the position of the first index that is no
// class, or the total weight of the rows that are not ignored.
//
// Traffic: one read of the targets, and one more where there are weights.
#pragma once

#include <cstdint>

#include "kernels.hpp"

namespace lastlayer {

struct IndexTargets {
  const void* data;  // contiguous and aligned integers
  Dtype dtype;
  std::int64_t rows, classes;
  bool has_ignore;
  std::int64_t ignore;
  const double* class_weight;   // of each class, or null
  const double* sample_weight;  // of each row, or null
};

struct TargetTotals {
  std::int64_t out_of_range;  // position of the first index outside [0, classes) that is not `ignore`, or -1
  double weight;  // sum of sample_weight[i] * class_weight[y_i] over the other rows; 0 if out_of_range
};

bool is_integer(Dtype dtype);
TargetTotals target_totals(const IndexTargets& targets);

}  // namespace lastlayer
