// One call on one instruction set: blocks of rows through load -> peak -> exponentials -> finish -> write.
// The two forms (rows.hpp, lanes.hpp) differ in the passes; what a pass computes is the same.

LL_INLINE bool is_backward(Op op) { return op == Op::softmax_backward || op == Op::log_softmax_backward; }
LL_INLINE bool has_second(const Job& job) { return job.target == Target::dense || is_backward(job.op); }
LL_INLINE const Operand& second_of(const Job& job) { return is_backward(job.op) ? job.dy : job.dense; }
LL_INLINE bool writes_matrix(Op op) { return op != Op::stats && op != Op::pick; }
LL_INLINE bool wants_moments(const Job& job) { return job.rows_out.spread || job.rows_out.square; }
LL_INLINE bool has_transform(const Job& job) {
  return job.softcap != 0 || job.temperature != 1 || job.take_log || job.mask.data;
}
// Pointers to `count` rows from `row` on.
inline void locate(const Job& job, const Operand& a, std::int64_t row, int count, char** to) {
  if (job.axes <= 1) {
    char* const first = a.data + row * a.stride[0];
    const std::int64_t stride = a.stride[0];
    for (int i = 0; i < count; ++i) to[i] = first + i * stride;
    return;
  }
  std::int64_t at[max_axes];
  char* p = a.data;
  const int last = job.axes - 1;
  for (int d = last; d >= 0; --d) {
    at[d] = row % job.extent[d], row /= job.extent[d];
    p += at[d] * a.stride[d];
  }
  const std::int64_t stride = a.stride[last], extent = job.extent[last];
  for (int i = 0; i < count;) {
    const int run = (int)least(count - i, extent - at[last]);
    for (int r = 0; r < run; ++r) to[i + r] = p + r * stride;
    i += run;
    if (at[last] + run < extent) break;
    p -= at[last] * stride, at[last] = 0;  // back to the innermost axis's start, on to the next one
    for (int d = last - 1; d >= 0; --d) {
      p += a.stride[d];
      if (++at[d] < job.extent[d]) break;
      p -= at[d] * a.stride[d], at[d] = 0;
    }
  }
}

// Buffers of a thread, in the computing type.
template <class C>
struct Buffers {
  C *z, *q, *slope, *e, *rows;
  C* spare = nullptr;  // results on their way out, side by side as in memory
  Drain<C> drain;
};

#include "top.hpp"

// The state after the passes over the scores, from what is known of the rows.
template <class C>
void recall(const Job& job, State<C>& st, std::int64_t row, int rows) {
  using S = Simd<C>;
  const C* peak = (const C*)job.known.peak + row;
  const double* rest = job.known.rest + row;
  const int whole = (int)round_up(rows, S::W);
  for (int i = 0; i < whole; ++i) {
    const double r = i < rows ? rest[i] : 0;
    st.peak[i] = i < rows ? peak[i] : 0;
    st.hi[i] = (C)r, st.lo[i] = (C)(r - (double)(C)r), st.count[i] = 1;
  }
  for (int i = 0; i < whole; i += S::W) {
    const auto k = ExpAt<C>::make(S::load(st.peak + i));
    typename S::V E, E_lo, hi, lo;
    exp_pair<C>(k, S::load(st.peak + i), E, E_lo);
    pair_product<C>(S::load(st.hi + i), S::load(st.lo + i), E, E_lo, hi, lo);
    k.store(st.at + i, State<C>::pitch);
    S::store(st.hi + i, hi), S::store(st.lo + i, lo);
  }
}

// How many of a shard's classes come before the target of a row, which may be another shard's.
template <class C>
std::int64_t rank_below(const Job& job, const C* z, std::int64_t ld, std::int64_t row) {
  const C t = transformed<C>(job, job.target_score[row]);
  std::int64_t y;
  load_indices(job.index, job.index_dtype, row, 1, &y);
  const bool own = y >= 0 && y < job.classes;
  y = y < 0 ? 0 : least(y, job.classes);  // of equal scores the classes below y come first
  const std::int64_t before =
      ld == 1 ? RowPasses<C>::rank(job, z, job.classes, t, y) : LanePasses<C>::rank(z, ld, job.classes, t, y);
  return before - (own && z[y * ld] > t);  // computed in another way, it may seem above itself
}

