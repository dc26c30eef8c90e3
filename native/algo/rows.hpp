// The passes of rows whose classes lie side by side: vectors run along the classes. In: rows of scores in the
// computing type. Out: extremes, sums, argmax and rank of each row; vectors of results written to it.
//
// A block is up to W rows that stay in cache together. Each pass goes over all rows of the block before the
// next pass starts, so that the latency of one row's reduction overlaps with the next row's work; lanes are
// folded for W rows at once by a transposition. Traffic a score: one read from memory, one write (past the
// cache where the result is large); the exponentials are kept in scratch.

// The rows of a block as the sums read them.
template <class C>
struct RowsToSum {
  int rows;
  std::int64_t n;     // classes
  const C* const* z;  // each row's scores; null: the row is skipped
  C* e;               // where the exponentials go, in rows of whole vectors; null: not wanted
  char* const* next;  // each row's counterpart in the next block, to be prefetched,
  int size;           // and the bytes between its classes
};

// What the first pass over a row found of its target's rank and of its argmax.
struct Standing {
  std::int64_t rank = -1;  // -1: not known
  std::int64_t first = 0;  // no class before it is the argmax
};

template <class C>
struct RowPasses {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int W = S::W;

  static LL_INLINE C lowest() { return (C)-__builtin_inf(); }

  // Vectors whose lanes' extremes are the row's, NaN left aside.
  struct Extremes {
    V high, low;
    LL_INLINE void take(V a, V b) { high = S::max(a, high), low = S::min(b, low); }
  };
  static LL_INLINE Extremes none() { return {S::set1(lowest()), S::set1(-lowest())}; }
  static Extremes extremes(const C* z, std::int64_t n) {
    Extremes a = none(), b = a;
    std::int64_t j = 0;
    for (; j + 2 * W <= n; j += 2 * W) {
      const V u = S::load(z + j), v = S::load(z + j + W);
      a.take(u, u), b.take(v, v);
    }
    if (j + W <= n) {
      const V u = S::load(z + j);
      a.take(u, u), j += W;
    }
    if (j < n) b.take(S::loadn(z + j, (int)(n - j), lowest()), S::loadn(z + j, (int)(n - j), -lowest()));
    a.take(b.high, b.low);
    return a;
  }

