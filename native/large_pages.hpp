// The memory of a new array in large pages: for each small page the system is entered when it is first
// written, which can take longer than the writing.
#pragma once

#include <cstdint>

namespace lastlayer {

// Asks for it, where the system has a way to. Nothing changes for memory that is already in use. Strides are
// in bytes; arrays with a negative one are left alone.
void large_pages(char* data, int item_size, int axes, const std::int64_t* shape, const std::int64_t* strides);

}  // namespace lastlayer
