// exp, log1p, log and tanh, and arithmetic on pairs. In: vectors. Out: vectors, or unevaluated pairs (hi, lo)
// of them.
//
// exp(z - peak) is never computed from the rounded difference. All exponentials of a row are taken relative
// to 2^np, np = round(peak/ln2), instead of to the peak itself. The peak's own exponential, E, divides out:
//
//     n = round(z/ln2)             s = 2^(n - np) exactly
//     r = (z - n HI) - n LO        |r| <= 0.35, ln2 = HI + LO
//     1 + w = exp(r)               by a minimax polynomial
//
//     exp(z) 2^-np = s (1 + w)     exp(z - peak) = s (1 + w)/E
//
// HI has so few bits that n*HI and the bracket are exact. So the part of z - peak that a subtraction would
// round away (65 ULP of the result at logits of scale 20) is kept, at four operations a vector. Where |peak|
// is large, z - peak itself is exact for every z whose exponential is not 0 (Sterbenz), and is subtracted
// first (`far`).
//
// s carries a bias of 2^BIAS, so that no intermediate is subnormal. E has it too; where nothing is divided by
// E, the caller's factor removes it. Error of s(1 + w): below 1 ULP (float and double); with a table
// (ExpTable) 0.8. log1p: below 1 ULP as hi + lo rounded once. Exponentials below exp(-CUT) are taken as 0:
// they do not change a result of this type.

template <class C>
struct Constant;

template <>
struct Constant<float> {
  static constexpr int BIAS = 40;
  static constexpr float bias = 0x1p40f, unbias = 0x1p-40f;
  static constexpr float magic =
      0x1.8p23f + 127 + BIAS;  // adding it rounds to an integer and leaves n + 127 + BIAS below
  static constexpr float log2e = 0x1.715476p0f;
  static constexpr float hi = 0x1.62ep-1f;  // ln2 in 12 bits
  static constexpr float lo = 0x1.0bfbe8p-15f;
  static constexpr float cut = 115.0f, far = 256.0f;
  static constexpr float exp[] = {0x1.fffffcp-2f, 0x1.55549p-3f, 0x1.5558fcp-5f, 0x1.123b6ap-7f,
                                  0x1.6a21a6p-10f};
  static constexpr float ln2_hi = 0x1.62ep-1f, ln2_lo = 0x1.0bfbe8p-15f;
  static constexpr float log[] = {0x1.555554p-1f, 0x1.999be4p-2f, 0x1.23e7f8p-2f, 0x1.edbdbcp-3f};
  static constexpr float smallest_normal = 0x1p-126f, upscale = 0x1p32f, upscale_log2 = 32;
};

template <>
struct Constant<double> {
  static constexpr int BIAS = 100;
  static constexpr double bias = 0x1p100, unbias = 0x1p-100;
  static constexpr double magic = 0x1.8p52 + 1023 + BIAS;
  static constexpr double log2e = 0x1.71547652b82fep0;
  static constexpr double hi = 0x1.62e42fefap-1;  // ln2 in 36 bits
  static constexpr double lo = 0x1.cf79abc9e3b3ap-40;
  static constexpr double cut = 777.0, far = 2048.0;
  static constexpr double exp[] = {0x1p-1,
                                   0x1.555555555555cp-3,
                                   0x1.5555555555501p-5,
                                   0x1.111111110eb9ep-7,
                                   0x1.6c16c16c30d21p-10,
                                   0x1.a01a01b3ca1d9p-13,
                                   0x1.a01a0134e1856p-16,
                                   0x1.71ddef5f7161fp-19,
                                   0x1.27e5b648c7af8p-22,
                                   0x1.af6d3ee118fe9p-26,
                                   0x1.1e3c182ee481fp-29};
  static constexpr double ln2_hi = 0x1.62e42fefap-1, ln2_lo = 0x1.cf79abc9e3b3ap-40;
  static constexpr double log[] = {0x1.555555555554fp-1, 0x1.999999999c268p-2, 0x1.24924921d6c6dp-2,
                                   0x1.c71c749b52f98p-3, 0x1.745c4837cba35p-3, 0x1.3b36153657c9cp-3,
                                   0x1.0dc6233d6c787p-3, 0x1.1ba5e90334e10p-3};
  static constexpr double smallest_normal = 0x1p-1022, upscale = 0x1p64, upscale_log2 = 64;
};

