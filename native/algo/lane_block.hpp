// A block whose vectors run across rows (lanes.hpp).

// Whether the rows lie side by side in each class, rather than the classes in each row.
LL_INLINE bool has_planes(const Job& job, const Operand& a) {
  const std::int64_t size = size_of(a.dtype);
  return job.axes > 0 && a.stride[job.axes - 1] == size && (a.class_stride != size || job.classes == 1);
}

// How many of the rows from `row` on follow each other along the last axis, and where the first is.
LL_INLINE int run_of(const Job& job, const Operand& a, std::int64_t row, int rows, char*& first) {
  first = a.data;
  if (job.axes == 0) return rows;
  const int last = job.axes - 1;
  std::int64_t at = row;
  if (last > 0) {
    at = row % job.extent[last], row /= job.extent[last];
    rows = (int)least(rows, job.extent[last] - at);
  }
  first += at * a.stride[last];
  for (int d = last - 1; d >= 0; --d) first += row % job.extent[d] * a.stride[d], row /= job.extent[d];
  return rows;
}

// A tile[class][row] from the caller's memory, and back.
template <class C>
void load_tile(const Job& job, const Operand& a, std::int64_t row, int rows, char** at, C* tile, C* scratch) {
  constexpr int W = Simd<C>::W;
  const std::int64_t V = job.classes, ld = job.block, size = size_of(a.dtype);
  const std::int64_t whole = round_up(rows, W);
  if (has_planes(job, a)) {
    char* from;
    for (int i = 0, n; i < rows; i += n) {
      n = run_of(job, a, row + i, rows - i, from);
      for (std::int64_t j = 0; j < V; ++j)
        load_run<C>(a.dtype, from + j * a.class_stride, size, n, tile + j * ld + i);
    }
    for (std::int64_t j = 0; j < V; ++j)
      for (std::int64_t i = rows; i < whole; ++i) tile[j * ld + i] = 0;
    return;
  }
  locate(job, a, row, rows, at);
  const bool direct = a.class_stride == size && a.dtype == dtype_of<C>;
  for (int i = 0; i < whole; i += W) {
    const C* from[W];
    for (int r = 0; r < W; ++r) {
      const int row = i + r < rows ? i + r : i;
      if (direct) {
        from[r] = (const C*)at[row];
      } else {
        if (i + r < rows) load_run<C>(a.dtype, at[row], a.class_stride, V, scratch + r * V);
        from[r] = scratch + (row - i) * V;
      }
    }
    rows_to_lanes<C>(from, V, tile + i, ld);
  }
}

template <class C>
void store_tile(const Job& job, std::int64_t row, int rows, char** at, const C* tile, C* scratch,
                Drain<C>& drain) {
  constexpr int W = Simd<C>::W;
  const Operand& a = job.out;
  const std::int64_t V = job.classes, ld = job.block, size = size_of(a.dtype);
  const bool plain = a.dtype == dtype_of<C>;
  if (has_planes(job, a)) {
    char* first;
    for (int i = 0, n; i < rows; i += n) {
      n = run_of(job, a, row + i, rows - i, first);
      for (std::int64_t j = 0; j < V; ++j) {
        char* to = first + j * a.class_stride;
        if (plain && job.streaming && a.aligned)
          stream_copy<C>(tile + j * ld + i, (C*)to, n);
        else
          store_run<C>(a.dtype, tile + j * ld + i, to, size, n);
      }
    }
    return;
  }
  locate(job, a, row, rows, at);
  const bool direct = plain && a.class_stride == size, staged = drains_lanes<C>(job);
  C* stage = scratch;
  if (staged) {
    drain.all();
    stage += ((std::uintptr_t)at[0] % 64) / sizeof(C);  // of the target's alignment
  }
  for (int i = 0; i < rows; i += W) {
    const int n = (int)least(W, rows - i);
    C* to[W];
    for (int r = 0; r < n; ++r)
      to[r] = staged ? stage + (i + r) * V : direct ? (C*)at[i + r] : scratch + r * V;
    lanes_to_rows<C>(tile + i, ld, V, to, n);
    if (!direct)
      for (int r = 0; r < n; ++r) store_run<C>(a.dtype, to[r], at[i + r], a.class_stride, V);
  }
  if (staged) drain.take(stage, at[0], rows * V * size);
}

