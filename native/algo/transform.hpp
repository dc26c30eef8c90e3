// Scores as the caller has them -> z: z = softcap tanh(raw / softcap) / temperature, -inf where masked.
// `slope` receives d(softcap tanh(raw / softcap))/draw where there is a softcap.

template <class C>
void transform(const Job& job, C* z, C* slope, std::int64_t n) {
  using S = Simd<C>;
  using V = typename S::V;
  if (job.softcap != 0) {
    const V cap = S::set1((C)job.softcap);
    for (std::int64_t j = 0; j < n; j += S::W) {
      int m = n - j < S::W ? (int)(n - j) : S::W;
      V y, d;
      tanh_of<C>(S::loadn(z + j, m, 0) / cap, y, d);
      S::storen(z + j, y * cap, m);
      if (slope) S::storen(slope + j, d, m);
    }
  }
  if (job.temperature != 1)
    for (std::int64_t j = 0; j < n; ++j) z[j] /= (C)job.temperature;
  if (job.take_log)
    for (std::int64_t j = 0; j < n; j += S::W) {
      int m = n - j < S::W ? (int)(n - j) : S::W;
      S::storen(z + j, log_of<C>(S::loadn(z + j, m, 1)), m);
    }
}

// A raw score of a row in the computing type, transformed as the row's scores are.
template <class C>
C transformed(const Job& job, double score) {
  C t[Simd<C>::W] = {(C)score};
  transform<C>(job, t, nullptr, 1);
  return t[0];
}

template <class C>
void apply_mask(const char* mask, std::int64_t stride, std::int64_t n, C* z) {
  for (std::int64_t j = 0; j < n; ++j) z[j] = mask[j * stride] ? z[j] : (C)-__builtin_inf();
}