// Per-row results that look at single scores again.
template <class C, class P>
void look_again(const Job& job, const State<C>& st, std::int64_t row, int rows, P&& scores, std::int64_t ld) {
  const RowResults& o = job.rows_out;
  if (!o.argmax && !o.rank && !job.top.k) return;
  for (int i = 0; i < rows; ++i) {
    const C* z = scores(i);
    if (o.argmax)
      o.argmax[row + i] = ld == 1 ? RowPasses<C>::argmax(job, z, job.classes, st.peak[i])
                                  : LanePasses<C>::argmax(z, ld, job.classes, st.peak[i]);
    if (o.rank && job.target_score)
      o.rank[row + i] = rank_below<C>(job, z, ld, row + i);
    else if (o.rank)
      o.rank[row + i] = st.y[i] < 0 || st.peak[i] != st.peak[i] ? -1
                        : ld == 1 ? RowPasses<C>::rank(job, z, job.classes, z[st.y[i]], st.y[i])
                                  : LanePasses<C>::rank(z, ld, job.classes, z[st.y[i] * ld], st.y[i]);
    if (job.top.k) select_top<C>(job, z, ld, row + i, st.peak[i], st.times[i], st.times_lo[i]);
  }
}

LL_INLINE bool all_masked(const Job& job, const char* mask) {
  for (std::int64_t j = 0; j < job.classes; ++j)
    if (mask[j * job.mask.class_stride]) return false;
  return true;
}

// What a mask leaves of a row besides numbers, in st.y: 1, nothing: probability 0 everywhere, log-probability
// -inf; 2, NaN, which may not reach the masked classes.
template <class C>
void find_masked_rows(const Job& job, State<C>& st, std::int64_t row, int rows) {
  if (!job.mask.data) return;
  for (int i = 0; i < rows; ++i) st.y[i] = 0;
  char** mask = st.x_row + State<C>::most;
  locate(job, job.mask, row, rows, mask);
  for (int i = 0; i < rows; ++i)
    if (!(st.peak[i] - st.peak[i] == 0)) st.y[i] = all_masked(job, mask[i]) ? 1 : 2;
}
template <class C>
void clear_masked(const Job& job, const State<C>& st, int i, C* to, std::int64_t ld) {
  const char* mask = st.x_row[State<C>::most + i];
  for (std::int64_t j = 0; j < job.classes; ++j)
    if (!mask[j * job.mask.class_stride]) to[j * ld] = job.op == Op::softmax ? 0 : (C)-__builtin_inf();
}

// loss = -sum t log p, found in `gap` with a peak of 0.
template <class C>
void finish_pick(const Job& job, State<C>& st, int rows) {
  if (job.target == Target::index) {
    index_mass_and_gap(job, st, rows);  // has the weights in it already
    for (int i = 0; i < rows; ++i) st.loss[i] = st.weight[i] != 0 ? st.gap[i] : 0;
  } else {
    for (int i = 0; i < rows; ++i) st.loss[i] = st.weight[i] != 0 ? st.weight[i] * st.gap[i] : 0;
  }
}

// The numbers that the write pass multiplies with, after the passes over the scores.
template <class C>
void finish(const Job& job, State<C>& st, std::int64_t row, int rows) {
  switch (job.op) {
    case Op::softmax:
      finish_rest<C, false>(st, rows);
      find_masked_rows(job, st, row, rows);
      break;
    case Op::log_softmax:
      finish_rest<C, true>(st, rows);
      for (int i = 0; i < rows; ++i) st.log1p[i] += st.peak[i] - st.peak[i];  // an infinite peak: NaN
      find_masked_rows(job, st, row, rows);
      break;
    case Op::stats:
    case Op::grad:
      finish_rest<C, true>(st, rows);
      if (job.target == Target::index)
        index_mass_and_gap(job, st, rows);
      else if (job.target == Target::dense)
        for (int i = 0; i < rows; ++i) {
          st.mass[i] = st.weight[i] == 0 ? 0 : st.mass[i] * st.weight[i];
          st.gap[i] = st.weight[i] == 0 ? 0 : st.gap[i] * st.weight[i];
        }
      else
        break;
      if (job.known.mass)
        for (int i = 0; i < rows; ++i) {
          st.mass[i] = (C)job.known.mass[row + i];
          st.tilt[i] = job.known.tilt ? (C)job.known.tilt[row + i] : 0;
        }
      finish_loss(job, st, rows);
      if (job.op == Op::grad) finish_grad(job, st, rows);
      break;
    default: break;
  }
}

