// Rows of at most 16 classes without options: softmax, log-softmax, loss and gradient, one vector of rows at
// a time. In: the scores and index targets of a block. Out: its results, in the caller's memory.
//
//   d_j + f_j = z_j - peak exactly      e_j = exp(d_j) (1 + f_j), 1 at the peak      rest = sum of the others
//   loss = t ((peak - z_y) + log1p(rest))        dloss/dz_j = scale t (e_j/(1 + rest) - [j = y])
//
// With so few classes most of the work is done once a row. So a vector of rows stays in registers, the peak's
// exponential is 1 instead of a number to divide by, and only what is asked for is computed. Scores that lie
// in planes of rows are read, and results written, where the caller has them; others pass through scratch.
// Traffic: one read and one write a score.

constexpr int few_classes = 16;

template <class C>
bool has_few(const Job& job, const Cut& cut) {
  const RowResults& o = job.results;
  const EffectiveTarget& t = job.target;
  const bool losses_alone = !o.peak && !o.confidence && !o.rest && !o.gap && !o.mass && !o.spread &&
                            !o.square && !o.moment && !o.argmax && !o.rank && !job.top.k;
  return cut.lanes && job.shape.classes <= few_classes && !is_backward(job.op) && job.op != Op::pick &&
         losses_alone && t.kind != Target::dense && t.on == 1 && t.off == 0 && job.z_loss == 0 &&
         !t.of_shard && !job.known.rest && !has_transform(job.transform) &&
         job.in_double == (job.x.dtype == Dtype::f64);
}

enum class Few { softmax, log_softmax, loss, grad, both };  // both: loss and gradient

// What a vector of rows reads and writes besides scores and a matrix of results; all optional.
template <class C>
struct FewTargets {
  const C *label, *weight;  // the target's class, and t
  C scale, scale_lo;        // of the gradient
};
template <class C>
struct FewLosses {
  C *loss, *lse;
};

// The results of rows with one class: probability 1, loss and gradient 0. NaN where the score is infinite.
template <class C, Few WHAT>
LL_INLINE void only_class(typename Simd<C>::V x, typename Simd<C>::V t, C* to, FewLosses<C> losses, int m) {
  using S = Simd<C>;
  const auto odd = x - x, lost = S::keep(S::neq(t, S::set1(0)), odd);
  if constexpr (WHAT == Few::softmax) S::store(to, S::set1(1) + odd);
  if constexpr (WHAT == Few::log_softmax) S::store(to, odd);
  if constexpr (WHAT == Few::grad || WHAT == Few::both) S::store(to, lost);
  if (WHAT != Few::grad && losses.loss) S::storen(losses.loss, lost, m);
  if (WHAT != Few::grad && losses.lse) S::storen(losses.lse, x, m);
}

