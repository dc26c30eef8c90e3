#include "tally.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <type_traits>

#include "confidence_bins.hpp"
#include "metrics.hpp"
#include "pool.hpp"
#include "tally_counters.hpp"

namespace lastlayer {
namespace {

constexpr int metrics = 4, reciprocal = 4, first_hit = 5;
constexpr std::int64_t counted_ranks = 128;  // ranks below have a counter each
static_assert(TallyCall::few_classes < counted_ranks, "");
// Scores of a task, and from which a call is divided over threads: see dispatch.cpp.
constexpr std::int64_t scores_a_task = 65536, worth_waking = 131072, worth_sharing = 32768;

template <class T>
void indices_as(const void* from, std::int64_t first, std::int64_t n, std::int64_t* to) {
  const T* const y = (const T*)from + first;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t v = (std::int64_t)y[i];
    to[i] = std::is_same<T, std::uint64_t>::value && v < 0 ? INT64_MAX : v;
  }
}
void load_indices(const IndexTargets& t, std::int64_t first, std::int64_t n, std::int64_t* to) {
  switch (t.dtype) {
    case Dtype::i8: return indices_as<std::int8_t>(t.data, first, n, to);
    case Dtype::u8: return indices_as<std::uint8_t>(t.data, first, n, to);
    case Dtype::i16: return indices_as<std::int16_t>(t.data, first, n, to);
    case Dtype::u16: return indices_as<std::uint16_t>(t.data, first, n, to);
    case Dtype::i32: return indices_as<std::int32_t>(t.data, first, n, to);
    case Dtype::u32: return indices_as<std::uint32_t>(t.data, first, n, to);
    case Dtype::u64: return indices_as<std::uint64_t>(t.data, first, n, to);
    default: return indices_as<std::int64_t>(t.data, first, n, to);
  }
}

// Sums over all rows, of a thread or of the call.
struct Totals {
  Limbs sums[metrics], squares[metrics];
  std::int64_t rows = 0, ignored = 0;
  std::int64_t ranks[counted_ranks] = {};
  Limbs reciprocals, reciprocal_squares;  // of higher ranks
  std::vector<std::int64_t> hits;         // of higher ranks, for each k
  std::vector<std::int64_t> unusual;

  explicit Totals(std::int64_t count_of_k) : hits((std::size_t)count_of_k) {}
  void add(const Totals& other) {
    for (int m = 0; m < metrics; ++m)
      other.sums[m].add_to(sums[m].at), other.squares[m].add_to(squares[m].at);
    rows += other.rows, ignored += other.ignored;
    for (std::int64_t r = 0; r < counted_ranks; ++r) ranks[r] += other.ranks[r];
    other.reciprocals.add_to(reciprocals.at), other.reciprocal_squares.add_to(reciprocal_squares.at);
    for (std::size_t k = 0; k < hits.size(); ++k) hits[k] += other.hits[k];
    unusual.insert(unusual.end(), other.unusual.begin(), other.unusual.end());
  }
};

// A row that is added in the end.
struct Noted {
  double loss;
  std::int64_t target, predicted;  // predicted: -1 if the row was not counted
};

class Worker;

}  // namespace

struct TallyCall::State {
  const TallyRows rows;
  const Table* const table = current();
  const bool few;
  std::mutex lock;
  Totals totals;
  HardRows hardest;
  const std::shared_ptr<const ConfidenceBins> bins;
  std::vector<Place> places;    // of confidences
  std::vector<Limbs> by_class;  // losses: of few classes, as the next
  std::vector<std::int64_t> confusion;
  std::vector<Noted> noted;  // of many classes
  std::vector<std::unique_ptr<Worker>> idle;

  explicit State(const TallyRows& r);
  ~State();
};

namespace {

// A thread's scratch and tables.
class Worker {
 public:
  explicit Worker(TallyCall::State& call)
      : call_(call),
        totals_(call.rows.count_of_k),
        hardest_(call.rows.floor),
        by_class_(call.by_class.size()),
        confusion_(call.confusion.size()),
        scratch_(new Scratch) {
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
    MetricBlock metrics;
  };

  void load_targets(std::int64_t begin, std::int64_t n);
  void find_statistics(std::int64_t begin, std::int64_t n, Stop& stop);
  template <bool FEW>
  void count_rows(std::int64_t begin, std::int64_t n);
  void note_hardest(std::int64_t begin, std::int64_t n);
  void leave_out(std::int64_t row, std::int64_t y);
  void count_rank(std::int64_t rank);
  void free_arena() { ::operator delete(arena_, std::align_val_t(64)); }

