// The counters of a tally's threads. In: rows, one at a time. Out: counts and exact sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "exact_sums.hpp"
#include "metrics.hpp"
#include "tally.hpp"

namespace lastlayer {

// An exact sum.
struct Limbs {
  std::int64_t at[3] = {0, 0, 0};
  void add(const Parts& x) {
    add_limbs(x.a >> 7, ((x.a & 127) << 43) + (x.b >> 3), ((x.b & 7) << 47) + x.c, at);
  }
  void add_to(std::int64_t* limbs) const { add_limbs(at[0], at[1], at[2], limbs); }
};

// At most `most` rows of a bin, how many of them are hits, and the sum of their confidences, in two numbers:
// the confidence as a whole number of 2^-60, cut into two of 30 bits, stands above the counts.
struct Cell {
  static constexpr std::int64_t most = 1 << 16;
  static constexpr int counts = 17;  // bits
  static constexpr std::uint64_t count = ((std::uint64_t)1 << counts) - 1;
  std::uint64_t rows = 0, hits = 0;

  static std::uint64_t whole(std::int64_t a, std::int64_t b) {
    LL_ASSERT((b & 8191) == 0);
    return ((std::uint64_t)a << 33) + (std::uint64_t)(b >> 13);
  }
  void add(std::uint64_t high, std::uint64_t low) { rows += high, hits += low; }
};

// Any number of rows in one place.
struct Place {
  std::int64_t rows = 0, hits = 0;
  Limbs sum;

  void add(bool hit, const Parts& confidence) { ++rows, hits += hit, sum.add(confidence); }
  // Adds what is in the cell, and clears it.
  void take(Cell& cell) {
    if (cell.rows == 0) return;
    rows += (std::int64_t)(cell.rows & Cell::count), hits += (std::int64_t)(cell.hits & Cell::count);
    const auto high = (std::int64_t)(cell.rows >> Cell::counts),
               low = (std::int64_t)(cell.hits >> Cell::counts);
    add_limbs(high >> 10, ((high & 1023) << 40) + (low << 10), 0, sum.at);  // of 2^-30 and of 2^-60
    cell = Cell{};
  }
  // Adds the bin of another thread, and clears it.
  void take(Place& other) {
    if (other.rows == 0) return;
    rows += other.rows, hits += other.hits, other.sum.add_to(sum.at);
    other = Place{};
  }
};

template <class T>
void take_all(std::vector<T>& from, std::vector<Place>& to) {
  for (std::size_t k = 0; k < from.size(); ++k) to[k].take(from[k]);
}

// --- bins: bin i holds edges[i] < c <= edges[i + 1] ---

// Which case a row is depends on its numbers, so a branch would often be mispredicted.
inline std::int64_t chosen(bool first, std::int64_t a, std::int64_t b) {
  return b ^ ((a ^ b) & -(std::int64_t)first);
}
// The bin of c, of which the guess is one off at most.
inline std::int64_t settled(std::int64_t guess, double c, const double* edges, std::int64_t bins) {
  const std::int64_t beyond = guess - (bins - 1), k = guess - (beyond & ~(beyond >> 63));
  return k + ((k < bins - 1) & (c > edges[k + 1])) - ((k > 0) & (c <= edges[k]));
}

// For each of 256 mantissas m of q = m 2^e the part of a halving that q is in: floor(-128 log2(m/2)).
struct FineGuess {
  std::uint8_t part[256];
  FineGuess() {
    const double step = 0.99459942348363317565;  // 2^(-1/128)
    for (int i = 0; i < 256; ++i) {
      const double half = (1 + i / 256.0) / 2;
      double edge = step;
      int j = 0;
      while (j < FineBins::per_halving - 1 && half <= edge) ++j, edge *= step;
      part[i] = (std::uint8_t)j;
    }
  }
};

inline std::int64_t fine_bin(const FineGuess& guess, double c, const double* edges) {
  const double q = 1 - c;  // exact for c > 1/2; only then it is used
  std::uint64_t bits;
  std::memcpy(&bits, &q, sizeof bits);
  const std::int64_t halving = 1021 - (std::int64_t)(bits >> 52);  // q in [2^-(2 + halving), twice that)
  const std::int64_t high =
      FineBins::below + halving * FineBins::per_halving + guess.part[(bits >> 44) & 255];
  const std::int64_t low = (std::int64_t)(c * (2 * FineBins::below));
  return settled(chosen(c > 0.5, high, low), c, edges, FineBins::all);
}

// --- the hardest rows: of the largest loss, then of the lowest number ---

inline bool harder(const HardRow& a, const HardRow& b) {
  if (a.loss != b.loss) return a.loss > b.loss;
  if (a.number != b.number) return a.number < b.number;
  return a.target != b.target ? a.target < b.target : a.predicted < b.predicted;
}

class HardRows {
 public:
  explicit HardRows(double floor) : floor_(floor) {}
  // Losses below are not wanted.
  double floor() const { return floor_; }
  void add(const HardRow& row) {
    std::size_t i = rows.size();
    rows.push_back(row);
    for (; i > 0 && harder(row, rows[i - 1]); --i) rows[i] = rows[i - 1];
    rows[i] = row;
    if (rows.size() > TallyFound::most_hard) rows.pop_back();
    if (rows.size() == TallyFound::most_hard && rows.back().loss > floor_) floor_ = rows.back().loss;
  }
  std::vector<HardRow> rows;

 private:
  double floor_;
};

}  // namespace lastlayer