// m <= W rows: the scores of `in`, of which W rows can be read, to the results of `to`.
template <class C, Few WHAT>
LL_INLINE void few_rows(Columns<const C> in, FewTargets<C> target, Columns<C> to, FewLosses<C> losses,
                        int m) {
  using S = Simd<C>;
  using K = Constant<C>;
  using V = typename S::V;
  constexpr bool writes = WHAT != Few::loss && WHAT != Few::log_softmax;  // exponentials
  constexpr bool targets = WHAT == Few::loss || WHAT == Few::grad || WHAT == Few::both;
  constexpr bool logarithm = WHAT == Few::log_softmax || WHAT == Few::loss || WHAT == Few::both;
  const std::int64_t n = in.n;
  const V zero = S::set1(0), one = S::set1(1), inf = S::set1((C)__builtin_inf());
  V x[few_classes], e[few_classes], peak = -inf, zy = zero, y = zero, t = zero;
  if constexpr (targets) y = S::load(target.label), t = S::load(target.weight);
  if (n == 1) return only_class<C, WHAT>(S::load(in.at), t, to.at, losses, m);
  V at = zero;
  for (std::int64_t j = 0; j < n; ++j) {
    x[j] = S::load(in.at + j * in.ld);
    peak = S::max(x[j], peak);
    if constexpr (targets) zy = S::blend(S::eq(at, y), x[j], zy), at = at + one;
  }
  const ExpAt<C> k = ExpAt<C>::beside(peak);
  Fold<C, Take::rest, true, logarithm, logarithm, true> f;
  if (n <= (logarithm ? 2 : 4)) {  // for a logarithm at most one number: then their sum is exact
    for (std::int64_t j = 0; j < n; ++j) e[j] = f.template step<writes, true>(k, peak, x[j]);
    f.only();
  } else {
    for (std::int64_t j = 0; j < n; ++j) {
      e[j] = f.template step<writes, true>(k, peak, x[j]);
      if (j % f.block == f.block - 1 || j == n - 1) f.flush();
    }
    f.close();
  }
  // exponentials, and what is summed of them, carry the factor 2^BIAS
  const V bias = S::set1(K::bias);
  V rest = f.total.hi, rest_lo = f.total.lo, times = zero, times_lo = zero, log = zero, log_lo = zero;
  if constexpr (logarithm) peak = S::blend(S::eq(rest, rest), peak, rest);  // a NaN among the scores
  const V odd = peak - peak;                                                // NaN where the peak is infinite
  if constexpr (writes) {
    V all, all_lo;
    two_sum(f.count * bias, rest, all, all_lo);
    pair_inverse<C>(all, all_lo + rest_lo, times, times_lo);
    times = times + odd;
  }
  if constexpr (logarithm) {
    V r, r_lo;
    fast_two_sum(rest, rest_lo, rest, rest_lo);
    two_sum((f.count - one) * bias, rest, rest, r);
    rest_lo = rest_lo + r;
    fast_two_sum(rest * S::set1(K::unbias), rest_lo * S::set1(K::unbias), r, r_lo);
    log1p_pair<C>(r, r_lo, log, log_lo);
  }
  if constexpr (WHAT == Few::softmax) {
    for (std::int64_t j = 0; j < n; ++j) S::store(to.at + j * to.ld, S::fma(e[j], times, e[j] * times_lo));
    return;
  }
  if constexpr (WHAT == Few::log_softmax) {
    log = log + odd;
    for (std::int64_t j = 0; j < n; ++j) S::store(to.at + j * to.ld, (x[j] - peak) - log);
    return;
  }
  if constexpr (WHAT == Few::grad) rest = S::fma(f.count - one, bias, rest);
  const auto kept = S::neq(t, zero), top = S::eq(zy, peak);
  if (WHAT != Few::grad && losses.loss) {
    V h, fine;
    const V gap = S::keep(S::without(kept, top), t * (peak - zy));
    two_sum(gap, t * log, h, fine);
    fine = S::fma(t, log_lo, fine);
    S::storen(losses.loss, S::keep(kept, S::blend(S::lt(h, inf), h + fine, h) + odd), m);
  }
  if (WHAT != Few::grad && losses.lse) {
    V h, fine;
    two_sum(peak, log, h, fine);
    S::storen(losses.lse, S::blend(S::lt(S::abs(peak), inf), h + (fine + log_lo), peak), m);
  }
  if constexpr (WHAT == Few::grad || WHAT == Few::both) {
    const V scale = S::set1(target.scale), scale_lo = S::set1(target.scale_lo);
    V h, l;
    pair_product<C>(times, times_lo, scale, scale_lo, h, l);
    pair_product<C>(h, l, t, zero, h, l);
    const V minus = S::fma(t, scale, t * scale_lo);
    const V at_top = -S::fma(rest, h, S::fma(rest, l, rest_lo * h));  // p - 1 = -rest/(1 + rest)
    at = zero;
    for (std::int64_t j = 0; j < n; ++j, at = at + one) {
      const V p = S::fma(e[j], h, e[j] * l);
      const V g = S::blend(S::eq(at, y), S::blend(top, at_top, p - minus), p);
      S::store(to.at + j * to.ld, S::keep(kept, g));
    }
  }
}

