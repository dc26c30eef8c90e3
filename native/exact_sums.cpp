#include "exact_sums.hpp"

namespace lastlayer {
namespace {

constexpr double first_unit = 1048576.0;     // 2^20
constexpr double base = 1125899906842624.0;  // 2^50
constexpr std::int64_t mask = (1LL << 50) - 1;
constexpr double large = 4294967296.0;  // 2^32

// Defined for every two integers: a caller's limbs may be any.
inline std::int64_t sum(std::int64_t a, std::int64_t b) {
  return (std::int64_t)((std::uint64_t)a + (std::uint64_t)b);
}

struct Limbs {
  std::int64_t a, b, c;
};

// A number below 2^32: all of its limbs have its sign, so no remainder is rounded.
inline Limbs limbs_of(double value) {
  const double x = value * first_unit;
  const auto a = (std::int64_t)x;
  const double y = (x - (double)a) * base;
  const auto b = (std::int64_t)y;
  return {a, b, (std::int64_t)((y - (double)b) * base)};
}

inline void add(const Limbs& x, std::int64_t* limbs) {
  const std::int64_t low = sum(limbs[2], x.c), middle = sum(sum(limbs[1], x.b), low >> 50);
  limbs[2] = low & mask;
  limbs[1] = middle & mask;
  limbs[0] = sum(limbs[0], sum(x.a, middle >> 50));
}

inline bool usual(double v) { return v > -large && v < large; }

// The limbs of so many numbers add up in 64 bits: of one they are at most 2^52.
constexpr std::int64_t at_once = 1024;

std::int64_t add_to_one(const double* values, std::int64_t count, std::int64_t* limbs) {
  std::int64_t left_out = 0;
  for (std::int64_t start = 0; start < count; start += at_once) {
    const std::int64_t stop = start + at_once < count ? start + at_once : count;
    Limbs total{0, 0, 0};
    for (std::int64_t i = start; i < stop; ++i) {
      const double v = values[i];
      const bool in = usual(v);
      const Limbs x = limbs_of(in ? v : 0.0);
      left_out += !in;
      total.a += x.a, total.b += x.b, total.c += x.c;
    }
    add(total, limbs);
  }
  return left_out;
}

}  // namespace

void add_limbs(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t* limbs) { add({a, b, c}, limbs); }

bool places_exist(const std::int64_t* places, std::int64_t count, std::int64_t sums) {
  std::int64_t signs = 0;
  for (std::int64_t i = 0; i < count; ++i) signs |= places[i] | (places[i] < sums ? 0 : -1);
  return signs >= 0;
}

std::int64_t add_exactly(const Addends& addends, std::int64_t* limbs) {
  if (!addends.places) return add_to_one(addends.values, addends.count, limbs + 3 * addends.place);
  std::int64_t left_out = 0;
  for (std::int64_t i = 0; i < addends.count; ++i) {
    const double v = addends.values[i];
    if (usual(v))
      add(limbs_of(v), limbs + 3 * addends.places[i]);
    else
      ++left_out;
  }
  return left_out;
}

}  // namespace lastlayer
