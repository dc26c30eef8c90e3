// Exact sums. In: numbers in different orders and splits. Out: the same limbs; the sanitizers check that only
// the arrays are read and written, and that no integer overflows where a caller's limbs are extreme.
#include "exact_sums.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "problem.hpp"

namespace lastlayer {
namespace tests {

void test_exact_sums() {
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> values;
  std::vector<std::int64_t> places;
  for (int i = 0; i < 5000; ++i) {
    values.push_back(std::ldexp((i * 7919) % 10007 - 4000, (i * 31) % 90 - 75));
    places.push_back(i % 3);
  }
  auto sums = [&](std::size_t first, std::size_t count, std::int64_t* limbs) {
    return add_exactly({values.data() + first, places.data() + first, 0, (std::int64_t)count}, limbs);
  };
  std::vector<std::int64_t> whole(9), parts(9), one(9);
  CHECK(sums(0, 5000, whole.data()) == 0, "%s", "every number is usual");
  sums(1234, 3766, parts.data());
  sums(0, 1234, parts.data());
  CHECK(whole == parts, "%s", "the same sums of two parts");
  for (int place = 0; place < 3; ++place) {
    std::vector<double> mine;
    for (int i = place; i < 5000; i += 3) mine.push_back(values[(std::size_t)i]);
    std::reverse(mine.begin(), mine.end());
    add_exactly({mine.data(), nullptr, place, (std::int64_t)mine.size()}, one.data());
  }
  CHECK(whole == one, "%s", "the same sums at one place each, in another order");

  const double odd[] = {infinity, -infinity, std::nan(""), 4294967296.0, -4294967296.0, 1.0};
  std::vector<std::int64_t> few(3);
  CHECK(add_exactly({odd, nullptr, 0, 6}, few.data()) == 5, "%s", "numbers that are left out");
  CHECK(few[0] == 1 << 20 && few[1] == 0 && few[2] == 0, "%s", "the one that is not");

  std::vector<std::int64_t> extreme(3, std::numeric_limits<std::int64_t>::max());
  const double largest[] = {4294967295.0, 4294967295.0};
  add_exactly({largest, nullptr, 0, 2}, extreme.data());

  const std::int64_t wrong[] = {0, 2, 1}, negative[] = {0, -1};
  CHECK(places_exist(wrong, 3, 3) && !places_exist(wrong, 3, 2), "%s", "places beyond the sums");
  CHECK(!places_exist(negative, 2, 2), "%s", "places before them");
}

}  // namespace tests
}  // namespace lastlayer
