// What is computed once a row, on vectors of rows. In: a block's State after the sums over its classes. Out:
// the results of one number a row, and the factors of the write pass, in the State.
//
// Accuracy: loss and lse are sums of pairs, rounded once. p_y - 1 at the peak is -rest/(1 + rest).

// Whether the entropy or the sum of p^2 is wanted.
LL_INLINE bool wants_moments(const RowResults& o) { return o.spread || o.square; }

// Whether the loss or another logarithm is.
LL_INLINE bool wants_log(const Job& job) {
  return job.op == Op::grad || job.losses.at || job.results.lse || job.top.k;
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

// From the sums: times = 1/(sum of all exponentials), NaN where the peak is infinite; if REST also
// rest = sum/E and confidence; and if LOG besides log1p(rest) and lse.
template <class C, bool REST, bool LOG = REST>
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
      S::store(st.rest + i, r), S::store(st.lo + i, r_lo);
      if constexpr (LOG) {
        log1p_pair<C>(r, r_lo, l, l_lo);
        two_sum(peak, l, s, s_lo);
        S::store(st.log1p + i, l), S::store(st.log1p_lo + i, l_lo);
        S::store(st.lse + i,
                 S::blend(S::lt(S::abs(peak), S::set1((C)__builtin_inf())), s + (s_lo + l_lo), peak));
      }
      S::store(st.confidence + i, S::fma(E, times, S::fma(E, times_lo, E_lo * times)) + (peak - peak));
      S::store(st.spread + i, S::load(st.spread + i) * inverse);
      S::store(st.moment + i, S::load(st.moment + i) * inverse);
      S::store(st.square + i,
               S::load(st.square + i) * inverse * inverse + S::keep(S::neq(peak, none), count - one));
    }
  }
}

// Whether a row with a mass of 0 is inactive, whatever its scores are: there is no z-loss, and the mass is
// that of the whole row.
LL_INLINE bool needs_mass(double z_loss, const KnownRows& known) { return z_loss == 0 && !known.mass; }

// loss = gap + mass log1p(rest) [+ s z_loss lse^2], NaN where the peak is infinite; 0 in an inactive row.
template <class C>
void finish_loss(double z_loss, const KnownRows& known, State<C>& st, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  for (int i = 0; i < rows; i += S::W) {
    V peak = S::load(st.peak + i), mass = S::load(st.mass + i), gap = S::load(st.gap + i);
    V m = mass * S::load(st.log1p + i), h, e;
    two_sum(gap, m, h, e);
    V fine = S::fma(mass, S::load(st.log1p_lo + i), e);
    V loss = S::blend(S::lt(h, S::set1((C)__builtin_inf())), h + fine, h) + (peak - peak);
    if (z_loss != 0) {
      V lse = S::load(st.lse + i);
      loss = S::fma(S::load(st.weight + i) * S::set1((C)z_loss) * lse, lse, loss);
    }
    const V part = needs_mass(z_loss, known) ? mass : S::load(st.weight + i);
    S::store(st.loss + i, S::keep(S::neq(part, S::set1(0)), loss));
  }
}