template <class C, Few WHAT>
void few_block_of(const Job& job, Workspace<C>& work, Block block) {
  constexpr int W = Simd<C>::W;
  const Shape& shape = job.shape;
  State<C>& st = work.state;
  Buffers<C>& buf = work.buffers;
  const int rows = block.rows;
  const std::int64_t n = shape.classes, ld = work.cut.block;
  const bool writes = job.out != nullptr;
  C* const loss = (C*)job.losses.at;
  C* const lse = (C*)job.results.lse;
  const C scale = (C)job.scale, scale_lo = (C)(job.scale - (double)(C)job.scale);
  // rows i ... i + m - 1 of the block
  auto rows_at = [&](int i, int m, const C* z, std::int64_t z_ld, C* to,
                     std::int64_t to_ld) LL_INLINE_LAMBDA {
    const std::int64_t row = block.row + i;
    few_rows<C, WHAT>({z, z_ld, n}, {st.label + i, st.weight + i, scale, scale_lo}, {to, to_ld, n},
                      {loss ? loss + row : nullptr, lse ? lse + row : nullptr}, m);
  };
  auto in_place = [&](const Operand& a) {
    return has_planes(shape, a) && a.aligned && a.dtype == dtype_of<C> &&
           a.class_stride % (std::int64_t)sizeof(C) == 0 &&
           (shape.axes == 1 || shape.extent[shape.axes - 1] >= 4 * W);
  };
  if (in_place(job.x) && (!writes || (in_place(*job.out) && !work.cut.streaming))) {
    const std::int64_t x_ld = job.x.class_stride / (std::int64_t)sizeof(C),
                       to_ld = writes ? job.out->class_stride / (std::int64_t)sizeof(C) : 0;
    for (int i = 0, count; i < rows; i += count) {
      char *x, *out = nullptr;
      count = run_of(shape, job.x, block.from(i), x);
      if (writes) run_of(shape, *job.out, block.from(i), out);
      int r = 0;
      for (; r + W <= count; r += W) rows_at(i + r, W, (const C*)x + r, x_ld, (C*)out + r, to_ld);
      if (r == count) continue;
      for (std::int64_t j = 0; j < n; ++j)
        Simd<C>::store(buf.z + j * W, Simd<C>::loadn((const C*)x + r + j * x_ld, count - r, 0));
      rows_at(i + r, count - r, buf.z, W, buf.z, W);
      for (std::int64_t j = 0; writes && j < n; ++j)
        Simd<C>::storen((C*)out + r + j * to_ld, Simd<C>::load(buf.z + j * W), count - r);
    }
    return;
  }
  load_columns(shape, job.x, block, work, buf.z);
  const Ahead ahead = next_block<C>(shape, job.x, block);
  for (int i = 0; i < rows; i += W) {
    for (std::int64_t j = 0; j < n; ++j) ahead.at(i).fetch(j);
    rows_at(i, (int)least(W, rows - i), buf.z + i, ld, buf.z + i, ld);
    for (std::int64_t j = 0; j < n; j += 8) buf.drain.some();
  }
  if (writes) store_columns(job, block, work);
}

template <class C>
void few_block(const Job& job, Workspace<C>& work, Block block) {
  State<C>& st = work.state;
  const int rows = block.rows;
  if (const C* w = (const C*)job.target.class_weight)
    for (int i = 0; i < rows; ++i)
      if (st.y[i] >= 0) st.weight[i] = (C)((double)st.weight[i] * (double)w[st.y[i]]);
  for (int i = rows; i < (int)round_up(rows, Simd<C>::W); ++i) st.label[i] = -1, st.weight[i] = 0;
  switch (job.op) {
    case Op::softmax: return few_block_of<C, Few::softmax>(job, work, block);
    case Op::log_softmax: return few_block_of<C, Few::log_softmax>(job, work, block);
    case Op::grad:
      if (!job.losses.at) return few_block_of<C, Few::grad>(job, work, block);
      return few_block_of<C, Few::both>(job, work, block);
    default: return few_block_of<C, Few::loss>(job, work, block);
  }
}
