// The state of a block of rows between the passes, and the arithmetic that is done once a row, on vectors of rows.
//
//   before finish: peak, total (hi + lo, biased), count, zy, mass, gap, spread, square
//   after:         log1p(rest) = L + L_lo, inverse = 1/(1 + rest), lse, loss, and for what is written
//                  out_j = e_j * (times + times_lo) - t_j * minus     (e_j biased)       out_y = at_target
//
// Accuracy: loss and lse are sums of pairs rounded once. p_y - 1 at the peak is -rest/(1 + rest).

template <class C>
struct State {
  static constexpr int most = 512;  // rows a block, at most
  C *peak, *at, *hi, *lo, *count, *spread, *square, *zy, *mass, *gap, *weight, *times, *times_lo, *minus, *at_target,
      *log1p, *log1p_lo, *inverse, *inverse_lo, *rest, *lse, *loss, *other;
  C* lanes;  // W x W matrices: one vector a row, to be folded over its lanes
  std::int64_t* y;
  char** x_row;

  static constexpr std::int64_t bytes() {
    return (27 * most + 6 * Simd<C>::W * Simd<C>::W) * (std::int64_t)sizeof(C) + most * 8 + 2 * most * 8 + 64;
  }
  // Lays itself out at p (64-byte aligned); returns the first byte behind.
  char* place(char* p) {
    C* c = (C*)p;
    C** fields[] = {&peak,      &hi,    &lo,       &count,   &spread, &square, &zy,  &mass, &gap,   &weight, &times,
                    &times_lo, &minus, &at_target, &log1p, &log1p_lo, &inverse, &inverse_lo, &rest, &lse, &loss, &other};
    for (C** f : fields) *f = c, c += most;
    at = c, c += 5 * most;
    lanes = c, c += 6 * Simd<C>::W * Simd<C>::W;
    y = (std::int64_t*)c;
    x_row = (char**)(y + most);
    return (char*)(x_row + 2 * most);
  }
};

// Reads the rows' targets and weights: y = -1 and weight = 0 for an ignored row.
template <class C>
void take_targets(const Job& job, State<C>& st, std::int64_t row, int rows) {
  for (int i = 0; i < rows; ++i) {
    double s = job.sample_weight ? job.sample_weight[row + i] : 1.0;
    std::int64_t y = -1;
    if (job.target == Target::index) {
      y = index_at(job.index, job.index_dtype, row + i);
      if (job.has_ignore && y == job.ignore) s = 0, y = -1;
      if (y < 0 || y >= job.classes) s = 0, y = -1;  // the caller has refused these already
    }
    if (s == 0) y = -1;
    st.y[i] = y;
    st.weight[i] = job.target == Target::none ? (C)1 : (C)s;
  }
}

// mass and gap of index targets; `gap` holds sum_j w_j (peak - z_j) on entry where off != 0.
template <class C>
void index_mass_and_gap(const Job& job, State<C>& st, int rows) {
  const C* w = (const C*)job.class_weight;
  for (int i = 0; i < rows; ++i) {
    C s = st.weight[i], wy = st.y[i] >= 0 && w ? w[st.y[i]] : (C)1;
    C on = (C)((double)wy * job.on), spread_gap = job.off != 0 ? (C)job.off * st.gap[i] : 0;
    C below = st.zy[i] == st.peak[i] ? 0 : st.peak[i] - st.zy[i];
    st.gap[i] = s == 0 ? 0 : s * ((on == 0 ? 0 : on * below) + spread_gap);
    st.mass[i] = (C)((double)s * ((double)wy * job.on + job.off * job.class_weight_sum));
    st.other[i] = (C)((double)s * (double)wy * (job.on + job.off));  // t_y
  }
}

// exp(z - peak), unbiased, of one score a row.
template <class C>
LL_INLINE typename Simd<C>::V exp_of(const ExpAt<C>& k, typename Simd<C>::V z) {
  using S = Simd<C>;
  typename S::V s, w;
  typename S::M live;
  exp_parts<C>(k, z, s, w, live);
  return S::keep(live, S::fma(w, s, s)) * S::set1(Constant<C>::unbias);
}

// rest, 1/(1 + rest) and, if LOG, log1p(rest) and lse.
template <class C, bool LOG>
void finish_rest(State<C>& st, int rows) {
  using S = Simd<C>;
  using K = Constant<C>;
  using V = typename S::V;
  const V one = S::set1(1), none = S::set1((C)-__builtin_inf());
  for (int i = 0; i < rows; i += S::W) {
    V peak = S::load(st.peak + i), hi = S::load(st.hi + i) * S::set1(K::unbias);
    V lo = S::load(st.lo + i) * S::set1(K::unbias), r, e, r2, u, ue, inverse, inverse_lo;
    two_sum(S::load(st.count + i) - one, hi, r, e);
    fast_two_sum(r, e + lo, r, r2);
    peak = S::blend(S::eq(r, r), peak, r);  // a NaN among the scores
    r = S::keep(S::neq(peak, none), r) + S::keep(S::neq(peak, none), peak - peak);  // none: 0; infinite: NaN
    two_sum(one, r, u, ue);
    pair_inverse<C>(u, ue + r2, inverse, inverse_lo);
    S::store(st.peak + i, peak), S::store(st.rest + i, r), S::store(st.lo + i, r2);
    S::store(st.inverse + i, inverse), S::store(st.inverse_lo + i, inverse_lo);
    if constexpr (LOG) {
      V l, l2, s, se;
      log1p_pair<C>(r, r2, l, l2);
      two_sum(peak, l, s, se);
      S::store(st.log1p + i, l), S::store(st.log1p_lo + i, l2);
      S::store(st.lse + i, S::blend(S::lt(S::abs(peak), S::set1((C)__builtin_inf())), s + (se + l2), peak));
    }
  }
}

