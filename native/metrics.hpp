// The numbers that an evaluation counts of each row. In: the row statistics. Out: these numbers, and their
// exact sums.
//
//   loss       = gap + mass log1p(rest)              confidence = c = 1/(1 + rest)
//   entropy    = log1p(rest) + spread c              brier      = max(0, (1 + square) c c - 2 exp(-loss) + 1)
//
// A number x >= 0 is cut into integers, x = a 2^-27 + b 2^-73 + c 2^-120 (b and c of either sign; what is
// below 2^-120 is cut off), and the integers are added: their sum is exact, and the same in any order.
#pragma once

#include <cstdint>

namespace lastlayer {

// Row statistics, aligned; NaN where a row has a NaN.
struct RowSums {
  const double *peak, *rest, *gap, *mass, *spread, *square;
};
struct RowMetrics {
  double *loss, *brier, *confidence, *entropy;
};

// A number in three parts, or a sum of such.
struct Parts {
  std::int64_t a = 0, b = 0, c = 0;
};

// Rows that are counted at once. Those of mass 0 and unusual ones count nothing: their numbers are 0 here,
// also the confidence.
struct MetricBlock {
  static constexpr int most = 1024;      // rows; the integers of so many numbers below 2^24 add up in 64 bits
  static constexpr double large = 4096;  // a row is usual if its loss is below, and its peak is finite
  alignas(64) double loss[most], brier[most], confidence[most], entropy[most];
  alignas(64) std::int64_t loss_parts[3][most], confidence_parts[3][most];
  Parts sums[4], squares[4];  // of loss, Brier score, confidence and entropy
};

}  // namespace lastlayer
