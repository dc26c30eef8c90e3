// The algorithms on one instruction set, included by every file of this folder. In: LL_ISA, the namespace,
// and LL_SIMD, the file of its vectors in simd/. Out: the functions of its Table. Everything below is in that
// namespace; the including file includes the standard headers outside of it, and no function of theirs is
// called.

#define LL_INLINE inline __attribute__((always_inline))
#define LL_INLINE_LAMBDA __attribute__((always_inline))

namespace lastlayer {
namespace LL_ISA {
namespace {

#include "../simd/vector.hpp"
//
#include "../algo/math.hpp"
//
#include "../algo/memory.hpp"
//
#include "../algo/drain.hpp"
//
#include "../algo/fold.hpp"
//
#include "../algo/layout.hpp"
//
#include "../algo/transform.hpp"
//
#include "../algo/state.hpp"
//
#include "../algo/mask.hpp"
//
#include "../algo/finish.hpp"
//
#include "../algo/write.hpp"
//
#include "../algo/rows.hpp"
//
#include "../algo/lanes.hpp"
//
#include "../algo/top.hpp"
//
#include "../algo/ranks.hpp"
//
#include "../algo/pick.hpp"
//
#include "../algo/plan.hpp"
//
#include "../algo/workspace.hpp"
//
#include "../algo/columns.hpp"
//
#include "../algo/lane_block.hpp"
//
#include "../algo/few.hpp"
//
#include "../algo/row_write.hpp"
//
#include "../algo/row_block.hpp"
//
#include "../algo/driver.hpp"
//
#include "../algo/elementary.hpp"
//
#include "../algo/metrics.hpp"
//
#include "../algo/products.hpp"
//
#include "../algo/sparse.hpp"

}  // namespace
}  // namespace LL_ISA
}  // namespace lastlayer
