// Products of a sparse matrix with a dense one of few columns. In: rows in compressed form (CSR). Out: their
// products.
//
//   out_i = sum over the entries (i, c, x) of x b_c          out N by K, b D by K
//
// The product of the transpose is that of its own rows in compressed form: nothing is scattered, so the sums
// do not depend on the number of threads. Traffic: the entries, and K numbers of b for each of them.
#pragma once

#include <cstdint>

#include "dispatch.hpp"
#include "kernels.hpp"

namespace lastlayer {

struct SparseRows {
  const void* starts;  // N + 1: where the entries of a row begin, and those of the last end
  bool wide_starts;    // int64, else int32
  const void* columns;
  bool wide_columns;
  const void* numbers;  // of the computing type, as b and out
  bool in_double;
  std::int64_t rows, entries;
  const void* b;
  std::int64_t b_rows, k;
  void* out;
};

enum class SparseResult { complete, interrupted, out_of_range };

// Out of range: a column is not a row of b, or a row's entries do not exist; nothing else is read.
SparseResult sparse_product(const SparseRows& a, const Runner& runner);

}  // namespace lastlayer
