// Large pages for the memory of a new array. In: its memory, shape and strides. Out: a request to the system,
// where it takes such requests. Each small page would enter the system when it is first written, which can
// take longer than the writing.
#pragma once

#include <cstdint>

namespace lastlayer {

// Pages that were written before stay as they are. Strides are in bytes; arrays with a negative stride are
// left as they are.
void large_pages(char* data, int item_size, int axes, const std::int64_t* shape, const std::int64_t* strides);

}  // namespace lastlayer
