// A block whose vectors run along the classes (rows.hpp).

// Rows in another type are converted piece by piece, so that the next pass finds each piece in the nearest
// cache.
constexpr std::int64_t piece = 2048;

// A row of any type and stride into scratch.
template <class C>
void copy_row(const Job& job, const Operand& a, const char* from, C* to) {
  each_stretch<C>(job, job.classes, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    load_run<C>(a.dtype, from + j * a.class_stride, a.class_stride, m, to + j);
  });
}
// The scores of a row in the computing type: the caller's memory where it is already that.
template <class C>
LL_INLINE const C* load_row(const Job& job, const Operand& a, const char* from, C* to) {
  if (!to) return (const C*)from;
  copy_row(job, a, from, to);
  return to;
}

// A row of results into the caller's memory.
template <class C>
void store_row(const Job& job, const C* from, char* to) {
  const std::int64_t stride = job.out.class_stride;
  each_stretch<C>(job, job.classes, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    store_run<C>(job.out.dtype, from + j, to + j * stride, stride, m);
  });
}

// The extremes of a row in the computing type.
template <class C>
typename RowPasses<C>::Extremes look_at_long(const Job& job, const C* z) {
  auto found = RowPasses<C>::none();
  each_stretch<C>(job, job.classes, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    const auto part = RowPasses<C>::extremes(z + j, m);
    found.take(part.high, part.low);
  });
  return found;
}
template <class C>
LL_INLINE typename RowPasses<C>::Extremes look(const Job& job, const C* z) {
  return job.classes <= stretch<C> ? RowPasses<C>::extremes(z, job.classes) : look_at_long(job, z);
}

// The row's extremes; loads the row into `to`, if given, on the way.
template <class C>
typename RowPasses<C>::Extremes load_and_look(const Job& job, const char* from, C* to) {
  using P = RowPasses<C>;
  if (!to) return look(job, (const C*)from);
  auto found = P::none();
  each_stretch<C>(job, job.classes, [&](std::int64_t first, std::int64_t length) LL_INLINE_LAMBDA {
    for (std::int64_t j = first; j < first + length; j += piece) {
      const std::int64_t m = least(piece, first + length - j);
      load_run<C>(job.x.dtype, from + j * job.x.class_stride, job.x.class_stride, m, to + j);
      const auto part = P::extremes(to + j, m);
      found.take(part.high, part.low);
    }
  });
  return found;
}

