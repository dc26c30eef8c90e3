// Scores to z. In: scores x in the computing type. Out: in their place z = softcap tanh(x / softcap) /
// temperature, or its logarithm; and in `slope` d(softcap tanh(x / softcap))/dx where there is a softcap.

LL_INLINE bool has_transform(const Transform& t) {
  return t.softcap != 0 || t.temperature != 1 || t.take_log || t.mask;
}

template <class C>
void transform(const Transform& how, C* z, C* slope, std::int64_t n) {
  using S = Simd<C>;
  using V = typename S::V;
  if (how.softcap != 0) {
    const V cap = S::set1((C)how.softcap);
    for (std::int64_t j = 0; j < n; j += S::W) {
      int m = n - j < S::W ? (int)(n - j) : S::W;
      V y, d;
      tanh_of<C>(S::loadn(z + j, m, 0) / cap, y, d);
      S::storen(z + j, y * cap, m);
      if (slope) S::storen(slope + j, d, m);
    }
  }
  if (how.temperature != 1)
    for (std::int64_t j = 0; j < n; ++j) z[j] /= (C)how.temperature;
  if (how.take_log)
    for (std::int64_t j = 0; j < n; j += S::W) {
      int m = n - j < S::W ? (int)(n - j) : S::W;
      S::storen(z + j, log_of<C>(S::loadn(z + j, m, 1)), m);
    }
}

// The z of one score, rounded to the computing type first, as the row's scores are.
template <class C>
C transformed(const Transform& how, double score) {
  C t[Simd<C>::W] = {(C)score};
  transform<C>(how, t, nullptr, 1);
  return t[0];
}