// With a table of 2^(k/K), K = 2^BITS, in a register: n = round(K z/ln2), and r is K times smaller.
//
//     exp(z) 2^-np = s (1 + w)      s = 2^(n/K - np) rounded, 1 + w = exp(r + lo),  lo = log(2^(k/K)/rounded)
//
// w is small: s(1 + w) is accurate to 1/2 + 2^-5 ULP, or, with s and w s summed apart, to 2^-5 ULP.
template <int BITS>
struct ExpTable;

template <>
struct ExpTable<4> {
  static constexpr float exp[] = {0x1.000222p-1f, 0x1.555764p-3f};
  // the bits of 2^(k/16) without those that the shifted k puts there
  alignas(64) static constexpr std::uint32_t power[] = {
      0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
      0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  alignas(64) static constexpr float lo[] = {
      0x0p+0f,          0x1.8d96d4p-25f,  -0x1.9c0c22p-27f, 0x1.964902p-25f,
      0x1.125002p-25f,  0x1.370be4p-25f,  -0x1.0a3552p-25f, -0x1.00d8acp-27f,
      0x1.26055cp-26f,  -0x1.05cb44p-25f, 0x1.67a1cap-28f,  0x1.a3b5e4p-28f,
      -0x1.f9c306p-27f, -0x1.6961b4p-28f, -0x1.a5217cp-28f, 0x1.61428ep-28f};
};

template <>
struct ExpTable<3> {
  static constexpr float exp[] = {0x1p-1f, 0x1.555c7ep-3f, 0x1.555db0p-5f};
  alignas(64) static constexpr std::uint32_t power[] = {0x3f800000, 0x3f7b95c2, 0x3f7837f0, 0x3f75fed7,
                                                        0x3f7504f3, 0x3f75672a, 0x3f7744fd, 0x3f7ac0c7};
  alignas(64) static constexpr float lo[] = {0x0p+0f,          -0x1.9c0c22p-27f, 0x1.125002p-25f,
                                             -0x1.0a3552p-25f, 0x1.26055cp-26f,  0x1.67a1cap-28f,
                                             -0x1.f9c306p-27f, -0x1.a5217cp-28f};
};

template <class C, int N>
LL_INLINE typename Simd<C>::V horner(typename Simd<C>::V x, const C (&c)[N]) {
  auto y = Simd<C>::set1(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) y = Simd<C>::fma(y, x, Simd<C>::set1(c[i]));
  return y;
}

// hi + lo = a + b exactly.
template <class V>
LL_INLINE void two_sum(V a, V b, V& hi, V& lo) {
  V s = a + b;
  V t = s - a;
  lo = (a - (s - t)) + (b - t);
  hi = s;
}

// The same for |a| >= |b|.
template <class V>
LL_INLINE void fast_two_sum(V a, V b, V& hi, V& lo) {
  V s = a + b;
  lo = b - (s - a);
  hi = s;
}

// hi + lo = a * b exactly: by the fused instruction, or by splitting both factors (Dekker).
template <class C, class V>
LL_INLINE void two_prod(V a, V b, V& hi, V& lo) {
  hi = a * b;
  if constexpr (Simd<C>::fused) {
    lo = Simd<C>::fma(a, b, -hi);
  } else {
    const V split = Simd<C>::set1(sizeof(C) == 4 ? (C)4097 : (C)134217729);
    V a1 = a * split, b1 = b * split;
    a1 = a1 - (a1 - a), b1 = b1 - (b1 - b);
    V a2 = a - a1, b2 = b - b1;
    lo = ((a1 * b1 - hi) + a1 * b2 + a2 * b1) + a2 * b2;
  }
}

// (hi, lo) = (a, a_lo) * (b, b_lo)
template <class C, class V>
LL_INLINE void pair_product(V a, V a_lo, V b, V b_lo, V& hi, V& lo) {
  V h, e;
  two_prod<C>(a, b, h, e);
  fast_two_sum(h, e + (a * b_lo + a_lo * b), hi, lo);
}

// (hi, lo) = 1 / (a + a_lo)
template <class C, class V>
LL_INLINE void pair_inverse(V a, V a_lo, V& hi, V& lo) {
  V h, e;
  hi = Simd<C>::set1(1) / a;
  two_prod<C>(hi, a, h, e);
  lo = hi * (((Simd<C>::set1(1) - h) - e) - hi * a_lo);
}

// The parameters of exp that follow from the peak.
template <class C>
struct ExpAt {
  using S = Simd<C>;
  using V = typename S::V;
  V magic, least, shift;  // shift: the peak where it is far from 0, else 0
  static constexpr bool tabled = S::table_bits > 0;
  // the steps from one power of two to the next, and the constant that rounds to one and leaves its number
  // in the low bits, for pow2
  static constexpr C steps = (C)(1 << S::table_bits);
  static constexpr C start = tabled ? (C)0x1.8p23 + steps * (C)Constant<C>::BIAS : Constant<C>::magic;