// dx = y (dy - sum dy y) (SOFT), or dy - exp(y) sum dy, from the operation's output y and dy: the lanes of
// the rows' sums into st.lanes, and dx from the sums in st.zy.
template <class C, bool SOFT>
LL_INLINE void sum_backward_of(Pair<C>& sum, const C* y, const C* g, std::int64_t n, std::int64_t ahead,
                               Drain<C>& drain) {
  using S = Simd<C>;
  auto part = S::set1(0);
  sum.zero();
  each_vector<C>(
      n,
      [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
        for (const C* p : {y, g})  // what the next block reads
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
void sum_backward(const Job& job, State<C>& st, const C* const* y, const C* const* g, int rows,
                  std::int64_t ahead, Drain<C>& drain) {
  using S = Simd<C>;
  const std::int64_t n = job.classes;
  for (int i = 0; i < rows; ++i) {
    Pair<C> sum;
    if (n <= stretch<C>)
      sum_backward_of<C, SOFT>(sum, y[i], g[i], n, ahead, drain);
    else
      fold_stretches<stretch<C>>(job, n, sum, [&](Pair<C>& part, std::int64_t j, std::int64_t m) {
        sum_backward_of<C, SOFT>(part, y[i] + j, g[i] + j, m, ahead, drain);
      });
    S::store(st.lanes + i * S::W, sum.value());
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

// A row, or a piece of one: its scores, second operand, slopes, exponentials and class weights, and the
// target's place in it, or -1.
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

// Where a write pass has the exponentials from: an earlier pass, or the scores, of a peak near 0 or far from
// it.
enum class From { sums, near, far };

// Row i of the result.
template <class C, From FROM, bool TILT>
void row_write_from(const Job& job, const State<C>& st, int i, const Row<C>& row, C* to, bool streaming) {
  using S = Simd<C>;
  using V = typename S::V;
  using P = RowPasses<C>;
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
  } else if (job.op == Op::softmax || (job.target == Target::index && job.off == 0)) {
    write(job.op == Op::softmax ? -1 : row.y, st.at_target[i], p);
  } else if (job.target == Target::index) {
    const V spread = S::set1((C)((double)st.weight[i] * job.scale / job.temperature * job.off));
    write(row.y, st.at_target[i], [&](std::int64_t j, int m) LL_INLINE_LAMBDA {
      return less_target(p(j, m), S::loadn(w + j, m, 0), spread);
    });
  } else {
    const DenseShare<C> share(job);
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

template <class C>
void row_block(const Job& job, State<C>& st, Buffers<C>& buf, std::int64_t row, int rows) {
  using S = Simd<C>;
  using P = RowPasses<C>;
  constexpr int most_rows = S::W;
  const std::int64_t n = job.classes;
  const C *z[most_rows], *q[most_rows];
  char* at[most_rows];
  bool skip[most_rows];
  const std::int64_t ld = round_up(n, S::W);
  auto part = [&](C* base, int i) { return base ? base + i * ld : nullptr; };

  locate(job, job.x, row, rows, at);
  char* next[most_rows];
  const std::int64_t ahead = job.axes <= 1 && row + 2 * rows <= job.rows ? rows * job.x.stride[0] : 0;
  for (int i = 0; i < rows; ++i) next[i] = at[i] + ahead;
  const int size = job.x.class_stride == size_of(job.x.dtype) ? size_of(job.x.dtype) : 0;
  const bool backward = is_backward(job.op);
  const bool plain = !backward && !has_transform(job) && job.op != Op::pick && !job.known.rest;
  for (int i = 0; i < rows; ++i) {
    skip[i] = job.skip_inactive && is_inactive(job, st, row, i);
    z[i] = skip[i] ? nullptr : buf.z ? buf.z + i * ld : (const C*)at[i];
    if (skip[i]) continue;
    if (plain) {
      const auto found = load_and_look(job, at[i], part(buf.z, i));
      S::store(st.lanes + i * S::W, found.high), S::store(st.lanes + (S::W + i) * S::W, found.low);
    } else {
      load_row(job, job.x, at[i], part(buf.z, i));
      C *const own = part(buf.z, i), *const slope = part(buf.slope, i);
      if (own)
        each_stretch<C>(job, n, [&](std::int64_t j, std::int64_t m) {
          transform(job, own + j, slope ? slope + j : nullptr, m);
        });
    }
  }
  if (job.mask.data) {
    locate(job, job.mask, row, rows, at);
    for (int i = 0; i < rows; ++i)
      if (!skip[i])
        each_stretch<C>(job, n, [&](std::int64_t j, std::int64_t m) {
          apply_mask(at[i] + j * job.mask.class_stride, job.mask.class_stride, m, part(buf.z, i) + j);
        });
  }
  if (has_second(job)) {
    locate(job, second_of(job), row, rows, at);
    for (int i = 0; i < rows; ++i)
      q[i] = skip[i] ? nullptr : load_row(job, second_of(job), at[i], part(buf.q, i));
  }
  if (!backward) {
    for (int i = 0; i < rows; ++i)
      if (!skip[i] && !plain && !job.known.rest) {
        const auto found = look(job, z[i]);
        S::store(st.lanes + i * S::W, found.high), S::store(st.lanes + (S::W + i) * S::W, found.low);
      }
    if (job.known.rest) {
      recall(job, st, row, rows);
    } else {
      S::store(st.peak, job.op == Op::pick ? S::set1(0) : P::fold_max(st.lanes));
      S::store(st.low, P::fold_min(st.lanes + S::W * S::W));
      ExpAt<C>::make(S::load(st.peak)).store(st.at, State<C>::pitch);
    }
    const bool all_classes = job.target == Target::dense || (job.target == Target::index && job.off != 0);
    const auto gaps = n > stretch<C> ? P::template gaps<true> : P::template gaps<false>;
    for (int i = 0; i < rows; ++i) {
      if (skip[i]) continue;
      if (all_classes)
        gaps(job, st.peak[i], z[i], (const C*)job.class_weight, job.target == Target::dense ? q[i] : nullptr,
             n, st.mass[i], st.gap[i]);
      st.zy[i] = job.target != Target::none && st.y[i] >= 0 ? z[i][st.y[i]] : 0;
    }
    if (job.op == Op::pick) return finish_pick(job, st, rows);
    if (!job.known.rest) {
      if (job.op == Op::softmax || job.op == Op::grad)
        P::template sum_exp<Take::rest, true>(job, st, z, rows, n, buf.e, next, size, buf.drain);
      else if (wants_moments(job))
        P::template sum_exp<Take::moments, false>(job, st, z, rows, n, nullptr, next, size, buf.drain);
      else
        P::template sum_exp<Take::rest, false>(job, st, z, rows, n, nullptr, next, size, buf.drain);
      if (wants_moments(job))
        P::template fold_sums<Take::moments>(st);
      else
        P::template fold_sums<Take::rest>(st);
    }
    finish(job, st, row, rows);
    look_again<C>(job, st, row, rows, [&](int i) { return z[i]; }, 1);
    if (!writes_matrix(job.op)) return;
  } else {
    const std::int64_t beside = buf.z || buf.q ? 0 : ahead;
    if (job.op == Op::softmax_backward)
      sum_backward<C, true>(job, st, z, q, rows, beside, buf.drain);
    else
      sum_backward<C, false>(job, st, z, q, rows, beside, buf.drain);
    S::store(st.zy, P::fold_sum(st.lanes));
  }
  locate(job, job.out, row, rows, at);
  const bool direct =
      job.out.dtype == dtype_of<C> && job.out.class_stride == (std::int64_t)sizeof(C) && job.out.aligned;
  const int size_out = size_of(job.out.dtype);
  char* staged = nullptr;
  if (buf.spare) {
    // of the target's alignment, so that whole vectors leave from whole vectors
    buf.drain.all();
    staged = (char*)buf.spare + (std::uintptr_t)at[0] % 64;
  }
  const bool masked = job.mask.data && !backward && job.op != Op::grad;
  for (int i = 0; i < rows; ++i) {
    char* const target = staged ? staged + i * n * size_out : at[i];
    C* const to = direct ? (C*)target : part(buf.e, i);
    if (backward) {
      const bool streaming = job.streaming && direct && !staged;
      each_stretch<C>(job, n, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
        if (job.op == Op::softmax_backward)
          write_backward<C, true>(st.zy[i], z[i] + j, q[i] + j, m, to + j, streaming);
        else
          write_backward<C, false>(st.zy[i], z[i] + j, q[i] + j, m, to + j, streaming);
      });
      if (!direct) store_row(job, to, target);
      continue;
    }
    const Row<C> whole{z[i],
                       has_second(job) ? q[i] : nullptr,
                       part(buf.slope, i),
                       part(buf.e, i),
                       (const C*)job.class_weight,
                       n,
                       st.y[i],
                       buf.z ? 0 : ahead,
                       job.op == Op::grad && is_inactive(job, st, row, i)};
    if (direct || job.out.class_stride != size_out || (masked && st.y[i] != 0)) {
      const bool streaming = job.streaming && direct && !staged;
      if (n <= stretch<C>)
        row_write(job, st, i, whole, to, streaming);
      else
        each_stretch<C>(job, n, [&](std::int64_t j, std::int64_t m) {
          row_write(job, st, i, whole.piece_at(j, m), to + j, streaming);
        });
      if (masked && st.y[i] != 0) clear_masked(job, st, i, to, 1);
      if (!direct) store_row(job, to, target);
      continue;
    }
    each_stretch<C>(job, n, [&](std::int64_t first, std::int64_t length) {
      for (std::int64_t j = first; j < first + length; j += piece) {
        const std::int64_t m = least(piece, first + length - j);
        row_write(job, st, i, whole.piece_at(j, m), to + j, false);
        store_run<C>(job.out.dtype, to + j, target + j * size_out, size_out, m);
      }
    });
  }
  if (staged) buf.drain.take(staged, at[0], rows * n * size_out);
}