  // The same, and how many classes beat one of score `t`. The row is read from memory here, and later from
  // the cache at best, so it is looked at as a whole.
  static Extremes extremes_and_standing(const C* z, std::int64_t n, C threshold, Standing& found) {
    const V t = S::set1(threshold);
    Extremes all = none();
    V piece_of_high = S::set1(0);
    std::int64_t above = 0, least_above = 0;  // scores above t, and those and equal ones
    const auto look = [&](Extremes& e, V v, V low) LL_INLINE_LAMBDA {
      e.take(v, low);
      above += __builtin_popcount(S::bits(S::lt(t, v)));
      least_above += __builtin_popcount(S::bits(S::lt(t, v)) | S::bits(S::eq(t, v)));
    };
    for (std::int64_t j = 0, end; j < n; j = end) {
      end = least(n, j + a_piece);
      Extremes a = none(), b = a;
      const std::int64_t from = j;
      for (; j + 2 * W <= end; j += 2 * W) {
        const V u = S::load(z + j), v = S::load(z + j + W);
        look(a, u, u), look(b, v, v);
      }
      if (j + W <= end) {
        const V u = S::load(z + j);
        look(a, u, u), j += W;
      }
      if (j < end)
        look(b, S::loadn(z + j, (int)(end - j), lowest()), S::loadn(z + j, (int)(end - j), -lowest()));
      a.take(b.high, b.low);
      if (from > 0)
        piece_of_high = S::blend(S::lt(all.high, a.high), S::set1((C)(from / a_piece)), piece_of_high);
      all.take(a.high, a.low);
    }
    // an equal score, and a threshold of -inf, which the filled lanes have, are left to a pass of their own
    found.rank = least_above - above == 1 && threshold > lowest() ? above : -1;
    if (n > a_piece) found.first = first_piece(all.high, piece_of_high) * a_piece;
    return all;
  }
  // The same of a short row. How many scores are above the threshold, and `equal_ones` times how many equal
  // it, is left in the lanes of `counts`.
  static Extremes extremes_and_counts(const C* z, std::int64_t n, C threshold, C* counts) {
    const V t = S::set1(threshold), one = S::set1(1), many = S::set1(equal_ones);
    Extremes a = none(), b = a;
    V first = S::set1(0), second = first;
    const auto look = [&](Extremes& e, V& sum, V v, V low) LL_INLINE_LAMBDA {
      e.take(v, low);
      sum = S::add_where(sum, S::lt(t, v), one);
      sum = S::add_where(sum, S::eq(t, v), many);
    };
    std::int64_t j = 0;
    for (; j + 2 * W <= n; j += 2 * W) {
      const V u = S::load(z + j), v = S::load(z + j + W);
      look(a, first, u, u), look(b, second, v, v);
    }
    if (j + W <= n) {
      const V u = S::load(z + j);
      look(a, first, u, u), j += W;
    }
    if (j < n)
      look(b, second, S::loadn(z + j, (int)(n - j), lowest()), S::loadn(z + j, (int)(n - j), -lowest()));
    S::store(counts, first + second);
    a.take(b.high, b.low);
    return a;
  }
  static constexpr C equal_ones = 4096;  // more than a short row has classes
  static std::int64_t rank_of(C counts, C threshold) {
    const auto all = (std::int64_t)counts, equal = all / (std::int64_t)equal_ones;
    return equal == 1 && threshold > lowest() ? all - (std::int64_t)equal_ones : -1;
  }
  static constexpr std::int64_t a_piece = 2048;  // classes, in the nearest cache; at most 2^24 pieces
  // The first piece with the peak, from that in which each lane has its own.
  static std::int64_t first_piece(V high, V piece_of_high) {
    C peaks[W], pieces[W], peak = lowest();
    S::store(peaks, high), S::store(pieces, piece_of_high);
    for (int l = 0; l < W; ++l) peak = peaks[l] > peak ? peaks[l] : peak;
    std::int64_t found = INT64_MAX;
    for (int l = 0; l < W; ++l)
      if (peaks[l] == peak) found = least(found, (std::int64_t)pieces[l]);
    return found;
  }

  // Lane i of the result: the fold over the lanes of the i-th stored vector.
  static V fold_max(const C* at) {
    return fold_lanes<C>(at, [](V a, V b) LL_INLINE_LAMBDA { return S::max(a, b); });
  }
  static V fold_min(const C* at) {
    return fold_lanes<C>(at, [](V a, V b) LL_INLINE_LAMBDA { return S::min(a, b); });
  }
  static V fold_sum(const C* at) {
    return fold_lanes<C>(at, [](V a, V b) LL_INLINE_LAMBDA { return a + b; });
  }
  static Pair<C> fold_pairs(const C* hi, const C* lo) {
    V lost = S::set1(0);
    V r[W], q[W];
    for (int i = 0; i < W; ++i) r[i] = S::load(hi + i * W), q[i] = S::load(lo + i * W);
    for (int n = W / 2; n > 0; n /= 2)
      for (int i = 0; i < n; ++i) {
        V a, b;
        interleave<C>(q[i], q[i + n], a, b, std::make_integer_sequence<int, W>{});
        q[i] = a + b;
        interleave<C>(r[i], r[i + n], a, b, std::make_integer_sequence<int, W>{});
        two_sum(a, b, r[i], lost);
        q[i] = q[i] + lost;
      }
    return {r[0], q[0]};
  }