template <class C>
Ahead next_block(const Job& job, std::int64_t row, int rows) {
  const Operand& a = job.x;
  const std::int64_t size = size_of(a.dtype), last = job.axes > 0 ? a.stride[job.axes - 1] : 0;
  char* first;
  run_of(job, a, row, rows, first);
  if (has_planes(job, a)) return {first + rows * size, size, a.class_stride};
  if (job.axes == 1 && a.class_stride == size && last == job.classes * size)
    return {first + rows * last, last, Simd<C>::W * size};
  return {first, 0, 0};
}

template <class C>
void lane_sums(const Job& job, State<C>& st, C* t, std::int64_t ld, int rows, Ahead ahead, Drain<C>& drain) {
  using P = LanePasses<C>;
  const std::int64_t V = job.classes;
  for (int i = 0; i < rows; i += P::W) switch (job.op) {
      case Op::softmax:
      case Op::grad:
        P::template sum_exp<Take::rest, true>(job, st, i, t + i, ld, V, ahead.at(i), drain);
        break;
      default:
        if (wants_moments(job))
          P::template sum_exp<Take::moments, false>(job, st, i, t + i, ld, V, ahead.at(i), drain);
        else
          P::template sum_exp<Take::rest, false>(job, st, i, t + i, ld, V, ahead.at(i), drain);
    }
}

// The exponentials alone, where their sums are known.
template <class C>
void lane_exps(const State<C>& st, C* t, std::int64_t ld, std::int64_t n, int rows, Ahead ahead,
               Drain<C>& drain) {
  using S = Simd<C>;
  for (int i = 0; i < rows; i += S::W) {
    const ExpAt<C> k = ExpAt<C>::load(st.at + i, State<C>::pitch);
    for (std::int64_t j = 0; j < n; ++j) {
      ahead.at(i).ask(j);
      S::store(t + j * ld + i, exp_of<C>(k, S::load(t + j * ld + i)));
      if (j % 4 == 3) drain.some();
    }
  }
}

// The tile of results, in place of the scores or their exponentials.
template <class C>
void lane_write(const Job& job, State<C>& st, const Buffers<C>& buf, std::int64_t row, int rows) {
  using S = Simd<C>;
  using V = typename S::V;
  const std::int64_t n = job.classes, ld = job.block;
  const C* w = (const C*)job.class_weight;
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
    } else if (job.op == Op::softmax || (job.target == Target::index && job.off == 0)) {
      write([&](V e, std::int64_t) LL_INLINE_LAMBDA { return numbers.probability(e); });
    } else if (job.target == Target::index) {
      write([&](V e, std::int64_t j) LL_INLINE_LAMBDA {
        return less_target(numbers.probability(e), S::set1((C)(w[j] * job.off)), numbers.minus);
      });
    } else {
      const DenseShare<C> share(job);
      write([&](V e, std::int64_t j) LL_INLINE_LAMBDA {
        return less_target(numbers.probability(e), share(S::set1(w[j]), S::load(q + j * ld)), numbers.minus);
      });
    }
    if (job.op == Op::grad) {
      if (job.target == Target::index && n <= (1 << 24)) {
        // compared, not stored by index: a vector that is read just after a narrow write has to wait for it
        const V y = S::load(st.column + i), value = S::load(st.at_target + i);
        V at = S::set1(0);
        for (std::int64_t j = 0; j < n; ++j, at = at + S::set1(1))
          S::store(t + j * ld, S::blend(S::eq(at, y), value, S::load(t + j * ld)));
      } else if (job.target == Target::index) {  // beyond what a float counts
        for (int r = 0; r < (int)least(S::W, rows - i); ++r)
          if (st.y[i + r] >= 0) t[st.y[i + r] * ld + r] = st.at_target[i + r];
      }
      if (job.softcap != 0)
        for (std::int64_t j = 0; j < n; ++j)
          S::store(t + j * ld, S::load(t + j * ld) * S::load(slope + j * ld));
      const auto kept = S::neq(S::load(st.weight + i), S::set1(0));
      if (S::bits(kept) != (1u << S::W) - 1u)
        for (int r = 0; r < (int)least(S::W, rows - i); ++r)
          if (is_inactive(job, st, row, i + r))
            for (std::int64_t j = 0; j < n; ++j) t[j * ld + r] = 0;
    } else if (job.mask.data) {
      for (int r = 0; r < (int)least(S::W, rows - i); ++r)
        if (st.y[i + r] != 0) clear_masked(job, st, i + r, t + r, ld);
    }
  }
}

