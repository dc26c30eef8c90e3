#include "tally.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "tally_worker.hpp"

namespace lastlayer {
namespace {

// Scores of a task, and from which a call is divided over threads: see dispatch.cpp.
constexpr std::int64_t scores_a_task = 65536, worth_waking = 131072, worth_sharing = 32768;

// Adds `count` times x, and its square, to both sums.
void add_times(std::int64_t count, double x, std::int64_t* sum, std::int64_t* square) {
  const double numbers[] = {x, x * x};
  std::int64_t* const to[] = {sum, square};
  for (int i = 0; i < 2; ++i) {
    Limbs one;
    add_exactly({numbers + i, nullptr, 0, 1}, one.at);
    using Wide = __int128;
    constexpr std::int64_t mask = ((std::int64_t)1 << 50) - 1;
    const Wide low = (Wide)one.at[2] * count, middle = (Wide)one.at[1] * count + (low >> 50);
    add_limbs((std::int64_t)(one.at[0] * count + (middle >> 50)), (std::int64_t)middle & mask,
              (std::int64_t)low & mask, to[i]);
  }
}

void add_heavy(const HeavyPlace& place, std::int64_t bin, const BinTables& to) {
  place.rows.add_to(to.rows + 3 * bin), place.hits.add_to(to.hits + 3 * bin);
  place.sum.add_to(to.confidence + 3 * bin);
}
void add_place(const Place& place, std::int64_t bin, const BinTables& to) {
  to.rows[bin] += place.rows, to.hits[bin] += place.hits;
  place.sum.add_to(to.confidence + 3 * bin);
}

}  // namespace

TallyCall::State::State(const TallyRows& r)
    : rows(r),
      few(r.shape.classes <= few_classes && !r.weights),
      totals(r),
      hardest(r.floor),
      bins(ConfidenceBins::of({r.edges, r.bins}, {r.fine_edges, FineBins::all})),
      places(r.weights ? 0 : bins->places()),
      heavy_places(r.weights ? bins->places() : 0),
      by_class(few ? (std::size_t)r.shape.classes : 0),
      confusion(by_class.size() * by_class.size()),
      noted(few ? 0 : (std::size_t)r.shape.rows) {}
TallyCall::State::~State() = default;

TallyCall::TallyCall(const TallyRows& rows) : state_(new State(rows)) {}
TallyCall::~TallyCall() = default;

TallyFound TallyCall::count(const Runner& runner) {
  State& s = *state_;
  const std::int64_t N = s.rows.shape.rows, V = s.rows.shape.classes;
  const bool alone = N * V < (runner.hosted ? worth_sharing : worth_waking);
  const std::int64_t threads = alone ? 1 : runner.threads, share = (N + threads - 1) / threads;
  const std::int64_t of_a_task = std::min((scores_a_task / V + 16) / 16 * 16, share);
  Stop stop(runner.interrupted);
  std::atomic<bool> exhausted{false};
  auto task = [&](std::int64_t i) noexcept {
    try {
      std::unique_ptr<Worker> worker;
      {
        const std::lock_guard<std::mutex> held(s.lock);
        if (!s.idle.empty()) worker = std::move(s.idle.back()), s.idle.pop_back();
      }
      if (!worker) worker = std::make_unique<Worker>(s);
      worker->count(i * of_a_task, std::min(N, (i + 1) * of_a_task), stop);
      const std::lock_guard<std::mutex> held(s.lock);
      s.idle.push_back(std::move(worker));
    } catch (const std::bad_alloc&) {
      exhausted.store(true);
    }
  };
  parallel((int)threads, (N + of_a_task - 1) / of_a_task, task, stop, runner.hosted);
  if (exhausted.load()) throw std::bad_alloc();
  TallyFound found;
  found.complete = !stop.was_asked();
  for (const auto& worker : s.idle) worker->deliver(), worker->deliver_hardest();
  found.rows = s.totals.rows, found.ignored = s.totals.ignored;
  found.unusual = s.totals.unusual, found.hardest = s.hardest.rows;
  std::sort(found.unusual.begin(), found.unusual.end());
  return found;
}

void TallyCall::add_weighted_to(const TallyTables& to) const {
  const State& s = *state_;
  const Totals& all = s.totals;
  const std::int64_t V = s.rows.shape.classes;
  for (int k = 0; k < 4; ++k) all.weights[k % 2].add_to(to.weight + 3 * k);
  for (std::size_t m = 0; m < all.weighted.size() / 3; ++m)
    for (std::size_t k = 0; k < 3; ++k) all.weighted[3 * m + k].add_to(to.weighted[k] + 3 * m);
  for (std::size_t k = 0; k < all.weighted_ranks.size(); ++k) all.weighted_ranks[k].add_to(to.ranks + 3 * k);
  for (std::size_t k = 0; k < s.heavy_places.size(); ++k) {
    add_heavy(s.heavy_places[k], s.bins->equal(k), to.equal);
    add_heavy(s.heavy_places[k], s.bins->fine(k), to.fine);
  }
  auto add = [](double x, std::int64_t* limbs, std::int64_t place) {
    add_exactly({&x, nullptr, place, 1}, limbs);
  };
  for (std::size_t i = 0; i < s.noted.size(); ++i) {
    const Noted& row = s.noted[i];
    if (to.argmax) to.argmax[i] = row.predicted;
    if (row.predicted < 0) continue;
    add(row.weight, to.support, row.target), add(row.weight, to.predicted, row.predicted);
    if (row.target == row.predicted) add(row.weight, to.correct, row.target);
    if (to.confusion) add(row.weight, to.confusion, row.target * V + row.predicted);
    add(row.weight * row.loss, to.class_loss, row.target);
  }
}

void TallyCall::add_to(const TallyTables& to) const {
  const State& s = *state_;
  if (s.rows.weights) return add_weighted_to(to);
  const Totals& all = s.totals;
  const std::int64_t V = s.rows.shape.classes;
  for (int m = 0; m < metrics; ++m)
    all.sums[m].add_to(to.sums + 3 * m), all.squares[m].add_to(to.squares + 3 * m);
  std::int64_t *const sum = to.sums + 3 * reciprocal, *const square = to.squares + 3 * reciprocal;
  all.reciprocals.add_to(sum), all.reciprocal_squares.add_to(square);
  for (std::int64_t r = 0; r < all.counted; ++r) {
    if (all.ranks[r] == 0) continue;
    add_times(all.ranks[r], 1.0 / ((double)r + 1.0), sum, square);
    to.ranks[s.rows.ranks.of(r)] += all.ranks[r];
  }
  for (std::size_t k = 0; k < all.high_ranks.size(); ++k) to.ranks[k] += all.high_ranks[k];
  for (std::int64_t k = 0; k < s.rows.count_of_k; ++k) {
    std::int64_t hits = all.hits[(std::size_t)k];
    for (std::int64_t r = 0; r < std::min(all.counted, s.rows.top_k[k]); ++r) hits += all.ranks[r];
    add_times(hits, 1.0, to.sums + 3 * (first_hit + k), to.squares + 3 * (first_hit + k));
  }
  for (std::size_t k = 0; k < s.places.size(); ++k) {
    if (s.places[k].rows == 0) continue;
    add_place(s.places[k], s.bins->equal(k), to.equal), add_place(s.places[k], s.bins->fine(k), to.fine);
  }
  for (std::int64_t y = 0; s.few && y < V; ++y) {
    s.by_class[(std::size_t)y].add_to(to.class_loss + 3 * y);
    for (std::int64_t a = 0; a < V; ++a) {
      const std::int64_t rows = s.confusion[(std::size_t)(y * V + a)];
      to.support[y] += rows, to.predicted[a] += rows, to.correct[y] += a == y ? rows : 0;
      if (to.confusion) to.confusion[y * V + a] += rows;
    }
  }
  for (std::size_t i = 0; i < s.noted.size(); ++i) {
    const Noted& row = s.noted[i];
    if (to.argmax) to.argmax[i] = row.predicted;
    if (row.predicted < 0) continue;
    ++to.support[row.target], ++to.predicted[row.predicted];
    to.correct[row.target] += row.target == row.predicted;
    if (to.confusion) ++to.confusion[row.target * V + row.predicted];
    add_exactly({&row.loss, nullptr, 0, 1}, to.class_loss + 3 * row.target);
  }
}

}  // namespace lastlayer
