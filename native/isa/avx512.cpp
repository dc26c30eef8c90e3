// AVX-512 F, BW, DQ and VL: 16 floats a vector.
#if defined(__AVX512F__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "../job.hpp"
#include "../sparse.hpp"

#define LL_ISA avx512
#define LL_SIMD "avx512.hpp"
#include "kernels.inl"

namespace lastlayer {
const Table* table_avx512() {
  using namespace LL_ISA;
  static const Table table = {"avx512",
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
const Table* table_avx512() { return nullptr; }
}  // namespace lastlayer
#endif
