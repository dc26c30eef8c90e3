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

// From some bits of a confidence c a number that says about how large it is. Of c <= 1/2 it is the nearest
// multiple of 1/per_unit; above it counts down in the exponent and the first 8 bits of 1 - c.
struct ConfidenceGuess {
  static constexpr double per_unit = 2048, least_other = 0x1p-41;  // of 1 - c: below, all are one guess
  static constexpr int shift = 44;
  static constexpr std::int64_t high = 1025, top = high + (1022 << 8) - 1, all = high + (40 << 8);
};

// Counts of a confidence's bin, in the low bits of two numbers: rows, and those of rank 0. Above them stands
// the sum of the confidences in two parts, of units of 2^-30 and of 2^-60; the second may be negative.
struct CellCounts {
  static constexpr int bits = 17;
};

// Rows that are counted at once. Those of mass 0 and unusual ones count nothing: their numbers are 0 here,
// also the confidence.
struct MetricBlock {
  static constexpr int most = 512;       // rows; the integers of so many numbers below 2^24 add up in 64 bits
  static constexpr double large = 4096;  // a row is usual if its loss is below, and its peak is finite
  alignas(64) double loss[most], brier[most], confidence[most], entropy[most];
  alignas(64) std::int64_t loss_parts[3][most], confidence_parts[3][most];
  alignas(64) std::int64_t guess[most];  // -1 where the confidence is not in (0, 1]
  alignas(64) std::int64_t cell_rows[most],
      cell_hits[most];        // what a row adds to a cell; c a multiple of 2^-60
  Parts sums[4], squares[4];  // of loss, Brier score, confidence and entropy
  double largest_loss;
  bool third_parts;  // whether a loss has one that is not 0
};

}  // namespace lastlayer
