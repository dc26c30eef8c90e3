// The state of a block of rows between the passes, and what is computed once a row, on vectors of rows.
//
//   before finish: peak, sum (hi + lo), count of the peaks, zy, mass, gap, spread, square
//   after:         rest + lo, log1p(rest) = log1p + log1p_lo, lse, confidence, loss, and for what is written
//                  out_j = e_j (times + times_lo) - t_j minus       out_y = at_target
//
// with e_j = exp(z_j) 2^(BIAS - np) as math.hpp leaves it.
//
// Accuracy: loss and lse are sums of pairs rounded once. p_y - 1 at the peak is -rest/(1 + rest).

template <class C>
struct State {
  static constexpr int most = 512;  // rows a block, at most
  // Elements from one field to the next: an odd number of cache lines, or all fields would share a few sets.
  static constexpr int pitch = most + 64 / (int)sizeof(C);
  C *peak, *at, *hi, *lo, *count, *spread, *square, *zy, *mass, *gap, *weight, *times, *times_lo, *minus,
      *at_target, *log1p, *log1p_lo, *confidence, *low, *column, *rest, *lse, *loss, *other, *tilt;
  C* lanes;  // W x W matrices: one vector a row, to be folded over its lanes
  std::int64_t* y;
  char** x_row;

  static constexpr std::int64_t bytes() {
    return (28 * pitch + 4 * Simd<C>::W * Simd<C>::W) * (std::int64_t)sizeof(C) + most * 8 + 2 * most * 8 +
           64;
  }
  // Lays itself out at p (64-byte aligned); returns the first byte behind.
  char* place(char* p) {
    C* c = (C*)p;
    C** fields[] = {&peak,       &hi,     &lo,     &count,    &spread, &square,    &zy,    &mass,
                    &gap,        &weight, &times,  &times_lo, &minus,  &at_target, &log1p, &log1p_lo,
                    &confidence, &low,    &column, &rest,     &lse,    &loss,      &other, &tilt};
    for (C** f : fields) *f = c, c += pitch;
    at = c, c += 3 * pitch;
    lanes = c, c += 4 * Simd<C>::W * Simd<C>::W;
    y = (std::int64_t*)c;
    x_row = (char**)(y + most);
    return (char*)(x_row + 2 * most);
  }
};

// Reads the rows' targets and weights: y = -1 and weight = 0 for an ignored row. Loops over one kind of
// number each, so that the compiler can make vectors of them.
template <class C>
void take_targets(const Job& job, State<C>& st, std::int64_t row, int rows) {
  if (job.target == Target::none) return;
  std::int64_t* y = st.y;
  C *weight = st.weight, *column = st.column;
  const double* given = job.sample_weight ? job.sample_weight + row : nullptr;
  if (job.target != Target::index) {
    for (int i = 0; i < rows; ++i) y[i] = -1, weight[i] = given ? (C)given[i] : 1;
    return;
  }
  load_indices(job.index, job.index_dtype, row, rows, y);
  const std::int64_t classes = job.classes, ignore = job.has_ignore ? job.ignore : -1;
  for (int i = 0; i < rows;
       ++i)  // one outside of the classes has been refused already, unless it changed since
    y[i] = (y[i] < 0) | (y[i] >= classes) | (y[i] == ignore) ? -1 : y[i];
  if (given)
    for (int i = 0; i < rows; ++i) y[i] = (C)given[i] != 0 ? y[i] : -1;
  for (int i = 0; i < rows; ++i) column[i] = (C)(std::int32_t)y[i];  // used where no class is beyond 2^24
  for (int i = 0; i < rows; ++i) weight[i] = (C)(job.shard ? 1 : 1 + (std::int32_t)(y[i] >> 63));
  if (given)
    for (int i = 0; i < rows; ++i) weight[i] = weight[i] != 0 ? (C)given[i] : 0;
}

// Whether a row has no part in a gradient: all of it is 0, whatever the scores are.
template <class C>
LL_INLINE bool is_inactive(const Job& job, const State<C>& st, std::int64_t row, int i) {
  if (st.weight[i] != 0) return false;
  if (!job.known.mass) return true;
  return job.known.mass[row + i] == 0 && !(job.known.tilt && job.known.tilt[row + i] != 0);
}

