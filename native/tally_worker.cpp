#include "tally_worker.hpp"

#include <algorithm>
#include <type_traits>

namespace lastlayer {
namespace {

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

}  // namespace

// The rows' classes and weights, read once: -1 for those that are ignored.
void Worker::load_targets(std::int64_t begin, std::int64_t n) {
  const TallyRows& rows = call_.rows;
  std::int64_t* const to = scratch_->y;
  load_indices(rows.targets, begin, n, to);
  const std::int64_t V = rows.shape.classes, ignore = rows.targets.has_ignore ? rows.targets.ignore : -1;
  for (std::int64_t i = 0; i < n; ++i)
    to[i] = ((std::uint64_t)to[i] >= (std::uint64_t)V) | (to[i] == ignore) ? -1 : to[i];
  if (!rows.weights) return;
  for (std::int64_t i = 0; i < n; ++i) {
    scratch_->weight[i] = rows.weights[begin + i];
    if (scratch_->weight[i] == 0) to[i] = -1;
  }
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
  if (!call_.few) call_.noted[(std::size_t)row] = {0, y, -1, 0};
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
  ++totals_.high_ranks[(std::size_t)call_.rows.ranks.of(rank)];
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
      call_.noted[(std::size_t)(begin + i)] = {m.loss[i], y, a, 1};
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

// Adds w x, w^2 x and w^2 x^2 of the metric x = value(i) of each row.
template <class F>
void Worker::add_weighted(std::int64_t n, std::int64_t metric, F&& value) {
  Scratch& s = *scratch_;
  for (std::int64_t i = 0; i < n; ++i) {
    const double w = s.weight[i], x = value(i), product = w * x;
    s.product[0][i] = product, s.product[1][i] = w * w * x, s.product[2][i] = product * product;
  }
  for (int k = 0; k < 3; ++k)
    add_exactly({s.product[k], nullptr, 0, n}, totals_.weighted[(std::size_t)(3 * metric + k)].at);
}

void Worker::count_weighted(std::int64_t begin, std::int64_t n) {
  Scratch& s = *scratch_;
  const MetricBlock& m = s.metrics;
  const ConfidenceBins& bins = *call_.bins;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t y = s.y[i], a = s.argmax[i], rank = s.rank[i], guess = m.guess[i];
    const double w = s.weight[i];
    if ((y | a | rank | guess) < 0 || !(w > 0 && w <= TallyCall::heaviest)) {
      leave_out(begin + i, y);
      s.y[i] = s.rank[i] = -1, s.weight[i] = 0;
      continue;
    }
    ++totals_.rows;
    call_.noted[(std::size_t)(begin + i)] = {m.loss[i], y, a, w};
    Limbs weight;
    weight.add(w);
    heavy_places_[bins.place(guess, m.confidence[i])].add(weight, w, rank == 0, m.confidence[i]);
    weight.add_to(totals_.weighted_ranks[(std::size_t)call_.rows.ranks.of(rank)].at);
  }
  for (std::int64_t i = 0; i < n; ++i) s.product[0][i] = s.weight[i] * s.weight[i];
  add_exactly({s.weight, nullptr, 0, n}, totals_.weights[0].at);
  add_exactly({s.product[0], nullptr, 0, n}, totals_.weights[1].at);
  const double* const metrics_of[] = {m.loss, m.brier, m.confidence, m.entropy};
  for (int k = 0; k < metrics; ++k) add_weighted(n, k, [&](std::int64_t i) { return metrics_of[k][i]; });
  add_weighted(n, reciprocal,
               [&](std::int64_t i) { return s.rank[i] < 0 ? 0 : 1.0 / ((double)s.rank[i] + 1.0); });
  for (std::int64_t k = 0; k < call_.rows.count_of_k; ++k) {
    const std::int64_t most = call_.rows.top_k[k];
    add_weighted(n, first_hit + k,
                 [&](std::int64_t i) { return s.rank[i] >= 0 && s.rank[i] < most ? 1.0 : 0.0; });
  }
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
    if (call_.rows.weights) {
      count_weighted(begin, n);
    } else {
      for (int k = 0; k < metrics; ++k)
        totals_.sums[k].add(s.metrics.sums[k]), totals_.squares[k].add(s.metrics.squares[k]);
      call_.few ? count_rows<true>(begin, n) : count_rows<false>(begin, n);
    }
    note_hardest(begin, n);
    since_ += n;
    if (since_ + Scratch::most <= Cell::most) continue;
    const std::lock_guard<std::mutex> held(call_.lock);
    deliver();
  }
}

void Worker::deliver() {
  take_all(cells_, call_.places), take_all(places_, call_.places);
  take_all(heavy_places_, call_.heavy_places);
  for (std::size_t y = 0; y < by_class_.size(); ++y) call_.by_class[y].add(by_class_[y]), by_class_[y] = {};
  for (std::size_t k = 0; k < confusion_.size(); ++k) call_.confusion[k] += confusion_[k], confusion_[k] = 0;
  call_.totals.add(totals_);
  totals_ = Totals(call_.rows);
  since_ = 0;
}

}  // namespace lastlayer
