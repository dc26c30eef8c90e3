// Exact sums of numbers. In: numbers, and the place that each is added to. Out: sums as three integers each.
//
//   x = a 2^-20 + b 2^-70 + c 2^-120        a, b, c integers; what is below 2^-120 is cut off
//
// In a sum 0 <= b, c < 2^50. Integers are added, so a sum is the same in any order. Traffic: one read of the
// numbers and places.
#pragma once

#include <cstdint>

namespace lastlayer {

struct Addends {
  const double* values;
  const std::int64_t* places;  // of each value, in [0, number of sums); null: all at `place`
  std::int64_t place;
  std::int64_t count;
};

// Adds to `limbs`, three for each sum. Returns how many values it left out: infinities, NaN, 2^32 and more.
std::int64_t add_exactly(const Addends& addends, std::int64_t* limbs);

// Adds a sum of any limbs to another.
void add_limbs(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t* limbs);

// Whether every place is that of a sum.
bool places_exist(const std::int64_t* places, std::int64_t count, std::int64_t sums);

}  // namespace lastlayer
