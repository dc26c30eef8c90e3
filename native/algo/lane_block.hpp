// A block of rows as columns (lanes.hpp). In: its scores and targets, in the caller's memory. Out: its
// results, in the State or in the caller's matrix.

// The sums of the exponentials; and where a matrix of them is to be written, the exponentials in place of z.
template <class C>
void lane_sums(const Job& job, Workspace<C>& work, Columns<C> z, int rows, Ahead ahead) {
  using P = LanePasses<C>;
  State<C>& st = work.state;
  Drain<C>& drain = work.buffers.drain;
  Stop* const stop = work.stop;
  for (int i = 0; i < rows; i += P::W) {
    const Columns<C> at{z.at + i, z.ld, z.n};
    switch (job.op) {
      case Op::softmax:
      case Op::grad: P::template sum_exp<Take::rest, true>(stop, st, i, at, ahead.at(i), drain); break;
      default:
        if (job.results.moment)
          P::template sum_exp<Take::second, false>(stop, st, i, at, ahead.at(i), drain);
        else if (wants_moments(job.results))
          P::template sum_exp<Take::moments, false>(stop, st, i, at, ahead.at(i), drain);
        else
          P::template sum_exp<Take::rest, false>(stop, st, i, at, ahead.at(i), drain);
    }
  }
}

// The exponentials in place of z, where their sums are known.
template <class C>
void lane_exps(Workspace<C>& work, Columns<C> z, int rows, Ahead ahead) {
  using S = Simd<C>;
  const State<C>& st = work.state;
  Drain<C>& drain = work.buffers.drain;
  C* const t = z.at;
  const std::int64_t ld = z.ld;
  for (int i = 0; i < rows; i += S::W) {
    const ExpAt<C> k = ExpAt<C>::load(st.at + i, State<C>::pitch);
    for (std::int64_t j = 0; j < z.n; ++j) {
      ahead.at(i).fetch(j);
      S::store(t + j * ld + i, exp_of<C>(k, S::load(t + j * ld + i)));
      if (j % 4 == 3) drain.some();
    }
  }
}

// The results, in place of z or its exponentials.
template <class C>
void lane_write(const Job& job, Workspace<C>& work, Block block) {
  using S = Simd<C>;
  using V = typename S::V;
  const State<C>& st = work.state;
  const Buffers<C>& buf = work.buffers;
  const EffectiveTarget& target = job.target;
  const std::int64_t n = job.shape.classes, ld = work.cut.block;
  const int rows = block.rows;
  const C* w = (const C*)target.class_weight;
  for (int i = 0; i < rows; i += S::W) {
    C *t = buf.z + i, *q = buf.q + i, *slope = buf.slope + i;
    const auto numbers = WriteNumbers<C>::load(st, i);
    // t[j] = f(what t[j] held, j): its score or exponential
    auto write = [&](auto&& f) LL_INLINE_LAMBDA {
      for (std::int64_t j = 0; j < n; ++j) S::store(t + j * ld, f(S::load(t + j * ld), j));
    };
    if (job.op == Op::log_softmax) {
      const V peak = S::load(st.peak + i), l = S::load(st.log1p + i);
      write([&](V z, std::int64_t) LL_INLINE_LAMBDA { return log_probability(z, peak, l); });
    } else if (job.op == Op::softmax || (target.kind == Target::index && target.off == 0)) {
      write([&](V e, std::int64_t) LL_INLINE_LAMBDA { return numbers.probability(e); });
    } else if (target.kind == Target::index) {
      write([&](V e, std::int64_t j) LL_INLINE_LAMBDA {
        return less_target(numbers.probability(e), S::set1((C)(w[j] * target.off)), numbers.minus);
      });
    } else {
      const DenseShare<C> share(target);
      write([&](V e, std::int64_t j) LL_INLINE_LAMBDA {
        return less_target(numbers.probability(e), share(S::set1(w[j]), S::load(q + j * ld)), numbers.minus);
      });
    }
    if (job.op == Op::grad) {
      if (target.kind == Target::index && n <= (1 << 24)) {
        // by comparison instead of by index: a vector that is read just after a narrow write has to wait for
        // it
        const V y = S::load(st.label + i), value = S::load(st.at_target + i);
        V at = S::set1(0);
        for (std::int64_t j = 0; j < n; ++j, at = at + S::set1(1))
          S::store(t + j * ld, S::blend(S::eq(at, y), value, S::load(t + j * ld)));
      } else if (target.kind == Target::index) {  // beyond what a float counts
        for (int r = 0; r < (int)least(S::W, rows - i); ++r)
          if (st.y[i + r] >= 0) t[st.y[i + r] * ld + r] = st.at_target[i + r];
      }
      if (job.transform.softcap != 0)
        for (std::int64_t j = 0; j < n; ++j)
          S::store(t + j * ld, S::load(t + j * ld) * S::load(slope + j * ld));
      const auto kept = S::neq(S::load(st.weight + i), S::set1(0));
      if (S::bits(kept) != (1u << S::W) - 1u)
        for (int r = 0; r < (int)least(S::W, rows - i); ++r)
          if (is_inactive(job.known, st, block.row, i + r))
            for (std::int64_t j = 0; j < n; ++j) t[j * ld + r] = 0;
    } else if (job.transform.mask) {
      for (int r = 0; r < (int)least(S::W, rows - i); ++r)
        if (st.masked[i + r] != 0) clear_masked(job, st, i + r, t + r, ld);
    }
  }
}

