// What every processor of the architecture has: SSE2 on x86-64, NEON on AArch64, else what the compiler makes
// of its vector types. 4 floats a vector.
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "../job.hpp"
#include "../sparse.hpp"

#define LL_ISA baseline
#if defined(__SSE2__)
#define LL_SIMD "sse2.hpp"
#elif defined(__aarch64__)
#define LL_SIMD "neon.hpp"
#else
#define LL_SIMD "generic.hpp"
#endif
#include "kernels.inl"

namespace lastlayer {
const Table* table_baseline() {
  using namespace LL_ISA;
  static const Table table = {"baseline",
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
