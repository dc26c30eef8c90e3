// Elementary functions by themselves, to be measured by the tests. In: n numbers. Out: n numbers.

template <class C>
void exp_alone(const C* x, C* y, std::int64_t n) {
  using S = Simd<C>;
  const ExpAt<C> k = ExpAt<C>::make(S::set1(0));
  for (std::int64_t j = 0; j < n; j += S::W) {
    const int m = (int)least(S::W, n - j);
    S::storen(y + j, exp_of<C>(k, S::loadn(x + j, m, 0)) * S::set1(Constant<C>::unbias), m);
  }
}
template <class C>
void log1p_alone(const C* x, C* y, std::int64_t n) {
  using S = Simd<C>;
  for (std::int64_t j = 0; j < n; j += S::W) {
    const int m = (int)least(S::W, n - j);
    typename S::V hi, lo;
    log1p_pair<C>(S::loadn(x + j, m, 0), S::set1(0), hi, lo);
    S::storen(y + j, hi + lo, m);
  }
}
