// The counters of a tally's threads. In: rows, one at a time. Out: counts and exact sums.
#pragma once

#include <cstddef>
#include <cstdint>
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
  void add(double x) { add_exactly({&x, nullptr, 0, 1}, at); }
  void add_to(std::int64_t* limbs) const { add_limbs(at[0], at[1], at[2], limbs); }
};

// At most `most` rows of a bin: see CellCounts.
struct Cell {
  static constexpr std::int64_t most = 1 << 16;
  static constexpr std::int64_t count = ((std::int64_t)1 << CellCounts::bits) - 1;
  std::uint64_t rows = 0;
  std::int64_t hits = 0;
  void add(std::int64_t of_rows, std::int64_t of_hits) { rows += (std::uint64_t)of_rows, hits += of_hits; }
};

// Any number of rows in one place.
struct Place {
  std::int64_t rows = 0, hits = 0;
  Limbs sum;

  void add(bool hit, const Parts& confidence) { ++rows, hits += hit, sum.add(confidence); }
  // Adds what is in the cell, and clears it.
  void take(Cell& cell) {
    if (cell.rows == 0) return;
    rows += (std::int64_t)cell.rows & Cell::count, hits += cell.hits & Cell::count;
    const auto high = (std::int64_t)(cell.rows >> CellCounts::bits);
    const std::int64_t low = cell.hits >> CellCounts::bits;
    add_limbs(high >> 10, ((high & 1023) << 40) + low * 1024, 0, sum.at);  // of 2^-30 and of 2^-60
    cell = Cell{};
  }
  // Adds the bin of another thread, and clears it.
  void take(Place& other) {
    if (other.rows == 0) return;
    rows += other.rows, hits += other.hits, other.sum.add_to(sum.at);
    other = Place{};
  }
};

// Weighted rows in one place.
struct HeavyPlace {
  Limbs rows, hits, sum;

  // `weight`: the limbs of `w`.
  void add(const Limbs& weight, double w, bool hit, double confidence) {
    weight.add_to(rows.at), sum.add(w * confidence);
    if (hit) weight.add_to(hits.at);
  }
  void take(HeavyPlace& other) {
    other.rows.add_to(rows.at), other.hits.add_to(hits.at), other.sum.add_to(sum.at);
    other = HeavyPlace{};
  }
};

template <class T, class P>
void take_all(std::vector<T>& from, std::vector<P>& to) {
  for (std::size_t k = 0; k < from.size(); ++k) to[k].take(from[k]);
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