// Whole rows that lie side by side leave through a Drain, where two blocks of them fit the cache.
template <class C>
bool drains(const Job& job) {
  const int size = size_of(job.out.dtype);
  const std::int64_t fits = is_backward(job.op) ? 2 << 10 : 256 << 10;
  return !job.lanes && job.streaming && !job.known.rest && job.axes <= 1 && job.out.class_stride == size &&
         job.out.stride[0] == job.classes * size && writes_matrix(job.op) &&
         job.classes * (std::int64_t)sizeof(C) <= fits;
}
// The same for rows of a few classes, if neither they nor the scores pass through scratch for another reason.
template <class C>
bool drains_lanes(const Job& job) {
  return job.lanes && job.streaming && job.axes == 1 && job.x.dtype == dtype_of<C> && !has_second(job) &&
         job.x.class_stride == (std::int64_t)sizeof(C) && job.out.class_stride == (std::int64_t)sizeof(C) &&
         job.out.stride[0] == job.classes * (std::int64_t)sizeof(C);
}

#include "lane_block.hpp"
//
#include "few.hpp"
//
#include "pick.hpp"
#include "row_block.hpp"

// The scores are used where the caller has them.
template <class C>
bool reads_in_place(const Job& job) {
  return !job.lanes && job.x.class_stride == (std::int64_t)sizeof(C) && job.x.dtype == dtype_of<C> &&
         job.x.aligned && !has_transform(job);
}

// The same for the second operand.
template <class C>
bool copies_second(const Job& job) {
  return has_second(job) && (job.lanes || second_of(job).class_stride != (std::int64_t)sizeof(C) ||
                             second_of(job).dtype != dtype_of<C> || !second_of(job).aligned);
}

// Scratch for a block: rows of whole vectors.
template <class C>
std::int64_t tile_bytes(const Job& job) {
  return round_up(round_up(job.classes, Simd<C>::W) * job.block * (std::int64_t)sizeof(C), 64) + 64;
}

template <class C>
void plan_as(Job& job) {
  constexpr int W = Simd<C>::W;
  const int size = size_of(job.x.dtype);
  const std::int64_t V = job.classes, bytes = V * (std::int64_t)sizeof(C);
  const bool beside = job.x.class_stride == size || V == 1;
  const bool across = job.axes > 0 && job.x.stride[job.axes - 1] == size;
  const std::int64_t out_bytes = writes_matrix(job.op) ? job.rows * V * size_of(job.out.dtype) : 0;
  // The ends of short rows share cache lines: written one by one, as known rows are, they do not stream well.
  job.streaming = out_bytes > (std::int64_t)4 << 20 && !(job.known.rest && bytes < 4096);
  job.lanes = (V <= 64 || (!beside && across)) && !job.known.tilt;
  if (picks_one(job)) {
    job.lanes = true, job.block = 256;
    job.arena = State<C>::bytes() + 64;
    return;
  }
  std::int64_t tiles = 1 + has_second(job) + (job.softcap != 0 && job.op == Op::grad);
  if (job.lanes) {
    // adjacent rows: segments as long as the cache allows; transposed rows: four vectors of them
    const std::int64_t want = beside ? 4 * W : (16 << 10) / bytes / tiles / W * W;
    job.block = most(beside ? W : bytes * 64 <= (512 << 10) ? 64 : W, least(want, State<C>::most));
    job.block = least(job.block, round_up(job.rows, W));
    tiles += 1;  // rows on their way through the transposition
    job.arena = State<C>::bytes() + tiles * tile_bytes<C>(job) + 512 + bytes * 2 * W;
  } else {
    job.block = most(1, least(least(W, job.rows), (128 << 10) / bytes));
    tiles += (writes_matrix(job.op) ? 1 : 0) + (drains<C>(job) ? 1 : 0);
    tiles -= (reads_in_place<C>(job) ? 1 : 0) + (has_second(job) && !copies_second<C>(job) ? 1 : 0);
    job.arena = State<C>::bytes() + tiles * tile_bytes<C>(job) + 512;
  }
}

