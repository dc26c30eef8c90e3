// Sums over the classes of a row. In: the scores, one vector at a time. Out: the sums, as unevaluated pairs.
//
//   rest     sum of exp(z) 2^-np over the classes but those at the peak. Lanes that equal the peak are
//   counted
//            instead: their exponential is exactly E, so a small rest keeps all its digits (docs/design.md)
//   moments  the same, and sum exp * (peak - z) and sum exp^2, for the entropy and the sum of p^2
//   second   the same, and sum exp * (peak - z)^2, for the variance of z
//
// Sums run in blocks of a few vectors, and the blocks' sums are added as pairs (hi, lo). The low half of a
// pair grows with the number of blocks, and so do the roundings in it: after K additions the pair is off by
// up to K^2 u^2 (u = 2^-24 or 2^-53). So long rows are summed in stretches of K <= 2^11 blocks, and the
// stretches' pairs are added with their low halves carried over: K u^2 each time. Together that is below u/4
// for 2^31 classes: the error does not grow with V. All exponentials carry the factor 2^BIAS of math.hpp; the
// squares carry its square.

enum class Take { rest, moments, second };

// Classes a stretch: where vectors run along the classes, in blocks of 8, and across rows.
template <class C>
constexpr std::int64_t stretch = (std::int64_t)8 * Simd<C>::W << 11;
constexpr std::int64_t lane_stretch = 1 << 11;

// Whether the call is to end early. Its results are unusable then.
LL_INLINE bool stopped(Stop* stop) { return stop && stop_asked(*stop); }

// Calls f(from, m) for every stretch of n classes, until the call is to end.
template <class C, class F>
LL_INLINE void each_stretch(Stop* stop, std::int64_t n, F&& f) {
  for (std::int64_t from = 0;;) {
    const std::int64_t m = least(stretch<C>, n - from);
    f(from, m);
    from += m;
    if (from >= n || stopped(stop)) return;
  }
}
// Adds up in `all` the sums that f(sums, from, m) finds in every stretch of n classes.
template <std::int64_t LENGTH, class Sums, class F>
LL_INLINE void fold_stretches(Stop* stop, std::int64_t n, Sums& all, F&& f) {
  f(all, (std::int64_t)0, least(LENGTH, n));
  for (std::int64_t from = LENGTH; from < n && !stopped(stop); from += LENGTH) {
    Sums part;
    f(part, from, least(LENGTH, n - from));
    all.add(part);
  }
}

template <class C>
struct Pair {
  typename Simd<C>::V hi, lo;
  LL_INLINE void zero() { hi = lo = Simd<C>::set1(0); }
  LL_INLINE typename Simd<C>::V value() const {  // an infinite sum has no low part
    using S = Simd<C>;
    return S::blend(S::lt(S::abs(hi), S::set1((C)__builtin_inf())), hi + lo, hi);
  }
  LL_INLINE void add(typename Simd<C>::V a) {
    typename Simd<C>::V h, e;
    two_sum(hi, a, h, e);
    hi = h;
    lo = lo + e;
  }
  // Adds the sum of another stretch; afterwards lo is below an ULP of hi.
  LL_INLINE void add(const Pair& b) {
    using S = Simd<C>;
    typename S::V h, e, s, r;
    two_sum(hi, b.hi, h, e);
    two_sum(h, e + (lo + b.lo), s, r);
    const auto finite = S::lt(S::abs(h), S::set1((C)__builtin_inf()));
    hi = S::blend(finite, s, h), lo = S::blend(finite, r, e);
  }
};

// TALLY: vectors run across rows, and the ties of each row are counted in its lane; else `ties` counts them
// all. APART: s and w s are summed apart, so that s(1 + w) is never rounded. Otherwise the exponentials are
// summed, which are computed anyway: that saves an operation, and their rounding averages out over the lanes
// of a long row. EXACT: see exp_parts.
template <class C, Take TAKE, bool TALLY, bool APART, bool FINE = false, bool EXACT = false>
struct Fold {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int block = FINE ? 1 : 4;
  static constexpr bool tabled = ExpAt<C>::tabled;
  V s, w, w_lo, count, spread, square, moment;  // of this block, but for the count
  Pair<C> total, spreads, squares, moments;
  V count_lo;  // of more than one stretch
  std::int64_t ties = 0;
  int flushes = 0, moment_flushes = 0;

