// What an evaluation counts of rows of logits with index targets. In: the logits. Out: counts and exact sums,
// added to tables; they are the same for any number of threads.
//
// A task computes the statistics of some hundred rows, then the numbers that are counted of them
// (metrics.hpp), then counts, while all of it is in the cache. Each thread counts in tables of its own.
// Traffic: one read of the logits and targets. Besides the statistics a row takes a logarithm, an
// exponential, two divisions, eight exact additions, and some 40 instructions for counters.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dispatch.hpp"
#include "kernels.hpp"
#include "targets.hpp"

namespace lastlayer {

// Buckets of the rank of a row's target.
struct RankBuckets {
  const std::int64_t* starts;  // `count`, in order: the first rank of each
  std::int64_t count;          // 1 or more

  // The bucket of a rank; the first ones hold one rank each, which is their place. Always one of `count`.
  std::int64_t of(std::int64_t rank) const {
    const std::int64_t guess = std::min(rank, count - 1);
    if (starts[guess] == rank) return guess;
    return std::max<std::int64_t>(std::upper_bound(starts, starts + count, rank) - starts - 1, 0);
  }
};

struct TallyRows {
  const Operand& x;
  const Shape& shape;  // at most one axis of rows
  double temperature;
  IndexTargets targets;  // without weights; an index out of range counts as ignored
  const std::int64_t* top_k;
  std::int64_t count_of_k;
  std::int64_t bins;
  const double* edges;          // bins + 1: bin i holds edges[i] < confidence <= edges[i + 1]
  const double* fine_edges;     // FineBins::all + 1
  const std::int64_t* numbers;  // N, for the hardest rows; or null: they are not wanted
  double floor;                 // losses below are not wanted among them
  const double* weights;        // N, or null: 1 each. A row of weight 0 is ignored
  RankBuckets ranks;
};

// The fine bins: so many of one width to 1/2, then `per_halving` for each halving of 1 - confidence.
struct FineBins {
  static constexpr std::int64_t below = 1024, per_halving = 128, halvings = 40;
  static constexpr std::int64_t all = below + per_halving * halvings;
};

// Tables to add to; all contiguous. Limbs are three for each sum: see exact_sums.hpp.
struct BinTables {
  std::int64_t *rows, *hits, *confidence;  // of each bin; the last are limbs
};
// With weights `support`, `predicted`, `correct`, `ranks`, `confusion` and the bins' `rows` and `hits` are
// limbs too: sums of weights.
struct TallyTables {
  std::int64_t *sums, *squares;  // limbs of each metric: loss, Brier score, confidence, entropy, 1/(rank +
                                 // 1), then the hits among the top k; and limbs of their squares
  std::int64_t *support, *predicted, *correct;  // V: rows by target, by argmax, and where both agree
  std::int64_t* class_loss;                     // limbs of each class
  std::int64_t* confusion;                      // V by V, target by argmax; or null
  std::int64_t* argmax;  // N, written: of each row that was counted, else -1; or null. Of many classes only
  std::int64_t* ranks;   // of each bucket
  BinTables equal, fine;
  // With weights, instead of `sums` and `squares`: limbs of w, w^2, and both again; of each metric x those of
  // w x, w^2 x and w^2 x^2.
  std::int64_t *weight, *weighted[3];
};

struct HardRow {
  double loss;
  std::int64_t number, target, predicted;
};

struct TallyFound {
  static constexpr std::size_t most_hard = 20;
  bool complete = false;  // else the call was interrupted, and its counts are unusable
  std::int64_t rows = 0, ignored = 0;
  // Rows that were not counted: their peak is not finite, or the loss or weight large.
  std::vector<std::int64_t> unusual;
  std::vector<HardRow> hardest;  // of the largest loss, then of the lowest number
};

class TallyCall {
 public:
  // With more classes rows are noted, and added to the tables one after the other. No confidence is below
  // 2^-7, so each is a whole number of 2^-60.
  static constexpr std::int64_t few_classes = 120;
  static constexpr double heaviest = 16;  // of these weights (w loss)^2 is below 2^32

  explicit TallyCall(const TallyRows& rows);
  ~TallyCall();
  TallyFound count(const Runner& runner);
  // Adds what was counted.
  void add_to(const TallyTables& tables) const;

  struct State;

 private:
  void add_weighted_to(const TallyTables& tables) const;

  const std::unique_ptr<State> state_;
};

}  // namespace lastlayer