  // Sums the exponentials of each row into the matrices st.lanes, and stores them in in.e if WANT_E.
  // Meanwhile prefetches the next block and lets earlier results drain.
  template <Take TAKE, bool WANT_E>
  static void sum_exp(Stop* stop, State<C>& st, const RowsToSum<C>& in, Drain<C>& drain) {
    bool far = false, all = true;
    for (int i = 0; i < in.rows; ++i) {
      if (!in.z[i]) continue;
      far |= st.at[2 * State<C>::pitch + i] != 0;
      all &= st.low[i] >= st.at[State<C>::pitch + i];
    }
    auto pass = [&](auto is_far, auto is_all) {
      constexpr bool FAR = decltype(is_far)::value, ALL = decltype(is_all)::value;
      if (in.n > stretch<C>)
        sum_exp_as<TAKE, WANT_E, FAR, ALL, true>(stop, st, in, drain);
      else
        sum_exp_as<TAKE, WANT_E, FAR, ALL, false>(stop, st, in, drain);
    };
    if (far)
      pass(std::true_type(), std::false_type());
    else if (all)
      pass(std::false_type(), std::true_type());
    else
      pass(std::false_type(), std::false_type());
  }
  // A row, or a stretch of one.
  struct Part {
    const C* z;
    std::int64_t n;
    C* e;                 // or null
    std::uintptr_t next;  // to be prefetched, `size` bytes a class
    int size;
  };
  template <class F, bool WANT_E, bool FAR, bool ALL>
  static LL_INLINE void sum_exp_of(F& f, const ExpAt<C>& k, V top, const Part& part, Drain<C>& drain) {
    const C* const z = part.z;
    C* const to = part.e;
    const std::uintptr_t soon = part.next;
    const int size = part.size;
    each_vector<C>(
        part.n,
        [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
          __builtin_prefetch((const void*)(soon + (std::uintptr_t)(j * size)), 0, 2);
          V v;
          if (ALL && m == W)
            v = f.template step<WANT_E, FAR, ALL>(k, top, S::load(z + j));
          else
            v = f.template step<WANT_E, FAR, false>(k, top, S::loadn(z + j, m, lowest()));
          if constexpr (WANT_E) S::storen(to + j, v, m);
        },
        [&]() LL_INLINE_LAMBDA {
          f.flush();
          drain.some();
        });
    f.close();
  }
  template <Take TAKE, bool WANT_E, bool FAR, bool ALL, bool LONG>
  static void sum_exp_as(Stop* stop, State<C>& st, const RowsToSum<C>& in, Drain<C>& outer) {
    using F = Fold<C, TAKE, false, !WANT_E>;
    const std::int64_t n = in.n;
    const int size = in.size;
    Drain<C> drain = outer;  // in registers
    for (int i = 0; i < in.rows; ++i) {
      const C* z = in.z[i];
      C* const to = WANT_E ? in.e + i * round_up(n, W) : nullptr;
      const std::uintptr_t soon = (std::uintptr_t)in.next[i];
      if (!z) continue;
      const ExpAt<C> k = ExpAt<C>::broadcast(st.at + i, State<C>::pitch);
      const V top = S::set1(st.peak[i]);
      F sums;
      if constexpr (LONG)
        fold_stretches<stretch<C>>(stop, n, sums, [&](F& f, std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
          const Part part{z + j, m, WANT_E ? to + j : nullptr, soon + (std::uintptr_t)(j * size), size};
          sum_exp_of<F, WANT_E, FAR, ALL>(f, k, top, part, drain);
        });
      else
        sum_exp_of<F, WANT_E, FAR, ALL>(sums, k, top, Part{z, n, to, soon, size}, drain);
      C* at = st.lanes + i * W;
      S::store(at, sums.total.hi), S::store(at + W * W, sums.total.lo);
      st.count[i] = (C)sums.ties;
      if constexpr (TAKE != Take::rest) {
        S::store(at + 2 * W * W, sums.spreads.value());
        S::store(at + 3 * W * W, sums.squares.value());
      }
      if constexpr (TAKE == Take::second) S::store(at + 4 * W * W, sums.moments.value());
    }
    outer = drain;
  }
  template <Take TAKE>
  static void fold_sums(State<C>& st) {
    Pair<C> sum = fold_pairs(st.lanes, st.lanes + W * W);
    S::store(st.hi, sum.hi), S::store(st.lo, sum.lo);
    if constexpr (TAKE != Take::rest) {
      S::store(st.spread, fold_sum(st.lanes + 2 * W * W));
      S::store(st.square, fold_sum(st.lanes + 3 * W * W));
    }
    if constexpr (TAKE == Take::second) S::store(st.moment, fold_sum(st.lanes + 4 * W * W));
  }

