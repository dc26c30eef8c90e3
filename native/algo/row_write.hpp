// The write pass, and the sums of the backward operations, of rows whose classes lie side by side. In: the
// scores or exponentials of rows, and the factors that finish.hpp found. Out: rows of results in the
// computing type.

// The rows of a block during its passes: rows of whole vectors in scratch, or the caller's memory.
template <class C>
struct BlockRows {
  static constexpr int most = Simd<C>::W;
  const C *z[most], *q[most];   // scores and second operand; null in rows that are skipped
  char *at[most], *next[most];  // where the caller has the row, and its counterpart in the next block
  std::int64_t ahead;       // bytes from one to the other; 0: there is no next block, or it lies elsewhere
  bool skip[most];          // inactive, and its statistics are not read
  Standing standing[most];  // what the pass for the extremes found of the target's rank
};

// The backward operations: dx = y (dy - sum dy y) (SOFT), or dy - exp(y) sum dy. `sum_backward` puts the
// lanes of the rows' sums into st.lanes, and `write_backward` writes a row from its sum. `ahead`: bytes to
// what the next block reads.
template <class C, bool SOFT>
LL_INLINE void sum_backward_of(Pair<C>& sum, const C* y, const C* g, std::int64_t n, std::int64_t ahead,
                               Drain<C>& drain) {
  using S = Simd<C>;
  auto part = S::set1(0);
  sum.zero();
  each_vector<C>(
      n,
      [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
        for (const C* p : {y, g})
          __builtin_prefetch((const void*)((std::uintptr_t)(p + j) + (std::uintptr_t)ahead), 0, 2);
        const auto d = S::loadn(g + j, m, 0);
        part = SOFT ? S::fma(S::loadn(y + j, m, 0), d, part) : part + d;
      },
      [&]() LL_INLINE_LAMBDA {
        sum.add(part), part = S::set1(0);
        drain.some();
      });
}
template <class C, bool SOFT>
void sum_backward(Workspace<C>& work, const BlockRows<C>& in, int rows, std::int64_t n, std::int64_t ahead) {
  using S = Simd<C>;
  Drain<C>& drain = work.buffers.drain;
  for (int i = 0; i < rows; ++i) {
    const C *const y = in.z[i], *const g = in.q[i];
    Pair<C> sum;
    if (n <= stretch<C>)
      sum_backward_of<C, SOFT>(sum, y, g, n, ahead, drain);
    else
      fold_stretches<stretch<C>>(work.stop, n, sum, [&](Pair<C>& part, std::int64_t j, std::int64_t m) {
        sum_backward_of<C, SOFT>(part, y + j, g + j, m, ahead, drain);
      });
    S::store(work.state.lanes + i * S::W, sum.value());
  }
}
template <class C, bool SOFT>
LL_INLINE void write_backward(C sum, const C* y, const C* g, std::int64_t n, C* to, bool streaming) {
  using S = Simd<C>;
  const BackwardFormula<C, SOFT> dx(S::set1(sum));
  RowPasses<C>::write(to, n, streaming, -1, 0, [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
    return dx(S::loadn(y + j, m, 0), S::loadn(g + j, m, 0));
  });
}

// A row, or a piece of one, as the write pass reads it: scores, second operand, slopes, exponentials and
// class weights, and the target's position in it, or -1.
template <class C>
struct Row {
  const C *z, *q, *slope, *e, *w;
  std::int64_t n, y;
  std::int64_t ahead;  // bytes to what the next block reads, where the scores are read in place
  bool inactive;       // its gradient is 0
  Row piece_at(std::int64_t j, std::int64_t m) const {
    auto on = [&](const C* p) { return p ? p + j : nullptr; };
    return {on(z), on(q), on(slope), on(e), on(w), m, y >= j && y < j + m ? y - j : -1, ahead, inactive};
  }
};

// Where the write pass takes the exponentials from: an earlier pass, or the scores, with a peak near 0 or far
// from it.
enum class From { sums, near, far };

// Writes row i of the result, or a piece of it.
template <class C, From FROM, bool TILT>
void row_write_from(const Job& job, const State<C>& st, int i, const Row<C>& row, C* to, bool streaming) {
  using S = Simd<C>;
  using V = typename S::V;
  using P = RowPasses<C>;
  const EffectiveTarget& target = job.target;
  const std::int64_t n = row.n;
  const C *z = row.z, *q = row.q, *slope = row.slope, *e = row.e, *w = row.w;
  const auto numbers = WriteNumbers<C>::broadcast(st, i);
  const V tilt = S::set1(TILT ? st.tilt[i] : 0), peak = S::set1(st.peak[i]);
  const ExpAt<C> k = ExpAt<C>::broadcast(st.at + i, State<C>::pitch);
  auto p = [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
    V v;
    if constexpr (FROM == From::sums) {
      v = S::loadn(e + j, m, 0);
    } else {
      V s, u;
      typename S::M live;
      __builtin_prefetch((const void*)((std::uintptr_t)(z + j) + (std::uintptr_t)row.ahead), 0, 2);
      const V x = S::loadn(z + j, m, 0);
      exp_parts<C, FROM == From::far>(k, x, s, u, live);
      v = S::keep(live, S::fma(u, s, s));
      if constexpr (TILT) {  // 0 times infinity is 0
        const V lean = S::keep(S::neq(v, S::set1(0)), (x - peak) * tilt);
        return numbers.tilted(v, lean);
      }
    }
    return numbers.probability(v);
  };
  auto write = [&](std::int64_t at, C value, auto&& f) LL_INLINE_LAMBDA {
    if (slope)
      P::write(to, n, streaming, at, at >= 0 ? value * slope[at] : value,
               [&](std::int64_t j, int m) LL_INLINE_LAMBDA { return f(j, m) * S::loadn(slope + j, m, 0); });
    else
      P::write(to, n, streaming, at, value, f);
  };
  if (row.inactive) {
    P::write(to, n, streaming, -1, 0, [&](std::int64_t, int) LL_INLINE_LAMBDA { return S::set1(0); });
  } else if (job.op == Op::log_softmax) {
    const V l = S::set1(st.log1p[i]);
    P::write(to, n, streaming, -1, 0, [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
      return log_probability(S::loadn(z + j, m, 0), peak, l);
    });
  } else if (job.op == Op::softmax || (target.kind == Target::index && target.off == 0)) {
    write(job.op == Op::softmax ? -1 : row.y, st.at_target[i], p);
  } else if (target.kind == Target::index) {
    const V spread = S::set1((C)((double)st.weight[i] * job.scale / job.transform.temperature * target.off));
    write(row.y, st.at_target[i], [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
      return less_target(p(j, m), S::loadn(w + j, m, 0), spread);
    });
  } else {
    const DenseShare<C> share(target);
    write(-1, 0, [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
      return less_target(p(j, m), share(S::loadn(w + j, m, 0), S::loadn(q + j, m, 0)), numbers.minus);
    });
  }
}

template <class C>
void row_write(const Job& job, const State<C>& st, int i, const Row<C>& row, C* to, bool streaming) {
  if (!job.known.rest)
    row_write_from<C, From::sums, false>(job, st, i, row, to, streaming);
  else if (job.known.tilt)
    row_write_from<C, From::far, true>(job, st, i, row, to, streaming);
  else if (st.at[2 * State<C>::pitch + i] == 0)
    row_write_from<C, From::near, false>(job, st, i, row, to, streaming);
  else
    row_write_from<C, From::far, false>(job, st, i, row, to, streaming);
}