template <class C>
void run_as(const Job& job, std::int64_t begin, std::int64_t end, char* arena) {
  State<C> st;
  Buffers<C> buf;
  char* p = align64(st.place(align64(arena)));
  if (picks_one(job)) {
    for (std::int64_t row = begin; row < end; row += job.block) {
      const int n = (int)least(job.block, end - row);
      pick_block(job, st, row, n);
      if (job.op == Op::pick) put_rows(job, st, row, n);
    }
    return;
  }
  const std::int64_t tile = tile_bytes<C>(job);
  auto take = [&](bool wanted) {
    C* at = (C*)p;
    if (wanted) p += tile;
    return wanted ? at : nullptr;
  };
  buf.z = take(!reads_in_place<C>(job));
  buf.q = take(copies_second<C>(job));
  buf.slope = take(job.softcap != 0 && job.op == Op::grad);
  buf.e = job.lanes ? buf.z : take(writes_matrix(job.op));
  buf.spare = take(drains<C>(job));
  buf.rows = (C*)p;
  if (!job.lanes)
    for (int i = 0; i < 4 * Simd<C>::W * Simd<C>::W; ++i) st.lanes[i] = 0;
  const bool few = has_few<C>(job);
  for (std::int64_t row = begin; row < end; row += job.block) {
    const int n = (int)least(job.block, end - row);
    take_targets(job, st, row, n);
    if (few) {
      few_block(job, st, buf, row, n);
      continue;
    }
    if (job.lanes)
      lane_block(job, st, buf, row, n);
    else
      row_block(job, st, buf, row, n);
    if (!writes_matrix(job.op) || job.op == Op::grad) put_rows(job, st, row, n);
  }
  buf.drain.all();
  Simd<C>::fence();
}

#if defined(LASTLAYER_CHECKED)
// Memory that is accessed as objects of its type is aligned.
inline bool is_aligned(const void* p, std::size_t size) { return (std::uintptr_t)p % size == 0; }
inline bool keeps_alignment(const Job& job, const Operand& a) {
  if (!a.data) return true;  // not given
  const int size = size_of(a.dtype);
  bool kept = is_aligned(a.data, (std::size_t)size) && (job.classes == 1 || a.class_stride % size == 0);
  for (int d = 0; d < job.axes; ++d) kept = kept && a.stride[d] % size == 0;
  return kept || !a.aligned;
}
inline void check_alignment(const Job& job, const char* arena) {
  const RowResults& o = job.rows_out;
  const Operand* const operands[] = {&job.x, &job.out, &job.dense, &job.dy, &job.mask};
  const void* const wide[] = {
      job.sample_weight, job.known.rest, job.known.mass, job.known.tilt, job.target_score,
      job.top.least,     o.rest,         o.gap,          o.mass,         o.spread,
      o.square,          o.argmax,       o.rank,         job.top.label};
  const void* const results[] = {o.loss, o.lse, o.confidence, job.top.probability};
  const void* const computing[] = {job.class_weight, job.known.peak};
  LL_ASSERT(is_aligned(arena, 64));
  for (const Operand* a : operands) LL_ASSERT(keeps_alignment(job, *a));
  for (const void* p : wide) LL_ASSERT(is_aligned(p, 8));
  for (const void* p : results) LL_ASSERT(is_aligned(p, o.wide ? 8 : 4));
  LL_ASSERT(is_aligned(o.peak, o.wide_peak ? 8 : 4));
  for (const void* p : computing) LL_ASSERT(is_aligned(p, job.in_double ? 8 : 4));
}
#endif

inline void plan(Job& job) { job.in_double ? plan_as<double>(job) : plan_as<float>(job); }
inline void run(const Job& job, std::int64_t begin, std::int64_t end, char* arena) {
#if defined(LASTLAYER_CHECKED)
  check_alignment(job, arena);
#endif
  job.in_double ? run_as<double>(job, begin, end, arena) : run_as<float>(job, begin, end, arena);
}

template <class C>
void exp_alone(const C* x, C* y, std::int64_t n) {
  using S = Simd<C>;
  const ExpAt<C> k = ExpAt<C>::make(S::set1(0));
  for (std::int64_t j = 0; j < n; j += S::W) {
    const int m = (int)least(S::W, n - j);
    S::storen(y + j, exp_of<C>(k, S::loadn(x + j, m, 0)) * S::set1(Constant<C>::unbias), m);
  }
}
template <class C>
void log1p_alone(const C* x, C* y, std::int64_t n) {
  using S = Simd<C>;
  for (std::int64_t j = 0; j < n; j += S::W) {
    const int m = (int)least(S::W, n - j);
    typename S::V hi, lo;
    log1p_pair<C>(S::loadn(x + j, m, 0), S::set1(0), hi, lo);
    S::storen(y + j, hi + lo, m);
  }
}
