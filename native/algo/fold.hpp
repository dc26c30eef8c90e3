// What is summed over the classes of a row, one vector at a time.
//
//   rest     sum of exp(z) 2^-np, without the lanes that equal the peak, which are counted instead: their
//            exponential is exactly E, so a small rest keeps all its digits (docs/design.md)
//   moments  the same, and sum exp * (peak - z) and sum exp^2: entropy, sum of p^2
//
// Sums run in blocks of a few vectors, and the blocks' sums are added as unevaluated pairs (hi, lo): the
// error does not grow with V. All exponentials carry the factor 2^BIAS of math.hpp; the squares carry its
// square.

enum class Take { rest, moments };

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
};

// TALLY: vectors run across rows, and the ties of each row are counted in its lane; else `ties` counts them
// all. APART: s and w s are summed apart, so s(1 + w) is never rounded; without, where the exponentials are
// wanted anyway, those are summed: an operation less, and their rounding averages out over the lanes of a
// long row.
template <class C, Take TAKE, bool TALLY, bool APART, bool FINE = false>
struct Fold {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int block = FINE ? 1 : 4;
  static constexpr bool tabled = ExpAt<C>::tabled;
  V s, w, w_lo, count, spread, square;  // of this block, but for the count
  Pair<C> total, spreads, squares;
  int ties = 0, flushes = 0;

  LL_INLINE Fold() {
    s = w = w_lo = count = spread = square = S::set1(0);
    total.zero(), spreads.zero(), squares.zero();
  }
  // Takes one vector in; gives its exponentials.
  template <bool WANT_E, bool FAR, bool ALL = false>
  LL_INLINE V step(const ExpAt<C>& k, V peak, V z) {
    V ps, pw, pw_lo, e = z;
    typename S::M live;
    exp_parts<C, FAR, FINE, ALL>(k, z, ps, pw, live, &pw_lo);
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
    if constexpr (TAKE == Take::moments) {
      const V x = S::keep(other, S::fma(pw, ps, ps));
      spread = S::fma_where(spread, other, x, peak - z);
      square = S::fma(x, x, square);
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
    if constexpr (TAKE == Take::moments) {
      spreads.add(spread);
      squares.add(square);
      spread = square = S::set1(0);
    }
  }
  LL_INLINE void close() {  // after the last flush
    if constexpr (APART && tabled) {
      total.add(w);
      w = S::set1(0);
    }
  }
};

// mass = sum t and gap = sum t (peak - z) for t = w (on q + off), where 0 * inf = 0 and peak - peak = 0.
//
// Near the largest finite number peak - z overflows, and so does the sum of differences before it is
// multiplied with what every class has of a smoothed target. So both are taken times `gap_scale`, exactly,
// and divided by it once a row. Log-probabilities (Op::pick) are far from there and may be tiny.
template <class C>
LL_INLINE C gap_scale(const Job& job) {
  return job.op == Op::pick ? (C)1 : (C)0x1p-32;
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

// Finished results on their way to memory, past the cache. They leave a few vectors at a time from within the
// next block's exponentials, so that the memory works while the processor computes.
template <class C>
struct Drain {
  using S = Simd<C>;
  static constexpr std::int64_t vector = S::W * (std::int64_t)sizeof(C);
  const char* from = nullptr;
  char* to = nullptr;
  std::int64_t left = 0;

  // Takes n bytes; the last ones have left.
  void take(const void* source, void* target, std::int64_t n) {
    const std::int64_t head = least(n, (std::int64_t)(-(std::uintptr_t)target & (vector - 1)));
    for (std::int64_t i = 0; i < head; ++i) ((char*)target)[i] = ((const char*)source)[i];
    from = (const char*)source + head, to = (char*)target + head, left = n - head;
  }
  LL_INLINE void one() {
    S::stream((C*)to, S::load((const C*)from));
    from += vector, to += vector, left -= vector;
  }
  LL_INLINE void some() {
    if (left < 8 * vector) return;
    for (int i = 0; i < 8; ++i) one();
  }
  void all() {
    while (left >= vector) one();
    for (; left > 0; ++from, ++to, --left) *to = *from;
  }
};