  // mass = sum t and gap = sum t (peak - z) of row i, for t = w (on q + off); or t = w where q is null, and
  // then the gap is taken times gap_scale.
  template <bool LONG>
  static void gaps(const Job& job, Stop* stop, State<C>& st, int i, const C* z, const C* q) {
    const std::int64_t n = job.shape.classes;
    const C *const w = (const C*)job.target.class_weight, peak = st.peak[i];
    const C scale = gap_scale<C>(job.op);
    const V top = S::set1(peak);
    const DenseShare<C> share(job.target);
    const V top_scaled = S::set1(peak * scale), minus = S::set1(-scale);
    GapFold<C> sums;
    const auto sum = [&](GapFold<C>& f, std::int64_t from, std::int64_t length) LL_INLINE_LAMBDA {
      const C *zs = z + from, *ws = w + from, *qs = q ? q + from : nullptr;
      each_vector<C>(
          length,
          [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
            V t = S::loadn(ws + j, m, 0);
            if (qs) t = share(t, S::loadn(qs + j, m, 0));
            const V v = S::loadn(zs + j, m, 0);
            f.step(t, S::fma(v, minus, top_scaled), S::neq(v, top));
          },
          [&]() LL_INLINE_LAMBDA { f.flush(); });
    };
    if constexpr (LONG)
      fold_stretches<stretch<C>>(stop, n, sums, sum);
    else
      sum(sums, 0, n);
    C a[W], b[W], mass = 0, gap = 0;
    S::store(a, sums.mass.value()), S::store(b, sums.gap.value());
    for (int l = 0; l < W; ++l) mass += a[l], gap += b[l];
    st.mass[i] = mass, st.gap[i] = q ? gap / scale : gap;
  }

