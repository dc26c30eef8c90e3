// Vector operations on any other processor: vectors of 16 bytes, as the compiler implements them. See
// vector.hpp.

#define LL_BYTES 16
#include "portable.hpp"

template <>
struct Vectors<float> : PortableFloats {};
template <>
struct Vectors<double> : PortableDoubles {};