  TallyCall::State& call_;
  Totals totals_;
  HardRows hardest_;
  std::vector<Cell> cells_;    // of few classes
  std::vector<Place> places_;  // of many
  std::vector<Parts> by_class_;
  std::vector<std::uint32_t> confusion_;
  std::int64_t since_ = 0;  // rows since they were delivered
  char* arena_ = nullptr;
  std::int64_t arena_bytes_ = 0;
  const std::unique_ptr<Scratch> scratch_;
};

// The rows' classes, read once: -1 for those that are ignored.
void Worker::load_targets(std::int64_t begin, std::int64_t n) {
  const TallyRows& rows = call_.rows;
  std::int64_t* const to = scratch_->y;
  load_indices(rows.targets, begin, n, to);
  const std::int64_t V = rows.shape.classes, ignore = rows.targets.has_ignore ? rows.targets.ignore : -1;
  for (std::int64_t i = 0; i < n; ++i)
    to[i] = ((std::uint64_t)to[i] >= (std::uint64_t)V) | (to[i] == ignore) ? -1 : to[i];
}

void Worker::find_statistics(std::int64_t begin, std::int64_t n, Stop& stop) {
  const TallyRows& rows = call_.rows;
  Scratch& s = *scratch_;
  Shape shape;
  shape.rows = n, shape.classes = rows.shape.classes, shape.axes = rows.shape.axes, shape.extent[0] = n;
  Operand x;
  x.data = rows.x.data + (shape.axes > 0 ? begin * rows.x.stride[0] : 0);
  x.dtype = rows.x.dtype, x.class_stride = rows.x.class_stride, x.stride[0] = rows.x.stride[0];
  x.aligned = rows.x.aligned;
  Transform transform;
  transform.temperature = rows.temperature;
  EffectiveTarget target;
  target.kind = Target::index, target.index = (const char*)s.y;
  target.has_ignore = true, target.ignore = -1;
  RowResults results;
  results.wide_peak = true, results.peak = s.peak, results.rest = s.rest, results.gap = s.gap;
  results.mass = s.mass, results.spread = s.spread, results.square = s.square;
  results.argmax = s.argmax, results.rank = s.rank;
  const Losses losses;
  const TopK top;
  const Job job(RowStatistics{shape, {x, transform}, target, losses, results, top});
  const Cut cut = call_.table->plan(job);
  if (cut.arena > arena_bytes_) {
    free_arena();
    arena_ = nullptr, arena_bytes_ = 0;
    arena_ = static_cast<char*>(::operator new((std::size_t)cut.arena, std::align_val_t(64)));
    arena_bytes_ = cut.arena;
  }
  call_.table->run(job, cut, {0, n, arena_, &stop});
}

void Worker::leave_out(std::int64_t row, std::int64_t y) {
  if (!call_.few) call_.noted[(std::size_t)row] = {0, y, -1};
  if (y < 0)
    ++totals_.ignored;
  else
    totals_.unusual.push_back(row);
}

void Worker::count_rank(std::int64_t rank) {
  if (rank < counted_ranks) {
    ++totals_.ranks[rank];
    return;
  }
  const double x = 1.0 / ((double)rank + 1.0), x2 = x * x;
  add_exactly({&x, nullptr, 0, 1}, totals_.reciprocals.at);
  add_exactly({&x2, nullptr, 0, 1}, totals_.reciprocal_squares.at);
  for (std::size_t k = 0; k < totals_.hits.size(); ++k) totals_.hits[k] += rank < call_.rows.top_k[k];
}

template <bool FEW>
void Worker::count_rows(std::int64_t begin, std::int64_t n) {
  const Scratch& s = *scratch_;
  const MetricBlock& m = s.metrics;
  const ConfidenceBins& bins = *call_.bins;
  const std::int64_t V = call_.rows.shape.classes;
  std::int64_t left = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t y = s.y[i], a = s.argmax[i], rank = s.rank[i], guess = m.guess[i];
    if ((y | a | rank | guess) < 0) {
      leave_out(begin + i, y), ++left;
      continue;
    }
    const std::size_t place = bins.place(guess, m.confidence[i]);
    if constexpr (FEW) {
      ++confusion_[(std::size_t)(y * V + a)];
      Parts& loss = by_class_[(std::size_t)y];
      loss.a += m.loss_parts[0][i], loss.b += m.loss_parts[1][i];
      ++totals_.ranks[rank];
      cells_[place].add(m.cell_rows[i], m.cell_hits[i]);
    } else {
      call_.noted[(std::size_t)(begin + i)] = {m.loss[i], y, a};
      count_rank(rank);
      places_[place].add(rank == 0,
                         {m.confidence_parts[0][i], m.confidence_parts[1][i], m.confidence_parts[2][i]});
    }
  }
  totals_.rows += n - left;
  if (FEW && m.third_parts)
    for (std::int64_t i = 0; i < n; ++i)
      if (s.y[i] >= 0) by_class_[(std::size_t)s.y[i]].c += m.loss_parts[2][i];  // 0 where a row is left out
}