  // Of short rows, without branches that depend on the scores: a mispredicted one costs as much as the row.
  static constexpr std::int64_t a_short_row = 64 * W;
  // Of these even the branch on whether the target is the argmax costs more than to find it.
  static constexpr std::int64_t a_very_short_row = 8 * W;
  static LL_INLINE std::int64_t argmax_of_short(const C* z, std::int64_t n, V top) {
    std::int64_t found = -1;
    for (std::int64_t from = (n - 1) / 64 * 64; from >= 0; from -= 64) {
      const std::int64_t m = least((std::int64_t)64, n - from);
      std::uint64_t hits = 0;
      std::int64_t j = 0;
      for (; j + W <= m; j += W) hits |= (std::uint64_t)S::bits(S::eq(S::load(z + from + j), top)) << j;
      if (j < m) {
        const V last = S::loadn(z + from + j, (int)(m - j), (C)__builtin_nan(""));
        hits |= (std::uint64_t)S::bits(S::eq(last, top)) << j;
      }
      const std::int64_t here = from + __builtin_ctzll(hits | 1ull << 63),
                         is_here = -(std::int64_t)(hits != 0);
      found ^= (found ^ here) & is_here;
    }
    return found;
  }
  static std::int64_t rank_in_short(const C* z, std::int64_t n, V t, std::int64_t y) {
    std::int64_t r = 0, j = 0;
    const auto count = [&](V v) LL_INLINE_LAMBDA {
      const std::int64_t before = most((std::int64_t)0, least((std::int64_t)W, y - j));
      const unsigned below = (1u << before) - 1u;
      r += __builtin_popcount(S::bits(S::lt(t, v)) | (S::bits(S::eq(t, v)) & below));
    };
    for (; j + W <= n; j += W) count(S::load(z + j));
    if (j < n) count(S::loadn(z + j, (int)(n - j), (C)__builtin_nan("")));
    return r;
  }
  // Lowest class whose score is the row's peak; -1 in a row with a NaN.
  static std::int64_t argmax(Stop* stop, const C* z, std::int64_t n, C peak) {
    if (n <= stretch<C>) return argmax(z, n, peak);
    std::int64_t found = -1;
    each_stretch<C>(stop, n, [&](std::int64_t from, std::int64_t length) {
      if (found < 0 && (found = argmax(z + from, length, peak)) >= 0) found += from;
    });
    return found;
  }
  static std::int64_t argmax(const C* z, std::int64_t n, C peak) {
    const V top = S::set1(peak);
    if (peak != peak) return -1;
    if (n <= a_short_row) return argmax_of_short(z, n, top);
    std::int64_t j = 0;
    for (; j + 4 * W <= n; j += 4 * W) {
      unsigned hit[4];
      for (int i = 0; i < 4; ++i) hit[i] = S::bits(S::eq(S::load(z + j + i * W), top));
      if (!(hit[0] | hit[1] | hit[2] | hit[3])) continue;
      for (int i = 0; i < 4; ++i)
        if (hit[i]) return j + i * W + __builtin_ctz(hit[i]);
    }
    for (; j < n; j += W) {
      const unsigned hit =
          S::bits(S::eq(S::loadn(z + j, n - j < W ? (int)(n - j) : W, (C)__builtin_nan("")), top));
      if (hit) return j + __builtin_ctz(hit);
    }
    return -1;
  }
  // Scores above the threshold, or EQUAL to it.
  template <bool EQUAL>
  static LL_INLINE std::int64_t beating(const C* z, std::int64_t n, C threshold) {
    const V t = S::set1(threshold);
    const auto count = [&](V v) LL_INLINE_LAMBDA {
      const unsigned above = S::bits(S::lt(t, v));
      return (std::int64_t)__builtin_popcount(EQUAL ? above | S::bits(S::eq(t, v)) : above);
    };
    std::int64_t r = 0, j = 0;
    for (; j + 4 * W <= n; j += 4 * W)
      for (int i = 0; i < 4; ++i) r += count(S::load(z + j + i * W));
    for (; j + W <= n; j += W) r += count(S::load(z + j));
    return j < n ? r + count(S::loadn(z + j, (int)(n - j), (C)__builtin_nan(""))) : r;
  }
  // Classes that beat the target: a higher score, or the same score at a lower index.
  static std::int64_t rank(Stop* stop, const C* z, std::int64_t n, C threshold, std::int64_t y) {
    if (n <= stretch<C>) return rank(z, n, threshold, y);
    std::int64_t r = 0;
    each_stretch<C>(stop, n, [&](std::int64_t from, std::int64_t length) {
      r += rank(z + from, length, threshold, y - from);
    });
    return r;
  }
  static std::int64_t rank(const C* z, std::int64_t n, C threshold, std::int64_t y) {
    if (n <= a_short_row) return rank_in_short(z, n, S::set1(threshold), y);
    const std::int64_t before = y < 0 ? 0 : least(y, n);
    return beating<true>(z, before, threshold) + beating<false>(z + before, n - before, threshold);
  }

  // to[j..j+m) = f(j, m) for every vector, past the cache if `streaming`; then to[at] = value where at >= 0.
  template <class F>
  static LL_INLINE void write(C* to, std::int64_t n, bool streaming, std::int64_t at, C value, F&& f) {
    std::int64_t j = 0;
    if (streaming) {
      const std::int64_t head = (std::int64_t)(-((std::uintptr_t)to / sizeof(C)) & (W - 1));
      if (head > 0 && head <= n) S::storen(to, f(j, (int)head), (int)head), j = head;
      const std::int64_t whole = j + (n - j) / W * W;
      if (head <= n && at >= j && at < whole) {  // a vector with the target in it goes out whole
        const std::int64_t with = j + (at - j) / W * W;
        for (; j < with; j += W) S::stream(to + j, f(j, W));
        C one[W];
        S::store(one, f(j, W));
        one[at - j] = value;
        S::stream(to + j, S::load(one));
        j += W, at = -1;
      }
      if (head <= n)
        for (; j < whole; j += W) S::stream(to + j, f(j, W));
    }
    for (; j + W <= n; j += W) S::store(to + j, f(j, W));
    if (j < n) S::storen(to + j, f(j, (int)(n - j)), (int)(n - j));
    if (at >= 0) to[at] = value;
  }
};