// dx from the operation's output y (buffers.z) and dy (buffers.q), in place of y.
template <class C, bool SOFT>
void lane_backward(std::int64_t n, const Workspace<C>& work, int rows) {
  using S = Simd<C>;
  const Buffers<C>& buf = work.buffers;
  const std::int64_t ld = work.cut.block;
  for (int i = 0; i < rows; i += S::W) {
    C *y = buf.z + i, *g = buf.q + i;
    Pair<C> sum;
    fold_stretches<lane_stretch>(
        work.stop, n, sum, [&](Pair<C>& part, std::int64_t j, std::int64_t length) LL_INLINE_LAMBDA {
          part.zero();
          for (const std::int64_t end = j + length; j < end; ++j)
            part.add(SOFT ? S::load(y + j * ld) * S::load(g + j * ld) : S::load(g + j * ld));
        });
    const BackwardFormula<C, SOFT> dx(sum.value());
    for (std::int64_t j = 0; j < n; ++j) S::store(y + j * ld, dx(S::load(y + j * ld), S::load(g + j * ld)));
  }
}

template <class C>
void lane_block(const Job& job, Workspace<C>& work, Block block) {
  using S = Simd<C>;
  using P = LanePasses<C>;
  State<C>& st = work.state;
  Buffers<C>& buf = work.buffers;
  Stop* const stop = work.stop;
  const Shape& shape = job.shape;
  const int rows = block.rows;
  const std::int64_t n = shape.classes, ld = work.cut.block;
  const Columns<C> z{buf.z, ld, n};
  load_columns(shape, job.x, block, work, buf.z);
  const Ahead ahead = next_block<C>(shape, job.x, block);
  const bool is_long = n > stretch<C>;  // long enough for the call to be stopped within the block
  if (is_long && stopped(stop)) return;
  if (job.second) load_columns(shape, *job.second, block, work, buf.q);
  transform(job.transform, buf.z, buf.slope, n * ld);
  if (const Operand* mask = job.transform.mask) {
    char** at = st.x_row;
    locate(shape, *mask, block, at);
    for (int i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        if (!at[i][j * mask->class_stride]) buf.z[j * ld + i] = (C)-__builtin_inf();
  }
  if (is_backward(job.op)) {
    if (job.op == Op::softmax_backward)
      lane_backward<C, true>(n, work, rows);
    else
      lane_backward<C, false>(n, work, rows);
  } else {
    const Target kind = job.target.kind;
    if (job.known.rest) restore_sums(job.known, st, block);
    for (int i = 0; i < rows; i += S::W) {
      const Columns<C> at{buf.z + i, ld, n};
      if (!job.known.rest) {
        S::store(st.peak + i, job.op == Op::pick ? S::set1(0) : P::peak(at));
        ExpAt<C>::make(S::load(st.peak + i)).store(st.at + i, State<C>::pitch);
      }
      if (kind == Target::dense || (kind == Target::index && job.target.off != 0))
        P::gaps(job, stop, st, i, at, kind == Target::dense ? buf.q + i : nullptr);
    }
    if (kind != Target::none)
      for (int i = 0; i < rows; ++i) st.zy[i] = st.y[i] >= 0 ? buf.z[st.y[i] * ld + i] : 0;
    if (job.op == Op::pick) return finish_pick(job.target, st, rows);
    if (job.known.rest)
      lane_exps(work, z, rows, ahead);
    else
      lane_sums(job, work, z, rows, ahead);
    if (is_long && stopped(stop)) return;
    finish(job, st, block);
    rank_block<C>(job, stop, st, block, ld, nullptr, [&](int i) { return buf.z + i; });
    if (!job.out) return;
    lane_write(job, work, block);
  }
  store_columns(job, block, work);
}
