// The numbers that an evaluation counts of each row, a vector of rows at a time: formulas in ../metrics.hpp.
// In: row statistics. Out: loss, Brier score, confidence and entropy in double; and their exact sums.
//
// Traffic a row: 48 bytes of statistics; two divisions, one logarithm, one exponential.

using Doubles = Simd<double>;
typedef std::int64_t Integers __attribute__((vector_size(sizeof(Doubles::V))));

struct MetricVectors {
  Doubles::V loss, brier, confidence, entropy;
};

// `load` reads a vector of each statistic. All are NaN where the peak is infinite.
template <class F>
LL_INLINE MetricVectors metrics_of(const RowSums& rows, F&& load) {
  using S = Doubles;
  const auto one = S::set1(1);
  const auto peak = load(rows.peak), rest = load(rows.rest), mass = load(rows.mass);
  S::V u, u_lo, l, l_lo;
  two_sum(one, rest, u, u_lo);
  const auto inverse = one / u, c = inverse + (peak - peak);
  log_near<double>(u, u_lo * inverse, l, l_lo);
  l = (l + l_lo) + (peak - peak);
  const auto loss = load(rows.gap) + mass * l;
  const auto e = exp_of<double>(ExpAt<double>::make(S::set1(0)), -loss) * S::set1(Constant<double>::unbias);
  const auto brier = ((one + load(rows.square)) * c * c - S::set1(2) * e) + one;
  return {loss, S::max(S::set1(0), brier), c, l + load(rows.spread) * c};
}

inline void row_metrics(const RowSums& rows, const RowMetrics& out, std::int64_t n) {
  using S = Doubles;
  for (std::int64_t i = 0; i < n; i += S::W) {
    const int m = (int)least(S::W, n - i);
    const MetricVectors x =
        metrics_of(rows, [&](const double* from) LL_INLINE_LAMBDA { return S::loadn(from + i, m, 0); });
    S::storen(out.loss + i, x.loss, m), S::storen(out.brier + i, x.brier, m);
    S::storen(out.confidence + i, x.confidence, m), S::storen(out.entropy + i, x.entropy, m);
  }
}

// Sums of vectors in parts. Adding 1.5 * 2^52 units rounds a number to whole units and leaves their count in
// the low bits; it is taken off again once, in `total`. In the last part it rounds down instead.
struct PartSums {
  using S = Doubles;
  static constexpr double first = 0x1.8p25, second = 0x1.8p-21, third = 0x1.8p-68, unit = 0x1p-120;
  Integers a, b, c;

  LL_INLINE PartSums() { a = b = c = Integers{}; }
  static LL_INLINE Integers low(S::V t, double magic) { return (Integers)t - (Integers)S::set1(magic); }
  // Adds the numbers; PARTS: and stores each one's own parts.
  template <bool PARTS>
  LL_INLINE void add(S::V x, std::int64_t* parts, std::int64_t i, std::int64_t pitch) {
    const auto m1 = S::set1(first), m2 = S::set1(second), m3 = S::set1(third);
    const S::V t1 = x + m1, r1 = x - (t1 - m1);
    const S::V t2 = r1 + m2, r2 = r1 - (t2 - m2);
    const Integers p = low(t1, first), q = low(t2, second);
    Integers r{};
    if (S::bits(S::neq(r2, S::set1(0)))) {  // seldom: only what is below 2^-20 has such digits
      const S::V t3 = r2 + m3;
      r = low(t3 - S::keep(S::lt(r2, t3 - m3), S::set1(unit)), third);
      c += r;
    }
    a += p, b += q;
    if constexpr (PARTS) {
      __builtin_memcpy(parts + i, &p, sizeof p);
      __builtin_memcpy(parts + i + pitch, &q, sizeof q);
      __builtin_memcpy(parts + i + 2 * pitch, &r, sizeof r);
    }
  }
  LL_INLINE Parts total() const {
    Parts all;
    for (int l = 0; l < S::W; ++l) all.a += a[l], all.b += b[l], all.c += c[l];
    return all;
  }
};

template <bool PARTS>
void sum_metric(const double* x, std::int64_t n, std::int64_t* parts, Parts& sum, Parts& square) {
  using S = Doubles;
  PartSums first, second;
  for (std::int64_t i = 0; i < n; i += S::W) {
    const auto v = S::load(x + i);
    first.add<PARTS>(v, parts, i, MetricBlock::most);
    second.add<false>(v * v, nullptr, i, 0);
  }
  sum = first.total(), square = second.total();
}

// n rows: a multiple of 8, at most MetricBlock::most.
inline void count_metrics(const RowSums& rows, std::int64_t n, MetricBlock& out) {
  using S = Doubles;
  LL_ASSERT(n % S::W == 0 && n <= MetricBlock::most);
  const auto none = S::set1(0);
  for (std::int64_t i = 0; i < n; i += S::W) {
    const MetricVectors x =
        metrics_of(rows, [&](const double* from) LL_INLINE_LAMBDA { return S::load(from + i); });
    // an infinite loss is not below, and NaN is below nothing
    const auto usual = S::both(S::neq(S::load(rows.mass + i), none),
                               S::both(S::lt(x.loss, S::set1(MetricBlock::large)),
                                       S::lt(x.entropy + x.brier, S::set1(MetricBlock::large))));
    S::store(out.loss + i, S::keep(usual, x.loss)), S::store(out.brier + i, S::keep(usual, x.brier));
    S::store(out.confidence + i, S::keep(usual, x.confidence));
    S::store(out.entropy + i, S::keep(usual, x.entropy));
  }
  sum_metric<true>(out.loss, n, out.loss_parts[0], out.sums[0], out.squares[0]);
  sum_metric<false>(out.brier, n, nullptr, out.sums[1], out.squares[1]);
  sum_metric<true>(out.confidence, n, out.confidence_parts[0], out.sums[2], out.squares[2]);
  sum_metric<false>(out.entropy, n, nullptr, out.sums[3], out.squares[3]);
}
