// The formulas of the write pass. In: vectors of exponentials or scores, and the factors that finish.hpp
// found. Out: vectors of results. One vector is W classes of a row, or W rows of a class: the two forms
// (rows.hpp, lanes.hpp) take the numbers from different places and use the same formulas.
//
//   probability      p = e (times + times_lo)      e = exp(z) 2^(BIAS - np); softmax, and the gradient of an
//                                                  index target without smoothing
//   log-probability  (z - peak) - log1p(rest)
//   smoothed         p - even minus                even: the smoothing's share of a class
//   dense            p - t minus                   t = w (on q + off): see DenseShare
//   backward         y (dy - sum), or dy - exp(y) sum
//
// The target's own gradient is found once a row, in finish.hpp.

// The numbers of a row that the formulas of softmax and of gradients use: vectors of them.
template <class C>
struct WriteNumbers {
  using S = Simd<C>;
  using V = typename S::V;
  V times, times_lo, minus;

  // Of row i for all lanes; of the rows from i on, one a lane.
  static LL_INLINE WriteNumbers broadcast(const State<C>& st, int i) {
    return {S::set1(st.times[i]), S::set1(st.times_lo[i]), S::set1(st.minus[i])};
  }
  static LL_INLINE WriteNumbers load(const State<C>& st, int i) {
    return {S::load(st.times + i), S::load(st.times_lo + i), S::load(st.minus + i)};
  }

  LL_INLINE V probability(V e) const { return S::fma(e, times, e * times_lo); }
  // The same where p leans towards far classes: a shard's gradient with a tilt.
  LL_INLINE V tilted(V e, V lean) const { return S::fma(e, times, e * (times_lo + lean)); }
};

template <class V>
LL_INLINE V log_probability(V z, V peak, V log1p) {
  return (z - peak) - log1p;
}

template <class V>
LL_INLINE V less_target(V p, V t, V minus) {
  return p - t * minus;
}

// A class's share t of a dense target, before the row's weight.
template <class C>
struct DenseShare {
  using S = Simd<C>;
  using V = typename S::V;
  V on, off;
  explicit LL_INLINE DenseShare(const EffectiveTarget& t) : on(S::set1((C)t.on)), off(S::set1((C)t.off)) {}
  LL_INLINE V operator()(V w, V q) const { return w * S::fma(on, q, off); }
};

// dx of the backward operations, from y, dy and the row's sum.
template <class C, bool SOFT>
struct BackwardFormula {
  using S = Simd<C>;
  using V = typename S::V;
  const ExpAt<C> at = ExpAt<C>::make(S::set1(0));
  V sum, unbiased;
  explicit LL_INLINE BackwardFormula(V s) : sum(s), unbiased(s * S::set1(Constant<C>::unbias)) {}
  LL_INLINE V operator()(V y, V dy) const {
    return SOFT ? y * (dy - sum) : S::fnma(exp_of<C>(at, y), unbiased, dy);
  }
};
