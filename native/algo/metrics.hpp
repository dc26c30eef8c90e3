// The numbers that an evaluation counts of each row, a vector of rows at a time: formulas in ../metrics.hpp.
// In: row statistics. Out: loss, Brier score, confidence and entropy in double; and their exact sums, and
// what a row adds to the bin of its confidence.
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
  bool third_parts = false;

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
      c += r, third_parts = true;
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

// Whether a number has a third part that is not 0.
template <bool PARTS>
bool sum_metric(const double* x, std::int64_t n, std::int64_t* parts, Parts& sum, Parts& square) {
  using S = Doubles;
  PartSums first, second;
  for (std::int64_t i = 0; i < n; i += S::W) {
    const auto v = S::load(x + i);
    first.add<PARTS>(v, parts, i, MetricBlock::most);
    second.add<false>(v * v, nullptr, i, 0);
  }
  sum = first.total(), square = second.total();
  return first.third_parts;
}

// The guess of each confidence, and what its row adds to a cell. `rank`: the target's.
inline void count_confidences(const double* confidence, const std::int64_t* rank, std::int64_t n,
                              MetricBlock& out) {
  using S = Doubles;
  using G = ConfidenceGuess;
  constexpr double whole =
      0x1.8p52;  // added to a number below 2^51, it leaves the nearest integer in the low bits
  const auto zero = S::set1(0), one = S::set1(1), magic = S::set1(whole);
  const auto integer = [&](S::V t) LL_INLINE_LAMBDA { return (Integers)t - (Integers)magic; };
  for (std::int64_t i = 0; i < n; i += S::W) {
    const auto c = S::load(confidence + i);
    const auto other = S::max(one - c, S::set1(G::least_other));
    const Integers low = integer(S::max(c, zero) * S::set1(G::per_unit) + magic);
    const Integers high = (Integers)S::set1(0) + G::top - ((Integers)other >> G::shift);
    auto guess = S::blend(S::lt(S::set1(0.5), c), (S::V)high, (S::V)low);
    guess = S::blend(S::both(S::lt(zero, c), S::nlt(one, c)), guess, (S::V)(Integers{} - 1));
    const S::V t1 = c * S::set1(0x1p30) + magic, r1 = c * S::set1(0x1p30) - (t1 - magic);
    const S::V t2 = r1 * S::set1(0x1p30) + magic;
    Integers ranks;
    __builtin_memcpy(&ranks, rank + i, sizeof ranks);
    const Integers rows = (integer(t1) << CellCounts::bits) + 1;
    const Integers hits = (integer(t2) << CellCounts::bits) - (Integers)(ranks == 0);
    __builtin_memcpy(out.guess + i, &guess, sizeof guess);
    __builtin_memcpy(out.cell_rows + i, &rows, sizeof rows);
    __builtin_memcpy(out.cell_hits + i, &hits, sizeof hits);
  }
}

// n rows: a multiple of 8, at most MetricBlock::most. `rank`: the targets'.
inline void count_metrics(const RowSums& rows, const std::int64_t* rank, std::int64_t n, MetricBlock& out) {
  using S = Doubles;
  LL_ASSERT(n % S::W == 0 && n <= MetricBlock::most);
  const auto none = S::set1(0);
  auto largest = none;
  for (std::int64_t i = 0; i < n; i += S::W) {
    const MetricVectors x =
        metrics_of(rows, [&](const double* from) LL_INLINE_LAMBDA { return S::load(from + i); });
    // an infinite loss is not below, and NaN is below nothing
    const auto usual = S::both(S::neq(S::load(rows.mass + i), none),
                               S::both(S::lt(x.loss, S::set1(MetricBlock::large)),
                                       S::lt(x.entropy + x.brier, S::set1(MetricBlock::large))));
    const auto loss = S::keep(usual, x.loss);
    largest = S::max(loss, largest);
    S::store(out.loss + i, loss), S::store(out.brier + i, S::keep(usual, x.brier));
    S::store(out.confidence + i, S::keep(usual, x.confidence));
    S::store(out.entropy + i, S::keep(usual, x.entropy));
  }
  double each[S::W];
  S::store(each, largest);
  out.largest_loss = 0;
  for (int l = 0; l < S::W; ++l) out.largest_loss = each[l] > out.largest_loss ? each[l] : out.largest_loss;
  out.third_parts = sum_metric<true>(out.loss, n, out.loss_parts[0], out.sums[0], out.squares[0]);
  sum_metric<false>(out.brier, n, nullptr, out.sums[1], out.squares[1]);
  sum_metric<true>(out.confidence, n, out.confidence_parts[0], out.sums[2], out.squares[2]);
  sum_metric<false>(out.entropy, n, nullptr, out.sums[3], out.squares[3]);
  count_confidences(out.confidence, rank, n, out);
}
