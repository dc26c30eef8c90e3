// One instruction set: compiled once a file in this folder, with LL_ISA the namespace, LL_SIMD the file of
// its vectors in simd/, and the compiler's flags the target. Everything below lives in that namespace; the
// standard headers are included by the file, outside of it, and no function of theirs is called.

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
#include "../algo/fold.hpp"
//
#include "../algo/state.hpp"
//
#include "../algo/transform.hpp"
//
#include "../algo/write.hpp"
//
#include "../algo/rows.hpp"
//
#include "../algo/lanes.hpp"
//
#include "../algo/driver.hpp"

}  // namespace
}  // namespace LL_ISA
}  // namespace lastlayer