// mass, gap and t_y (in `other`) of index targets; `gap` holds gap_scale sum_j w_j (peak - z_j) on entry if
// off != 0.
template <class C>
void index_mass_and_gap(const Job& job, State<C>& st, int rows) {
  const C* w = (const C*)job.class_weight;
  const C *weight = st.weight, *peak = st.peak, *zy = st.zy;
  C *mass = st.mass, *gap = st.gap, *other = st.other;
  if (!w) {
    const C on = (C)job.on;  // 1: without smoothing there is nothing to spread
    for (int i = 0; i < rows; ++i) {
      const C t = st.y[i] >= 0 ? weight[i] * on : 0;
      const C below = t == 0 || zy[i] == peak[i] ? 0 : peak[i] - zy[i];
      mass[i] = other[i] = t;
      gap[i] = mass[i] * below;
    }
    return;
  }
  const double off_gap = job.off / gap_scale<C>(job);
  for (int i = 0; i < rows; ++i) {
    const double s = weight[i], wy = st.y[i] >= 0 ? (double)w[st.y[i]] : 0;
    const double below = zy[i] == peak[i] ? 0 : (double)peak[i] - (double)zy[i];
    const double lost = (wy * job.on == 0 ? 0 : wy * job.on * below) + (job.off != 0 ? off_gap * gap[i] : 0);
    gap[i] = s == 0 ? 0 : (C)(s * lost);
    mass[i] = (C)(s * (wy * job.on + job.off * job.class_weight_sum));
    other[i] = (C)(s * wy * (job.on + job.off));
  }
}

// exp(z) 2^(BIAS - np) of one score a row.
template <class C>
LL_INLINE typename Simd<C>::V exp_of(const ExpAt<C>& k, typename Simd<C>::V z) {
  using S = Simd<C>;
  typename S::V s, w;
  typename S::M live;
  exp_parts<C, true>(k, z, s, w, live);
  return S::keep(live, S::fma(w, s, s));
}

// From the sums: times = 1/(sum of all exponentials), NaN where the peak is infinite; and if REST also
// rest = sum/E, log1p(rest), lse, confidence.
template <class C, bool REST>
void finish_rest(State<C>& st, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  const V one = S::set1(1), none = S::set1((C)-__builtin_inf());
  for (int i = 0; i < rows; i += S::W) {
    V peak = S::load(st.peak + i), hi, lo, all, all_lo, E, E_lo, times, times_lo;
    const V count = S::load(st.count + i);
    fast_two_sum(S::load(st.hi + i), S::load(st.lo + i), hi, lo);
    peak = S::blend(S::eq(hi, hi), peak, hi);  // a NaN among the scores
    exp_pair<C>(ExpAt<C>::load(st.at + i, State<C>::pitch), peak, E, E_lo);
    two_sum(E * count, hi, all, all_lo);  // exact but for the rounding of E * count where there are ties
    pair_inverse<C>(all, all_lo + (lo + E_lo * count), times, times_lo);
    S::store(st.peak + i, peak);
    S::store(st.times + i, times + (peak - peak)), S::store(st.times_lo + i, times_lo);
    if constexpr (REST) {
      V inverse, inverse_lo, r, r_lo, l, l_lo, s, s_lo;
      pair_inverse<C>(E, E_lo, inverse, inverse_lo);
      pair_product<C>(hi, lo, inverse, inverse_lo, r, r_lo);
      two_sum(count - one, r, r, s);
      fast_two_sum(r, r_lo + s, r, r_lo);
      r = S::keep(S::neq(peak, none), r) +
          S::keep(S::neq(peak, none), peak - peak);  // none: 0; infinite: NaN
      log1p_pair<C>(r, r_lo, l, l_lo);
      two_sum(peak, l, s, s_lo);
      S::store(st.rest + i, r), S::store(st.lo + i, r_lo), S::store(st.log1p + i, l),
          S::store(st.log1p_lo + i, l_lo);
      S::store(st.lse + i,
               S::blend(S::lt(S::abs(peak), S::set1((C)__builtin_inf())), s + (s_lo + l_lo), peak));
      S::store(st.confidence + i, S::fma(E, times, S::fma(E, times_lo, E_lo * times)) + (peak - peak));
      S::store(st.spread + i, S::load(st.spread + i) * inverse);
      S::store(st.square + i,
               S::load(st.square + i) * inverse * inverse + S::keep(S::neq(peak, none), count - one));
    }
  }
}

// Without a z-loss a row whose t is 0 throughout is inactive, whatever it holds: its mass is 0.
template <class C>
LL_INLINE bool needs_mass(const Job& job) {
  return job.z_loss == 0 && !job.known.mass;
}