// dx from the operation's output y (buf.z) and dy (buf.q).
template <class C, bool SOFT>
void lane_backward(const Job& job, const Buffers<C>& buf, int rows) {
  using S = Simd<C>;
  const std::int64_t n = job.classes, ld = job.block;
  for (int i = 0; i < rows; i += S::W) {
    C *y = buf.z + i, *g = buf.q + i;
    Pair<C> sum;
    fold_stretches<lane_stretch>(
        job, n, sum, [&](Pair<C>& part, std::int64_t j, std::int64_t length) LL_INLINE_LAMBDA {
          part.zero();
          for (const std::int64_t end = j + length; j < end; ++j)
            part.add(SOFT ? S::load(y + j * ld) * S::load(g + j * ld) : S::load(g + j * ld));
        });
    const BackwardFormula<C, SOFT> dx(sum.value());
    for (std::int64_t j = 0; j < n; ++j) S::store(y + j * ld, dx(S::load(y + j * ld), S::load(g + j * ld)));
  }
}

template <class C>
void lane_block(const Job& job, State<C>& st, Buffers<C>& buf, std::int64_t row, int rows) {
  using S = Simd<C>;
  using P = LanePasses<C>;
  const std::int64_t n = job.classes, ld = job.block;
  char** at = st.x_row;
  load_tile(job, job.x, row, rows, at, buf.z, buf.rows);
  const Ahead ahead = next_block<C>(job, row, rows);
  const bool waits = n > stretch<C>;  // long enough for the call to be stopped within the block
  if (waits && stopped(job)) return;
  if (has_second(job)) load_tile(job, second_of(job), row, rows, at, buf.q, buf.rows);
  transform(job, buf.z, buf.slope, n * ld);
  if (job.mask.data) {
    locate(job, job.mask, row, rows, at);
    for (int i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        if (!at[i][j * job.mask.class_stride]) buf.z[j * ld + i] = (C)-__builtin_inf();
  }
  if (is_backward(job.op)) {
    if (job.op == Op::softmax_backward)
      lane_backward<C, true>(job, buf, rows);
    else
      lane_backward<C, false>(job, buf, rows);
  } else {
    if (job.known.rest) recall(job, st, row, rows);
    for (int i = 0; i < rows; i += S::W) {
      if (!job.known.rest) {
        S::store(st.peak + i, job.op == Op::pick ? S::set1(0) : P::peak(buf.z + i, ld, n));
        ExpAt<C>::make(S::load(st.peak + i)).store(st.at + i, State<C>::pitch);
      }
      if (job.target == Target::dense || (job.target == Target::index && job.off != 0))
        P::gaps(job, st, i, buf.z + i, job.target == Target::dense ? buf.q + i : nullptr, ld, n);
    }
    if (job.target != Target::none)
      for (int i = 0; i < rows; ++i) st.zy[i] = st.y[i] >= 0 ? buf.z[st.y[i] * ld + i] : 0;
    if (job.op == Op::pick) return finish_pick(job, st, rows);
    if (job.known.rest)
      lane_exps(st, buf.z, ld, n, rows, ahead, buf.drain);
    else
      lane_sums(job, st, buf.z, ld, rows, ahead, buf.drain);
    if (waits && stopped(job)) return;
    finish(job, st, row, rows);
    look_again<C>(job, st, row, rows, [&](int i) { return buf.z + i; }, ld);
    if (!writes_matrix(job.op)) return;
    lane_write(job, st, buf, row, rows);
  }
  store_tile(job, row, rows, at, buf.z, buf.rows, buf.drain);
}
