// Products of a block of rows with a narrow matrix. In: blocks in the cache. Out: logits, or sums of outer
// products.
//
// The K columns of a narrow matrix are padded to whole vectors, and divided into tiles of a few vectors. A
// packed matrix (D by K) is stored tile after tile: of each tile D rows, each as wide as the tile.
#pragma once

#include <cstdint>

namespace lastlayer {

// The columns of a narrow matrix on one instruction set.
struct NarrowColumns {
  int lanes = 1;    // of a vector
  int vectors = 1;  // of a tile, at most

  std::int64_t padded(std::int64_t k) const { return (k + lanes - 1) / lanes * lanes; }
  std::int64_t tile() const { return (std::int64_t)lanes * vectors; }
};

// z = x w + bias: n rows, d features, k padded columns. All arrays are of the computing type.
struct BlockLogits {
  const void* x;
  std::int64_t x_stride;  // numbers between rows
  const void* w;          // packed, d by k
  const void* bias;       // k
  void* z;
  std::int64_t n, d, k;  // z is n by k
};

// sum += x^T g: packed, d by k.
struct BlockOuter {
  const void* x;
  std::int64_t x_stride;
  const void* g;  // n by k
  void* sum;
  std::int64_t n, d, k;
};

}  // namespace lastlayer
