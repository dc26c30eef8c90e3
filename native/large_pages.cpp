#include "large_pages.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace lastlayer {

#if defined(__linux__)
void large_pages(char* data, int item_size, int axes, const std::int64_t* shape,
                 const std::int64_t* strides) {
  std::int64_t span = item_size;
  for (int d = 0; d < axes; ++d) {
    if (strides[d] < 0) return;
    span += (shape[d] - 1) * strides[d];
  }
  const std::uintptr_t page = 2 << 20, begin = (std::uintptr_t)data;
  const std::uintptr_t first = (begin + page - 1) & ~(page - 1),
                       end = (begin + (std::uintptr_t)span) & ~(page - 1);
  if (first < end) (void)madvise((void*)first, end - first, MADV_HUGEPAGE);
}
#else
void large_pages(char*, int, int, const std::int64_t*, const std::int64_t*) {}
#endif

}  // namespace lastlayer