  LL_INLINE Fold() {
    s = w = w_lo = count = count_lo = spread = square = moment = S::set1(0);
    total.zero(), spreads.zero(), squares.zero(), moments.zero();
  }
  // Adds one vector; returns its exponentials.
  template <bool WANT_E, bool FAR, bool ALL = false>
  LL_INLINE V step(const ExpAt<C>& k, V peak, V z) {
    V ps, pw, pw_lo, e = z;
    typename S::M live;
    exp_parts<C, FAR, FINE, ALL, EXACT>(k, z, ps, pw, live, &pw_lo);
    typename S::M other;
    if constexpr (ALL) {
      if constexpr (WANT_E) e = S::fma(pw, ps, ps);
      other = S::neq(z, peak);
      ties += S::W - __builtin_popcount(S::bits(other));
    } else {
      if constexpr (WANT_E) e = S::keep(live, S::fma(pw, ps, ps));
      const auto top = S::eq(z, peak);
      other = S::without(live, top);
      if constexpr (TALLY)
        count = S::add_where(count, top, S::set1(1));
      else
        ties += __builtin_popcount(S::bits(top));
    }
    if constexpr (APART) {
      s = S::add_where(s, other, ps);
      w = S::fma_where(w, other, pw, ps);
    } else {
      s = S::add_where(s, other, e);
    }
    if constexpr (FINE && !tabled) w_lo = S::fma_where(w_lo, other, pw_lo, ps);
    if constexpr (TAKE != Take::rest) {
      const V x = S::keep(other, S::fma(pw, ps, ps)), below = peak - z;
      spread = S::fma_where(spread, other, x, below);
      square = S::fma(x, x, square);
      if constexpr (TAKE == Take::second) moment = S::fma_where(moment, other, x * below, below);
    }
    return e;
  }
  LL_INLINE void flush() {
    V h, e;
    if constexpr (APART && tabled) {  // w is so small that its sum may run on for a while
      total.add(s);
      if (++flushes % 16 == 0) close();
    } else if constexpr (APART) {
      fast_two_sum(s, w, h, e);  // |w| <= 0.42 s, term by term
      total.add(h);
      total.lo = total.lo + e;
      if constexpr (FINE) total.lo = total.lo + w_lo;
      w = w_lo = S::set1(0);
    } else {
      total.add(s);
    }
    s = S::set1(0);
    if constexpr (TAKE != Take::rest)
      if (!FINE || ++moment_flushes % 4 == 0) flush_moments();
  }
  LL_INLINE void flush_moments() {  // blocks of four vectors, however short those of the sum are
    spreads.add(spread);
    squares.add(square);
    if constexpr (TAKE == Take::second) moments.add(moment);
    spread = square = moment = S::set1(0);
  }
  // Instead of flush and close, where there is one block.
  LL_INLINE void only() {
    if constexpr (APART)
      fast_two_sum(s, w, total.hi, total.lo);
    else
      total.hi = s;
    if constexpr (APART && FINE && !tabled) total.lo = total.lo + w_lo;
  }
  LL_INLINE void close() {  // after the last flush
    if constexpr (APART && tabled) {
      total.add(w);
      w = S::set1(0);
    }
    if constexpr (TAKE != Take::rest && FINE) flush_moments();
  }
  LL_INLINE void add(const Fold& b) {  // another stretch; both are closed
    total.add(b.total);
    ties += b.ties;
    if constexpr (TALLY) {
      Pair<C> both{count, count_lo};
      both.add(Pair<C>{b.count, b.count_lo});
      count = both.hi, count_lo = both.lo;
    }
    if constexpr (TAKE != Take::rest) spreads.add(b.spreads), squares.add(b.squares);
    if constexpr (TAKE == Take::second) moments.add(b.moments);
  }
};

// mass = sum t and gap = sum t (peak - z) for t = w (on q + off), where 0 * inf = 0 and peak - peak = 0.
//
// Near the largest finite number peak - z overflows, and so does the sum of differences before it is
// multiplied with a class's share of a smoothed target. So both are taken times `gap_scale`, exactly, and
// divided by it once a row. Log-probabilities (Op::pick) do not overflow and may be tiny.
template <class C>
LL_INLINE C gap_scale(Op op) {
  return op == Op::pick ? (C)1 : (C)0x1p-32;
}
template <class C>
struct GapFold {
  using S = Simd<C>;
  using V = typename S::V;
  V m, g;
  Pair<C> mass, gap;
  LL_INLINE GapFold() {
    m = g = S::set1(0);
    mass.zero(), gap.zero();
  }
  LL_INLINE void step(V t, V below,
                      typename S::M apart) {  // below = (peak - z) gap_scale; apart: z is not the peak
    m = m + t;
    g = g + S::keep(S::both(S::neq(t, S::set1(0)), apart), t * below);
  }
  LL_INLINE void flush() {
    mass.add(m), gap.add(g);
    m = g = S::set1(0);
  }
  LL_INLINE void add(const GapFold& b) { mass.add(b.mass), gap.add(b.gap); }
};

// Calls f(j, n) for j = 0, W, 2W, ... with n = W, or fewer at the end, and flush() every 8 vectors.
template <class C, class F, class G>
LL_INLINE void each_vector(std::int64_t n, F&& f, G&& flush) {
  constexpr int W = Simd<C>::W;
  std::int64_t j = 0;
  for (; j + 8 * W <= n; j += 8 * W) {
    for (int i = 0; i < 8 * W; i += 4 * W)
      f(j + i, W), f(j + i + W, W), f(j + i + 2 * W, W), f(j + i + 3 * W, W);
    flush();
  }
  for (; j + W <= n; j += W) f(j, W);
  if (j < n) f(j, (int)(n - j));
  flush();
}