// softmax: out = e / (1 + rest), NaN where the peak is infinite.
template <class C>
void finish_softmax(State<C>& st, int rows) {
  using S = Simd<C>;
  const auto unbias = S::set1(Constant<C>::unbias);
  for (int i = 0; i < rows; i += S::W) {
    const auto peak = S::load(st.peak + i);
    S::store(st.times + i, S::load(st.inverse + i) * unbias + (peak - peak));
    S::store(st.times_lo + i, S::load(st.inverse_lo + i) * unbias);
  }
}

// loss = gap + mass log1p(rest) [+ s z_loss lse^2], NaN where the peak is infinite.
template <class C>
void finish_loss(const Job& job, State<C>& st, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  for (int i = 0; i < rows; i += S::W) {
    V peak = S::load(st.peak + i), mass = S::load(st.mass + i), gap = S::load(st.gap + i);
    V m = mass * S::load(st.log1p + i), h, e;
    two_sum(gap, m, h, e);
    V fine = S::fma(mass, S::load(st.log1p_lo + i), e);
    V loss = S::blend(S::lt(h, S::set1((C)__builtin_inf())), h + fine, h) + (peak - peak);
    if (job.z_loss != 0) {
      V lse = S::load(st.lse + i);
      loss = S::fma(S::load(st.weight + i) * S::set1((C)job.z_loss) * lse, lse, loss);
    }
    S::store(st.loss + i, S::keep(S::neq(S::load(st.weight + i), S::set1(0)), loss));
  }
}

// What the gradient's pass over the classes needs of a row; products of pairs, rounded when they are used.
template <class C>
void finish_grad(const Job& job, State<C>& st, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  const double exact = job.scale / job.temperature;
  const V scale = S::set1((C)exact), scale_lo = S::set1((C)(exact - (double)(C)exact));
  for (int i = 0; i < rows; i += S::W) {
    V a = S::load(st.mass + i), s = S::load(st.weight + i);
    if (job.z_loss != 0) a = S::fma(s * S::set1((C)(2 * job.z_loss)), S::load(st.lse + i), a);
    const V inverse = S::load(st.inverse + i), inverse_lo = S::load(st.inverse_lo + i);
    V h, l, q, q_lo;
    pair_product<C>(inverse, inverse_lo, scale, scale_lo, h, l);
    pair_product<C>(h, l, a, S::set1(0), h, l);
    const V undefined = S::load(st.peak + i) - S::load(st.peak + i);  // NaN where the peak is infinite, else 0
    S::store(st.times + i, S::fma(h, S::set1(Constant<C>::unbias), undefined));
    S::store(st.times_lo + i, l * S::set1(Constant<C>::unbias));
    S::store(st.minus + i, S::fma(s, scale, s * scale_lo));
    if (job.target != Target::index) continue;
    const V t = S::load(st.other + i), zy = S::load(st.zy + i);
    // at the peak: a p - t = (a - t) - a rest/(1 + rest)
    pair_product<C>(S::load(st.rest + i), S::load(st.lo + i), inverse, inverse_lo, q, q_lo);
    pair_product<C>(q, q_lo, a, S::set1(0), q, q_lo);
    const V p = exp_of<C>(ExpAt<C>::load(st.at + i, State<C>::most), zy) * inverse;
    const auto top = S::eq(zy, S::load(st.peak + i));
    const V g = S::blend(top, (a - t) - q, S::fma(a, p, -t));
    const V g_lo = S::keep(S::both(top, S::eq(a, t)), -q_lo);
    pair_product<C>(g, g_lo, scale, scale_lo, h, l);
    S::store(st.at_target + i, (h + l) + undefined);
  }
}

// Hands the block's results to the caller's arrays; `row` is the first.
template <class C>
void put_rows(const Job& job, State<C>& st, std::int64_t row, int rows) {
  const RowResults& o = job.rows_out;
  auto put = [&](void* to, const C* from) {
    if (!to) return;
    if (o.wide)
      for (int i = 0; i < rows; ++i) ((double*)to)[row + i] = (double)from[i];
    else
      for (int i = 0; i < rows; ++i) ((float*)to)[row + i] = (float)from[i];
  };
  auto put_double = [&](double* to, const C* from, double factor) {
    if (!to) return;
    for (int i = 0; i < rows; ++i) to[row + i] = (double)from[i] * factor;
  };
  const double unbias = Constant<C>::unbias;
  put(o.loss, st.loss), put(o.lse, st.lse), put(o.peak, st.peak);
  if (o.confidence)
    for (int i = 0; i < rows; ++i) st.other[i] = st.inverse[i] + (st.peak[i] - st.peak[i]);
  put(o.confidence, st.other);
  if (o.rest)
    for (int i = 0; i < rows; ++i) o.rest[row + i] = (double)st.rest[i] + (double)st.lo[i];
  put_double(o.gap, st.gap, 1), put_double(o.mass, st.mass, 1);
  put_double(o.spread, st.spread, unbias), put_double(o.square, st.square, unbias * unbias);
}