  static LL_INLINE ExpAt make(V peak) {
    using K = Constant<C>;
    ExpAt k;
    const auto near = S::lt(S::abs(peak), S::set1(K::far));
    const auto none = S::eq(peak, S::set1((C)-__builtin_inf()));
    const V p = S::keep(near, peak), magic = S::set1(start);
    k.magic = magic - (S::fma(p, S::set1(K::log2e * steps), magic) - magic);
    k.least = S::blend(none, S::set1(0), peak - S::set1(K::cut));
    k.shift = S::keep(S::neq(peak, p), S::blend(none, S::set1(0), peak));
    return k;
  }
  // As if the peak were far from 0, wherever it is: the exponentials are taken relative to the peak.
  static LL_INLINE ExpAt beside(V peak) {
    const V none = S::keep(S::neq(peak, S::set1((C)-__builtin_inf())), peak);
    return {S::set1(start), none - S::set1(Constant<C>::cut), none};
  }
  LL_INLINE bool far() const { return S::bits(S::neq(shift, S::set1(0))) != 0; }
  LL_INLINE void store(C* at, int ld) const {
    S::store(at, magic), S::store(at + ld, least), S::store(at + 2 * ld, shift);
  }
  static LL_INLINE ExpAt load(const C* at, int ld) {
    return {S::load(at), S::load(at + ld), S::load(at + 2 * ld)};
  }
  static LL_INLINE ExpAt broadcast(const C* at, int ld) {
    return {S::set1(at[0]), S::set1(at[ld]), S::set1(at[2 * ld])};
  }
};

// exp(z) 2^(BIAS - np) = s (1 + w) where `live`; elsewhere it is taken as 0, and s and w are undefined. ALL:
// the caller knows that every score is live, or NaN. FINE: s (1 + w + w_lo), with the roundings of r and w
// recovered, accurate to 2^-5 ULP: for E, and for rows of so few classes that the error of a single
// exponential shows in the logarithm of the sum. EXACT (with FAR): z - shift is not rounded.
template <class C, bool FAR, bool FINE = false, bool ALL = false, bool EXACT = false>
LL_INLINE void exp_parts(const ExpAt<C>& k, typename Simd<C>::V z, typename Simd<C>::V& s,
                         typename Simd<C>::V& w, typename Simd<C>::M& live,
                         typename Simd<C>::V* w_lo = nullptr) {
  using S = Simd<C>;
  using K = Constant<C>;
  using V = typename S::V;
  if constexpr (!ALL) live = S::nlt(z, k.least);
  V beyond = S::set1(0);  // what z - shift is rounded by
  if constexpr (EXACT)
    two_sum(z, -k.shift, z, beyond);
  else if constexpr (FAR)
    z = z - k.shift;
  const C steps = ExpAt<C>::steps;
  const V m = S::fma(z, S::set1(K::log2e * steps), k.magic), n = m - k.magic;
  const V a = S::fnma(n, S::set1(K::hi / steps), z);
  if constexpr (ExpAt<C>::tabled) {
    using T = ExpTable<S::table_bits>;
    s = S::pow2(m, S::load((const C*)T::power));
    V fine = S::lookup(S::load(T::lo), m);
    if constexpr (EXACT) fine = fine + beyond;
    const V r = S::fnma(n, S::set1(K::lo / steps), a) + fine;
    w = S::fma(r * r, horner<C>(r, T::exp), r);
    if constexpr (FINE) *w_lo = S::set1(0);
    return;
  }
  s = S::pow2(m);
  if constexpr (FINE) {
    V r, r_lo;
    fast_two_sum(a, S::fnma(n, S::set1(K::lo), beyond), r, r_lo);
    fast_two_sum(r, S::fma(r * r, horner<C>(r, K::exp), r_lo), w, *w_lo);
  } else {
    const V r = EXACT ? a + S::fnma(n, S::set1(K::lo), beyond) : S::fnma(n, S::set1(K::lo), a);
    w = S::fma(r * r, horner<C>(r, K::exp), r);
  }
}

// The same as hi + lo, accurate to 2^-5 ULP of hi: of the peak (then it is E), or of another single score.
template <class C>
LL_INLINE void exp_pair(const ExpAt<C>& k, typename Simd<C>::V z, typename Simd<C>::V& hi,
                        typename Simd<C>::V& lo) {
  using S = Simd<C>;
  typename S::V s, w, w_lo;
  typename S::M live;
  exp_parts<C, true, true>(k, z, s, w, live, &w_lo);
  fast_two_sum(s, w * s, hi, lo);
  hi = S::keep(live, hi);
  lo = S::keep(live, S::fma(w_lo, s, lo));
}

// log(u (1 + e)) = hi + lo for u > 0 normal, |e| below an ULP of 1.
template <class C>
LL_INLINE void log_near(typename Simd<C>::V u, typename Simd<C>::V e, typename Simd<C>::V& hi,
                        typename Simd<C>::V& lo) {
  using S = Simd<C>;
  using K = Constant<C>;
  typename S::V f, k;
  S::split(u, f, k);
  f = f - S::set1(1);
  auto q = f / (f + S::set1(2));  // log(1+f) = log((1+q)/(1-q)) = f - (f^2/2 - q (f^2/2 + R(q^2)))
  auto q2 = q * q;
  auto R = q2 * horner<C>(q2, K::log);
  typename S::V half, half_lo, h, l, g, l2;
  two_prod<C>(f * S::set1((C)0.5), f, half, half_lo);
  fast_two_sum(k * S::set1(K::ln2_hi), f, h, l);
  two_sum(h, -half, g, l2);
  auto tail = S::fma(q, half + R, S::fma(k, S::set1(K::ln2_lo), e));
  fast_two_sum(g, tail + ((l + l2) - half_lo), hi, lo);
}
// log(u + e) = hi + lo for u > 0 normal, |e| below an ULP of u.
template <class C>
LL_INLINE void log_pair(typename Simd<C>::V u, typename Simd<C>::V e, typename Simd<C>::V& hi,
                        typename Simd<C>::V& lo) {
  log_near<C>(u, e / u, hi, lo);
}

// log(1 + a) = hi + lo for a = a_hi + a_lo >= 0.
template <class C>
LL_INLINE void log1p_pair(typename Simd<C>::V a_hi, typename Simd<C>::V a_lo, typename Simd<C>::V& hi,
                          typename Simd<C>::V& lo) {
  typename Simd<C>::V u, e;
  two_sum(Simd<C>::set1(1), a_hi, u, e);
  log_pair<C>(u, e + a_lo, hi, lo);
}

// log(p) of a probability: -inf at 0, NaN below.
template <class C>
LL_INLINE typename Simd<C>::V log_of(typename Simd<C>::V p) {
  using S = Simd<C>;
  using K = Constant<C>;
  const C inf = (C)__builtin_inf();
  auto tiny = S::lt(p, S::set1(K::smallest_normal));
  typename S::V hi, lo;
  log_pair<C>(S::blend(tiny, p * S::set1(K::upscale), p), S::set1(0), hi, lo);
  // upscale_log2 * ln2 has few enough bits in its high part to be exact
  auto up = S::keep(tiny, S::set1(K::upscale_log2));
  auto y = (hi - up * S::set1(K::ln2_hi)) + (lo - up * S::set1(K::ln2_lo));
  y = S::blend(S::eq(p, S::set1(0)), S::set1(-inf), y);
  y = S::blend(S::both(S::nlt(p, S::set1(0)), S::eq(p, p)), y, S::set1((C)__builtin_nan("")));
  return S::blend(S::eq(p, S::set1(inf)), p, y);
}

// tanh(x) and its derivative 1 - tanh^2, each accurate to a few ULP for every x: with t = exp(-2|x|) = s (1 +
// w), 1 - t = (1 - s) - s w loses nothing for small x, and the derivative is 4t/(1+t)^2, not a difference.
template <class C>
LL_INLINE void tanh_of(typename Simd<C>::V x, typename Simd<C>::V& y, typename Simd<C>::V& slope) {
  using S = Simd<C>;
  using K = Constant<C>;
  typename S::V s, w;
  typename S::M live;
  auto a = S::abs(x);
  exp_parts<C, false>(ExpAt<C>::make(S::set1(0)), a * S::set1(-2), s, w, live);
  s = S::keep(live, s * S::set1(K::unbias));
  w = S::keep(live, w);
  auto t = S::fma(s, w, s);
  auto u = S::set1(1) + t;
  y = S::fnma(s, w, S::set1(1) - s) / u;
  y = S::blend(S::lt(x, S::set1(0)), -y, y);
  y = S::blend(S::eq(x, x), y, x);
  slope = S::set1(4) * t / (u * u);
  slope = S::blend(S::eq(x, x), slope, x);
}
