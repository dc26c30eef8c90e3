// NEON of AArch64: 4 floats a vector, fused multiply-add.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../job.hpp"
#include "../sparse.hpp"

#define LL_ISA neon
#define LL_SIMD "neon.hpp"
#include "kernels.inl"

namespace lastlayer {
const Table* table_neon() {
  using namespace LL_ISA;
  static const Table table = {"neon",
                              plan,
                              run,
                              row_metrics,
                              count_metrics,
                              columns_of,
                              block_logits,
                              block_outer,
                              block_square,
                              load_numbers,
                              sparse_rows,
                              exp_alone<float>,
                              exp_alone<double>,
                              log1p_alone<float>,
                              log1p_alone<double>};
  return &table;
}
}  // namespace lastlayer
#else
#include "../kernels.hpp"
namespace lastlayer {
const Table* table_neon() { return nullptr; }
}  // namespace lastlayer
#endif
