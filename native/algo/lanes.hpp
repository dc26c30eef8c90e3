// Vectors run across rows: for a few classes, and where the class axis is not the last.
//
// A block is a tile[class][row] in scratch, small enough for the first-level cache where the classes are few;
// all reductions over classes are then plain loops, one row a lane, and nothing is ever folded across lanes.
// Traffic a score: one read from memory, one write; rows with adjacent classes are transposed on the way.

// What the next block reads, a cache line for each vector of this one.
struct Ahead {
  const char* from = nullptr;
  std::int64_t row = 0, line = 0;  // bytes from one row, and from one class's line to the next
  LL_INLINE Ahead at(int i) const { return {from + i * row, row, line}; }
  LL_INLINE void ask(std::int64_t j) const {
    __builtin_prefetch((const void*)((std::uintptr_t)from + (std::uintptr_t)(j * line)), 0, 2);
  }
};

template <class C>
struct LanePasses {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int W = S::W;

  // The peaks of W rows.
  static LL_INLINE V peak(const C* t, std::int64_t ld, std::int64_t n) {
    V a = S::set1((C)-__builtin_inf());
    for (std::int64_t j = 0; j < n; ++j) a = S::max(S::load(t + j * ld), a);
    return a;
  }

  // Sums the exponentials of W rows (lanes `i`...) and leaves them in the tile if WANT_E.
  // Meanwhile lets earlier results drain.
  template <Take TAKE, bool WANT_E>
  static LL_INLINE void sum_exp(const Job& job, State<C>& st, int i, C* t, std::int64_t ld, std::int64_t n,
                                Ahead ahead, Drain<C>& drain) {
    const ExpAt<C> k = ExpAt<C>::load(st.at + i, State<C>::pitch);
    if (k.far())
      sum_exp_as<TAKE, WANT_E, true, true>(job, st, i, k, t, ld, n, ahead, drain);
    else if (n <= 16)
      sum_exp_as<TAKE, WANT_E, false, true>(job, st, i, k, t, ld, n, ahead, drain);
    else
      sum_exp_as<TAKE, WANT_E, false, false>(job, st, i, k, t, ld, n, ahead, drain);
  }
  template <Take TAKE, bool WANT_E, bool FAR, bool FINE>
  static LL_INLINE void sum_exp_as(const Job& job, State<C>& st, int i, const ExpAt<C>& k, C* t,
                                   std::int64_t ld, std::int64_t n, Ahead ahead, Drain<C>& drain) {
    const V top = S::load(st.peak + i);
    using Sums = Fold<C, TAKE, true, true, FINE>;
    Sums sums;
    const auto sum = [&](Sums& f, std::int64_t j, std::int64_t length) LL_INLINE_LAMBDA {
      const std::int64_t end = j + length;
      while (j < end) {
        const std::int64_t stop = end - j < f.block ? end : j + f.block;
        for (; j < stop; ++j) {
          V e = f.template step<WANT_E, FAR>(k, top, S::load(t + j * ld));
          ahead.ask(j);
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
      fold_stretches<lane_stretch>(job, n, sums, sum);
    S::store(st.hi + i, sums.total.hi), S::store(st.lo + i, sums.total.lo);
    S::store(st.count + i, sums.count);
    if constexpr (TAKE == Take::moments) {
      S::store(st.spread + i, sums.spreads.value());
      S::store(st.square + i, sums.squares.value());
    }
  }

  // sum t and sum t (peak - z) for t = w (on q + off), or t = w where q is absent, the latter times
  // gap_scale.
  static LL_INLINE void gaps(const Job& job, State<C>& st, int i, const C* t, const C* q, std::int64_t ld,
                             std::int64_t n) {
    const C* w = (const C*)job.class_weight;
    const C scale = gap_scale<C>(job);
    const V top = S::load(st.peak + i);
    const DenseShare<C> share(job);
    const V minus = S::set1(-scale), top_scaled = top * S::set1(scale);
    GapFold<C> sums;
    fold_stretches<lane_stretch>(job, n, sums,
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

  // As in RowPasses, one row at a time: these are asked for seldom.
  static std::int64_t argmax(const C* t, std::int64_t ld, std::int64_t n, C peak) {
    for (std::int64_t j = 0; j < n; ++j)
      if (t[j * ld] == peak) return j;
    return -1;
  }
  static std::int64_t rank(const C* t, std::int64_t ld, std::int64_t n, C threshold, std::int64_t y) {
    std::int64_t r = 0;
    for (std::int64_t j = 0; j < n; ++j) r += t[j * ld] > threshold || (j < y && t[j * ld] == threshold);
    return r;
  }
};