// The factors of the gradient's write pass; products of pairs, rounded when they are used.
template <class C>
void finish_grad(const Job& job, State<C>& st, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  const double exact = job.scale / job.transform.temperature;
  const V scale = S::set1((C)exact), scale_lo = S::set1((C)(exact - (double)(C)exact));
  const bool alone = job.shape.classes == 1 && !job.known.mass;  // p = 1, and t is the mass
  if (needs_mass(job.z_loss, job.known))
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
    if (job.target.kind != Target::index) continue;
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

// The state after the passes over the scores, from the known peak and rest of the rows.
template <class C>
void restore_sums(const KnownRows& known, State<C>& st, Block block) {
  using S = Simd<C>;
  const int rows = block.rows;
  const C* peak = (const C*)known.peak + block.row;
  const double* rest = known.rest + block.row;
  const int whole = (int)round_up(rows, S::W);
  for (int i = 0; i < whole; ++i) {
    const double r = i < rows ? rest[i] : 0;
    st.peak[i] = i < rows ? peak[i] : 0;
    st.hi[i] = (C)r, st.lo[i] = (C)(r - (double)(C)r), st.count[i] = 1;
  }
  for (int i = 0; i < whole; i += S::W) {
    const auto k = ExpAt<C>::make(S::load(st.peak + i));
    typename S::V E, E_lo, hi, lo;
    exp_pair<C>(k, S::load(st.peak + i), E, E_lo);
    pair_product<C>(S::load(st.hi + i), S::load(st.lo + i), E, E_lo, hi, lo);
    k.store(st.at + i, State<C>::pitch);
    S::store(st.hi + i, hi), S::store(st.lo + i, lo);
  }
}

// loss = -sum t log p, which the sums have found as `gap`, with a peak of 0.
template <class C>
void finish_pick(const EffectiveTarget& target, State<C>& st, int rows) {
  if (target.kind == Target::index) {
    index_mass_and_gap(target, gap_scale<C>(Op::pick), st, rows);  // multiplies by the weights
    for (int i = 0; i < rows; ++i) st.loss[i] = st.weight[i] != 0 ? st.gap[i] : 0;
  } else {
    for (int i = 0; i < rows; ++i) st.loss[i] = st.weight[i] != 0 ? st.weight[i] * st.gap[i] : 0;
  }
}

// After the passes over the scores: the results of one number a row, and the factors of the write pass.
template <class C>
void finish(const Job& job, State<C>& st, Block block) {
  const int rows = block.rows;
  switch (job.op) {
    case Op::softmax:
      finish_rest<C, false>(st, rows);
      find_masked_rows(job.shape, job.transform.mask, st, block);
      break;
    case Op::log_softmax:
      finish_rest<C, true>(st, rows);
      for (int i = 0; i < rows; ++i) st.log1p[i] += st.peak[i] - st.peak[i];  // an infinite peak: NaN
      find_masked_rows(job.shape, job.transform.mask, st, block);
      break;
    case Op::stats:
    case Op::grad:
      if (wants_log(job))
        finish_rest<C, true>(st, rows);
      else
        finish_rest<C, true, false>(st, rows);
      if (job.target.kind == Target::index)
        index_mass_and_gap(job.target, gap_scale<C>(job.op), st, rows);
      else if (job.target.kind == Target::dense)
        for (int i = 0; i < rows; ++i) {
          st.mass[i] = st.weight[i] == 0 ? 0 : st.mass[i] * st.weight[i];
          st.gap[i] = st.weight[i] == 0 ? 0 : st.gap[i] * st.weight[i];
        }
      else
        break;
      if (job.known.mass)
        for (int i = 0; i < rows; ++i) {
          st.mass[i] = (C)job.known.mass[block.row + i];
          st.tilt[i] = job.known.tilt ? (C)job.known.tilt[block.row + i] : 0;
        }
      if (wants_log(job)) finish_loss(job.z_loss, job.known, st, rows);
      if (job.op == Op::grad) finish_grad(job, st, rows);
      break;
    default: break;
  }
}

// Writes the block's results of one number a row to the caller's arrays.
template <class C>
void store_row_results(const Losses& losses, const RowResults& o, const State<C>& st, Block block) {
  const std::int64_t row = block.row;
  const int rows = block.rows;
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
  put(losses.at, st.loss, losses.wide), put(o.lse, st.lse, o.wide);
  put(o.peak, st.peak, o.wide_peak), put(o.confidence, st.confidence, o.wide);
  if (o.rest)
    for (int i = 0; i < rows; ++i) o.rest[row + i] = (double)st.rest[i] + (double)st.lo[i];
  put_double(o.gap, st.gap), put_double(o.mass, st.mass);
  put_double(o.spread, st.spread), put_double(o.square, st.square), put_double(o.moment, st.moment);
}