// loss = gap + mass log1p(rest) [+ s z_loss lse^2], NaN where the peak is infinite; 0 in an inactive row.
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
    const V part = needs_mass<C>(job) ? mass : S::load(st.weight + i);
    S::store(st.loss + i, S::keep(S::neq(part, S::set1(0)), loss));
  }
}

// What the gradient's pass over the classes needs of a row; products of pairs, rounded when they are used.
template <class C>
void finish_grad(const Job& job, State<C>& st, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  const double exact = job.scale / job.temperature;
  const V scale = S::set1((C)exact), scale_lo = S::set1((C)(exact - (double)(C)exact));
  const bool alone = job.classes == 1 && !job.known.mass;  // p = 1, and t is the mass
  if (needs_mass<C>(job))
    for (int i = 0; i < rows; ++i) st.weight[i] = st.mass[i] == 0 ? 0 : st.weight[i];
  for (int i = 0; i < rows; i += S::W) {
    const V mass = S::load(st.mass + i);
    V a = alone ? S::set1(0) : mass, s = S::load(st.weight + i);
    if (job.z_loss != 0) a = S::fma(s * S::set1((C)(2 * job.z_loss)), S::load(st.lse + i), a);
    const V share = S::load(st.times + i), share_lo = S::load(st.times_lo + i);
    const V tilt = job.known.tilt ? S::load(st.tilt + i) : S::set1(0);
    V h, l, q, q_lo;
    pair_product<C>(share, share_lo, scale, scale_lo, h, l);
    if (job.known.tilt) S::store(st.tilt + i, S::load(st.tilt + i) * h);
    pair_product<C>(h, l, a, S::set1(0), h, l);
    S::store(st.times + i, h), S::store(st.times_lo + i, l);
    S::store(st.minus + i, alone ? S::set1(0) : S::fma(s, scale, s * scale_lo));
    if (job.target != Target::index) continue;
    const V t = alone ? S::set1(0) : S::load(st.other + i), zy = S::load(st.zy + i);
    // at the peak: a p - t = (a - t) - a (1 - p), and 1 - p is the share of the others: rest/(1 + rest)
    const V r = S::load(st.rest + i);
    V u, u_lo;
    two_sum(S::set1(1), r, u, u_lo);
    pair_inverse<C>(u, u_lo + S::load(st.lo + i), u, u_lo);
    pair_product<C>(r, S::load(st.lo + i), u, u_lo, q, q_lo);
    pair_product<C>(q, q_lo, a, S::set1(0), q, q_lo);
    V p, p_lo, d, d_lo;
    exp_pair<C>(ExpAt<C>::load(st.at + i, State<C>::pitch), zy, p, p_lo);
    pair_product<C>(p, p_lo, share, share_lo, p, p_lo);
    V c = a;
    if (job.known.tilt) c = S::fma(tilt, S::keep(S::neq(p, S::set1(0)), zy - S::load(st.peak + i)), a);
    pair_product<C>(p, p_lo, c, S::set1(0), p, p_lo);
    const auto top = S::eq(zy, S::load(st.peak + i));
    two_sum(S::blend(top, a - t, p), S::blend(top, -q, -t), d, d_lo);
    const V g = d, g_lo = d_lo + S::blend(top, -q_lo, p_lo);
    pair_product<C>(g, g_lo, scale, scale_lo, h, l);
    S::store(st.at_target + i, (h + l) + (share - share));
  }
}

// Hands the block's results to the caller's arrays; `row` is the first.
template <class C>
void put_rows(const Job& job, State<C>& st, std::int64_t row, int rows) {
  const RowResults& o = job.rows_out;
  auto put = [&](void* to, const C* from, bool wide) {
    if (!to) return;
    if (wide)
      for (int i = 0; i < rows; ++i) ((double*)to)[row + i] = (double)from[i];
    else
      for (int i = 0; i < rows; ++i) ((float*)to)[row + i] = (float)from[i];
  };
  auto put_double = [&](double* to, const C* from) {
    if (!to) return;
    for (int i = 0; i < rows; ++i) to[row + i] = (double)from[i];
  };
  put(o.loss, st.loss, o.wide), put(o.lse, st.lse, o.wide);
  put(o.peak, st.peak, o.wide_peak), put(o.confidence, st.confidence, o.wide);
  if (o.rest)
    for (int i = 0; i < rows; ++i) o.rest[row + i] = (double)st.rest[i] + (double)st.lo[i];
  put_double(o.gap, st.gap), put_double(o.mass, st.mass);
  put_double(o.spread, st.spread), put_double(o.square, st.square);
}