void Worker::note_hardest(std::int64_t begin, std::int64_t n) {
  const Scratch& s = *scratch_;
  const MetricBlock& m = s.metrics;
  if (!call_.rows.numbers || !(m.largest_loss >= hardest_.floor())) return;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t y = s.y[i], a = s.argmax[i];
    if (m.loss[i] < hardest_.floor() || (y | a | s.rank[i] | m.guess[i]) < 0) continue;
    hardest_.add({m.loss[i], call_.rows.numbers[begin + i], y, a});
  }
}

void Worker::count(std::int64_t begin, std::int64_t end, Stop& stop) {
  Scratch& s = *scratch_;
  for (std::int64_t n; begin < end; begin += n) {
    n = std::min<std::int64_t>(Scratch::most, end - begin);
    load_targets(begin, n);
    find_statistics(begin, n, stop);
    if (stop.was_asked()) return;
    const std::int64_t whole = (n + 7) / 8 * 8;
    for (std::int64_t i = n; i < whole; ++i)
      s.peak[i] = s.rest[i] = s.gap[i] = s.mass[i] = s.spread[i] = s.square[i] = 0, s.rank[i] = 0;
    const RowSums sums{s.peak, s.rest, s.gap, s.mass, s.spread, s.square};
    call_.table->count_metrics(sums, s.rank, whole, s.metrics);
    for (int k = 0; k < metrics; ++k)
      totals_.sums[k].add(s.metrics.sums[k]), totals_.squares[k].add(s.metrics.squares[k]);
    call_.few ? count_rows<true>(begin, n) : count_rows<false>(begin, n);
    note_hardest(begin, n);
    since_ += n;
    if (since_ + Scratch::most <= Cell::most) continue;
    const std::lock_guard<std::mutex> held(call_.lock);
    deliver();
  }
}

void Worker::deliver() {
  take_all(cells_, call_.places), take_all(places_, call_.places);
  for (std::size_t y = 0; y < by_class_.size(); ++y) call_.by_class[y].add(by_class_[y]), by_class_[y] = {};
  for (std::size_t k = 0; k < confusion_.size(); ++k) call_.confusion[k] += confusion_[k], confusion_[k] = 0;
  call_.totals.add(totals_);
  totals_ = Totals(call_.rows.count_of_k);
  since_ = 0;
}

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

void add_place(const Place& place, std::int64_t bin, const BinTables& to) {
  to.rows[bin] += place.rows, to.hits[bin] += place.hits;
  place.sum.add_to(to.confidence + 3 * bin);
}

}  // namespace

TallyCall::State::State(const TallyRows& r)
    : rows(r),
      few(r.shape.classes <= few_classes),
      totals(r.count_of_k),
      hardest(r.floor),
      bins(ConfidenceBins::of({r.edges, r.bins}, {r.fine_edges, FineBins::all})),
      places(bins->places()),
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
  using Question = bool (*)() noexcept;
  Question question = runner.interrupted;
  auto ask = [](void* data) noexcept { return (*static_cast<Question*>(data))(); };
  Stop stop(question ? +ask : nullptr, &question);
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

void TallyCall::add_to(const TallyTables& to) const {
  const State& s = *state_;
  const Totals& all = s.totals;
  const std::int64_t V = s.rows.shape.classes;
  for (int m = 0; m < metrics; ++m)
    all.sums[m].add_to(to.sums + 3 * m), all.squares[m].add_to(to.squares + 3 * m);
  std::int64_t *const sum = to.sums + 3 * reciprocal, *const square = to.squares + 3 * reciprocal;
  all.reciprocals.add_to(sum), all.reciprocal_squares.add_to(square);
  for (std::int64_t r = 0; r < counted_ranks; ++r)
    if (all.ranks[r]) add_times(all.ranks[r], 1.0 / ((double)r + 1.0), sum, square);
  for (std::int64_t k = 0; k < s.rows.count_of_k; ++k) {
    std::int64_t hits = all.hits[(std::size_t)k];
    for (std::int64_t r = 0; r < std::min(counted_ranks, s.rows.top_k[k]); ++r) hits += all.ranks[r];
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
