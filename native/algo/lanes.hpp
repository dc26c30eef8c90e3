// The passes of rows as columns: vectors run across rows, one row a lane. For few classes, and where the
// class axis is not the last. In: a block of scores in the computing type, class by class. Out: peaks, sums,
// argmax and rank of each row.
//
// A block is small enough for the first-level cache where the classes are few; all reductions over classes
// are loops over vectors, and lanes are never folded. Traffic a score: one read from memory, one write; rows
// with adjacent classes are transposed on the way.

// Rows as columns: class j of the first row at at[j * ld], of the next rows beside it.
template <class T>
struct Columns {
  T* at;
  std::int64_t ld, n;
};

// What the next block reads: a cache line for each vector of this one.
struct Ahead {
  const char* from = nullptr;
  std::int64_t row = 0, line = 0;  // bytes from one row, and from one class's line to the next
  LL_INLINE Ahead at(int i) const { return {from + i * row, row, line}; }
  LL_INLINE void fetch(std::int64_t j) const {
    __builtin_prefetch((const void*)((std::uintptr_t)from + (std::uintptr_t)(j * line)), 0, 2);
  }
};

template <class C>
struct LanePasses {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int W = S::W;

  // The peaks of W rows.
  static LL_INLINE V peak(Columns<C> z) {
    V a = S::set1((C)-__builtin_inf());
    for (std::int64_t j = 0; j < z.n; ++j) a = S::max(S::load(z.at + j * z.ld), a);
    return a;
  }

  // Sums the exponentials of W rows (lanes `i`...), and puts them in the place of the scores if WANT_E.
  // Meanwhile prefetches the next block and lets earlier results drain.
  template <Take TAKE, bool WANT_E>
  static LL_INLINE void sum_exp(Stop* stop, State<C>& st, int i, Columns<C> z, Ahead ahead, Drain<C>& drain) {
    const ExpAt<C> k = ExpAt<C>::load(st.at + i, State<C>::pitch);
    // The number of classes alone decides how a row is summed: not the rows beside it, of which one may be
    // far.
    if (k.far() && z.n <= 16)
      sum_exp_as<TAKE, WANT_E, true, true>(stop, st, i, k, z, ahead, drain);
    else if (k.far())
      sum_exp_as<TAKE, WANT_E, true, false>(stop, st, i, k, z, ahead, drain);
    else if (z.n <= 16)
      sum_exp_as<TAKE, WANT_E, false, true>(stop, st, i, k, z, ahead, drain);
    else
      sum_exp_as<TAKE, WANT_E, false, false>(stop, st, i, k, z, ahead, drain);
  }
  template <Take TAKE, bool WANT_E, bool FAR, bool FINE>
  static LL_INLINE void sum_exp_as(Stop* stop, State<C>& st, int i, const ExpAt<C>& k, Columns<C> z,
                                   Ahead ahead, Drain<C>& drain) {
    C* const t = z.at;
    const std::int64_t ld = z.ld, n = z.n;
    const V top = S::load(st.peak + i);
    using Sums = Fold<C, TAKE, true, true, FINE>;
    Sums sums;
    const auto sum = [&](Sums& f, std::int64_t j, std::int64_t length) LL_INLINE_LAMBDA {
      const std::int64_t end = j + length;
      while (j < end) {
        const std::int64_t flush = end - j < f.block ? end : j + f.block;
        for (; j < flush; ++j) {
          V e = f.template step<WANT_E, FAR>(k, top, S::load(t + j * ld));
          ahead.fetch(j);
          if constexpr (WANT_E) S::store(t + j * ld, e);
        }
        f.flush();
        drain.some();
      }
      f.close();
    };
    if constexpr (FINE && !FAR)
      sum(sums, 0, n);  // a few classes
    else
      fold_stretches<lane_stretch>(stop, n, sums, sum);
    S::store(st.hi + i, sums.total.hi), S::store(st.lo + i, sums.total.lo);
    S::store(st.count + i, sums.count);
    if constexpr (TAKE != Take::rest) {
      S::store(st.spread + i, sums.spreads.value());
      S::store(st.square + i, sums.squares.value());
    }
    if constexpr (TAKE == Take::second) S::store(st.moment + i, sums.moments.value());
  }

  // mass = sum t and gap = sum t (peak - z) of W rows, for t = w (on q + off); or t = w where q is null, and
  // then the gap is taken times gap_scale.
  static LL_INLINE void gaps(const Job& job, Stop* stop, State<C>& st, int i, Columns<C> z, const C* q) {
    const C *const w = (const C*)job.target.class_weight, *const t = z.at;
    const std::int64_t ld = z.ld, n = z.n;
    const C scale = gap_scale<C>(job.op);
    const V top = S::load(st.peak + i);
    const DenseShare<C> share(job.target);
    const V minus = S::set1(-scale), top_scaled = top * S::set1(scale);
    GapFold<C> sums;
    fold_stretches<lane_stretch>(stop, n, sums,
                                 [&](GapFold<C>& f, std::int64_t j, std::int64_t length) LL_INLINE_LAMBDA {
                                   for (const std::int64_t end = j + length; j < end; ++j) {
                                     V x = S::set1(w[j]);
                                     if (q) x = share(x, S::load(q + j * ld));
                                     const V v = S::load(t + j * ld);
                                     f.step(x, S::fma(v, minus, top_scaled), S::neq(v, top));
                                     if (j % 16 == 15) f.flush();
                                   }
                                   f.flush();
                                 });
    S::store(st.mass + i, sums.mass.value());
    S::store(st.gap + i, q ? sums.gap.value() * S::set1(1 / scale) : sums.gap.value());
  }

  // The argmax of W rows, -1 where no score is the peak: for fewer classes than C counts exactly.
  static LL_INLINE V argmaxes(Columns<const C> z, V peak) {
    V found = S::set1(-1);
    for (std::int64_t j = z.n; j-- > 0;)
      found = S::blend(S::eq(S::load(z.at + j * z.ld), peak), S::set1((C)j), found);
    return found;
  }
  // How many classes beat class y, of score `threshold`, in W rows: for as many classes.
  static LL_INLINE V ranks(Columns<const C> z, V threshold, V y) {
    const V one = S::set1(1);
    V r = S::set1(0);
    for (std::int64_t j = 0; j < z.n; ++j) {
      const V score = S::load(z.at + j * z.ld);
      r = S::add_where(r, S::lt(threshold, score), one);
      r = S::add_where(r, S::both(S::eq(score, threshold), S::lt(S::set1((C)j), y)), one);
    }
    return r;
  }

  // As in RowPasses, one row at a time.
  static std::int64_t argmax(Columns<const C> z, C peak) {
    for (std::int64_t j = 0; j < z.n; ++j)
      if (z.at[j * z.ld] == peak) return j;
    return -1;
  }
  static std::int64_t rank(Columns<const C> z, C threshold, std::int64_t y) {
    std::int64_t r = 0;
    for (std::int64_t j = 0; j < z.n; ++j) {
      const C score = z.at[j * z.ld];
      r += score > threshold || (j < y && score == threshold);
    }
    return r;
  }
};
