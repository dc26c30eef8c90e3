// A thread of a tally. In: a range of rows. Out: what they add, in tables of its own, delivered to the
// call's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "confidence_bins.hpp"
#include "metrics.hpp"
#include "pool.hpp"
#include "tally.hpp"
#include "tally_counters.hpp"

namespace lastlayer {

// The places of metrics: loss, Brier score, confidence and entropy, then these.
constexpr int metrics = 4, reciprocal = 4, first_hit = 5;
constexpr std::int64_t counted_ranks = 1024;  // at most so many ranks have a counter each
static_assert(TallyCall::few_classes < counted_ranks, "");

// Sums over all rows, of a thread or of the call.
struct Totals {
  Limbs sums[metrics], squares[metrics];
  std::int64_t rows = 0, ignored = 0;
  std::int64_t counted;                    // ranks below have a counter each
  std::int64_t ranks[counted_ranks] = {};  // the first `counted` are used
  Limbs reciprocals, reciprocal_squares;   // of higher ranks
  std::vector<std::int64_t> hits;          // of higher ranks, for each k
  std::vector<std::int64_t> high_ranks;    // by bucket
  std::vector<std::int64_t> unusual;
  Limbs weights[2];                   // w, w^2
  std::vector<Limbs> weighted;        // w x, w^2 x, w^2 x^2 of each metric
  std::vector<Limbs> weighted_ranks;  // w by bucket

  explicit Totals(const TallyRows& rows)
      : counted(std::min(counted_ranks, rows.shape.classes)),
        hits((std::size_t)rows.count_of_k),
        high_ranks(rows.weights ? 0 : (std::size_t)rows.ranks.count),
        weighted(rows.weights ? 3 * (std::size_t)(first_hit + rows.count_of_k) : 0),
        weighted_ranks(rows.weights ? (std::size_t)rows.ranks.count : 0) {}
  void add(const Totals& other) {
    for (int m = 0; m < metrics; ++m)
      other.sums[m].add_to(sums[m].at), other.squares[m].add_to(squares[m].at);
    rows += other.rows, ignored += other.ignored;
    for (std::int64_t r = 0; r < counted; ++r) ranks[r] += other.ranks[r];
    other.reciprocals.add_to(reciprocals.at), other.reciprocal_squares.add_to(reciprocal_squares.at);
    for (std::size_t k = 0; k < hits.size(); ++k) hits[k] += other.hits[k];
    for (std::size_t k = 0; k < high_ranks.size(); ++k) high_ranks[k] += other.high_ranks[k];
    unusual.insert(unusual.end(), other.unusual.begin(), other.unusual.end());
    for (int k = 0; k < 2; ++k) other.weights[k].add_to(weights[k].at);
    for (std::size_t k = 0; k < weighted.size(); ++k) other.weighted[k].add_to(weighted[k].at);
    for (std::size_t k = 0; k < weighted_ranks.size(); ++k)
      other.weighted_ranks[k].add_to(weighted_ranks[k].at);
  }
};

// A row that is added in the end.
struct Noted {
  double loss;
  std::int64_t target, predicted;  // predicted: -1 if the row was not counted
  double weight;
};

class Worker;

struct TallyCall::State {
  const TallyRows rows;
  const Table* const table = current();
  const bool few;
  std::mutex lock;
  Totals totals;
  HardRows hardest;
  const std::shared_ptr<const ConfidenceBins> bins;
  std::vector<Place> places;             // of confidences
  std::vector<HeavyPlace> heavy_places;  // with weights
  std::vector<Limbs> by_class;           // losses: of few classes, as the next
  std::vector<std::int64_t> confusion;
  std::vector<Noted> noted;  // of many classes
  std::vector<std::unique_ptr<Worker>> idle;

  explicit State(const TallyRows& r);
  ~State();
};

// A thread's scratch and tables.
class Worker {
 public:
  explicit Worker(TallyCall::State& call)
      : call_(call),
        totals_(call.rows),
        hardest_(call.rows.floor),
        by_class_(call.by_class.size()),
        confusion_(call.confusion.size()),
        scratch_(new Scratch) {
    heavy_places_.resize(call.heavy_places.size());
    if (call.few)
      cells_.resize(call.places.size());
    else
      places_.resize(call.places.size());
  }
  Worker(const Worker&) = delete;
  ~Worker() { free_arena(); }
  void count(std::int64_t begin, std::int64_t end, Stop& stop);
  // Adds to the call's counts, under its lock.
  void deliver();
  void deliver_hardest() {
    for (const HardRow& row : hardest_.rows) call_.hardest.add(row);
  }

 private:
  // Padded: no two fields begin in the same set of the cache.
  struct Scratch {
    static constexpr int most = MetricBlock::most, room = most + 8;
    alignas(64) double peak[room], rest[room], gap[room], mass[room], spread[room], square[room];
    std::int64_t y[room], argmax[room], rank[room];
    double weight[room], product[3][room];
    MetricBlock metrics;
  };

  void load_targets(std::int64_t begin, std::int64_t n);
  void find_statistics(std::int64_t begin, std::int64_t n, Stop& stop);
  template <bool FEW>
  void count_rows(std::int64_t begin, std::int64_t n);
  void count_weighted(std::int64_t begin, std::int64_t n);
  template <class F>
  void add_weighted(std::int64_t n, std::int64_t metric, F&& value);
  void note_hardest(std::int64_t begin, std::int64_t n);
  void leave_out(std::int64_t row, std::int64_t y);
  void count_rank(std::int64_t rank);
  void free_arena() { ::operator delete(arena_, std::align_val_t(64)); }

  TallyCall::State& call_;
  Totals totals_;
  HardRows hardest_;
  std::vector<Cell> cells_;    // of few classes
  std::vector<Place> places_;  // of many
  std::vector<HeavyPlace> heavy_places_;
  std::vector<Parts> by_class_;
  std::vector<std::uint32_t> confusion_;
  std::int64_t since_ = 0;  // rows since they were delivered
  char* arena_ = nullptr;
  std::int64_t arena_bytes_ = 0;
  const std::unique_ptr<Scratch> scratch_;
};

}  // namespace lastlayer
