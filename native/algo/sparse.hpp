// Rows of a sparse matrix times a dense one of few columns: see sparse.hpp. A few vectors of the result stay
// in registers while the row's entries are read.

template <class C, class Start, class Index>
struct SparseProduct {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int W = S::W, vectors = 4;
  static constexpr std::int64_t ahead = 8;  // entries, whose rows of b are fetched early

  // Read once: another thread may change the array between its check and its use.
  template <class T>
  static LL_INLINE std::int64_t once(const T* p) {
    return (std::int64_t)*(const volatile T*)p;
  }

  const SparseRows& a;
  const Start* const starts = (const Start*)a.starts;
  const Index* const columns = (const Index*)a.columns;
  const C* const numbers = (const C*)a.numbers;
  const C* const b = (const C*)a.b;

  // NV vectors of a row's result, from column `at` on; the last has `n` lanes.
  template <int NV>
  LL_INLINE bool tile(std::int64_t begin, std::int64_t end, std::int64_t at, int n, C* out) const {
    V sum[NV];
    for (int v = 0; v < NV; ++v) sum[v] = S::set1(0);
    for (std::int64_t e = begin; e < end; ++e) {
      const std::int64_t c = once(columns + e);
      if (c < 0 || c >= a.b_rows) return false;
      if (e + ahead < end) {
        const std::int64_t next = once(columns + e + ahead);
        if (next >= 0 && next < a.b_rows) __builtin_prefetch(b + next * a.k + at);
      }
      const C* const row = b + c * a.k + at;
      const V x = S::set1(numbers[e]);
      for (int v = 0; v + 1 < NV; ++v) sum[v] = S::fma(x, S::load(row + v * W), sum[v]);
      sum[NV - 1] = S::fma(x, S::loadn(row + (NV - 1) * W, n, 0), sum[NV - 1]);
    }
    for (int v = 0; v + 1 < NV; ++v) S::store(out + at + v * W, sum[v]);
    S::storen(out + at + (NV - 1) * W, sum[NV - 1], n);
    return true;
  }

  bool row(std::int64_t i) const {
    const std::int64_t begin = once(starts + i), end = once(starts + i + 1);
    if (begin < 0 || end < begin || end > a.entries) return false;
    C* const out = (C*)a.out + i * a.k;
    bool valid = true;
    for (std::int64_t at = 0; at < a.k && valid; at += vectors * W) {
      const std::int64_t left = a.k - at;
      const int whole = (int)((left + W - 1) / W), n = (int)(left - (std::int64_t)(whole - 1) * W);
      if (whole > vectors)
        valid = tile<vectors>(begin, end, at, W, out);
      else if (whole == 4)
        valid = tile<4>(begin, end, at, n, out);
      else if (whole == 3)
        valid = tile<3>(begin, end, at, n, out);
      else if (whole == 2)
        valid = tile<2>(begin, end, at, n, out);
      else
        valid = tile<1>(begin, end, at, n, out);
    }
    return valid;
  }
};

template <class C, class Start, class Index>
bool sparse_rows_of(const SparseRows& a, std::int64_t first, std::int64_t last) {
  const SparseProduct<C, Start, Index> product{a};
  for (std::int64_t i = first; i < last; ++i)
    if (!product.row(i)) return false;
  return true;
}
template <class C>
bool sparse_rows_in(const SparseRows& a, std::int64_t first, std::int64_t last) {
  using Narrow = std::int32_t;
  using Wide = std::int64_t;
  if (a.wide_starts)
    return a.wide_columns ? sparse_rows_of<C, Wide, Wide>(a, first, last)
                          : sparse_rows_of<C, Wide, Narrow>(a, first, last);
  return a.wide_columns ? sparse_rows_of<C, Narrow, Wide>(a, first, last)
                        : sparse_rows_of<C, Narrow, Narrow>(a, first, last);
}
// The rows [first, last). False if an entry is out of range.
bool sparse_rows(const SparseRows& a, std::int64_t first, std::int64_t last) {
  return a.in_double ? sparse_rows_in<double>(a, first, last) : sparse_rows_in<float>(a, first, last);
}
