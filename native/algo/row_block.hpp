// A block of rows whose classes lie side by side (rows.hpp). In: its scores and targets, in the caller's
// memory. Out: its results, in the State or in the caller's matrix.

// Rows in another type are converted in pieces of so many classes, so that the next pass finds each piece in
// the nearest cache.
constexpr std::int64_t piece = 2048;

// A row of any type and strides into scratch.
template <class C>
void copy_row(Stop* stop, const Operand& a, std::int64_t n, const char* from, C* to) {
  each_stretch<C>(stop, n, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    load_run<C>(a.dtype, from + j * a.class_stride, a.class_stride, m, to + j);
  });
}
// A row in the computing type: copied to `to`, or the caller's memory where that is null.
template <class C>
LL_INLINE const C* load_row(Stop* stop, const Operand& a, std::int64_t n, const char* from, C* to) {
  if (!to) return (const C*)from;
  copy_row(stop, a, n, from, to);
  return to;
}

// A row of results into the caller's memory.
template <class C>
void store_row(Stop* stop, const Operand& a, std::int64_t n, const C* from, char* to) {
  const std::int64_t stride = a.class_stride;
  each_stretch<C>(stop, n, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    store_run<C>(a.dtype, from + j, to + j * stride, stride, m);
  });
}

// The extremes of a row in the computing type.
template <class C>
typename RowPasses<C>::Extremes long_row_extremes(Stop* stop, const C* z, std::int64_t n) {
  auto found = RowPasses<C>::none();
  each_stretch<C>(stop, n, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    const auto part = RowPasses<C>::extremes(z + j, m);
    found.take(part.high, part.low);
  });
  return found;
}
template <class C>
LL_INLINE typename RowPasses<C>::Extremes row_extremes(Stop* stop, const C* z, std::int64_t n) {
  return n <= stretch<C> ? RowPasses<C>::extremes(z, n) : long_row_extremes(stop, z, n);
}

// The row's extremes; copies the row to `to` on the way, if that is not null.
template <class C>
typename RowPasses<C>::Extremes load_row_extremes(Stop* stop, const Operand& a, std::int64_t n,
                                                  const char* from, C* to) {
  using P = RowPasses<C>;
  if (!to) return row_extremes(stop, (const C*)from, n);
  auto found = P::none();
  each_stretch<C>(stop, n, [&](std::int64_t first, std::int64_t length) LL_INLINE_LAMBDA {
    for (std::int64_t j = first; j < first + length; j += piece) {
      const std::int64_t m = least(piece, first + length - j);
      load_run<C>(a.dtype, from + j * a.class_stride, a.class_stride, m, to + j);
      const auto part = P::extremes(to + j, m);
      found.take(part.high, part.low);
    }
  });
  return found;
}

// Loads a block's scores and second operand, and transforms the scores. Leaves the lanes of the rows'
// extremes in st.lanes, unless the peaks are not needed.
template <class C>
LL_INLINE void load_rows(const Job& job, Workspace<C>& work, Block block, BlockRows<C>& in) {
  using S = Simd<C>;
  const Shape& shape = job.shape;
  State<C>& st = work.state;
  Buffers<C>& buf = work.buffers;
  Stop* const stop = work.stop;
  const int rows = block.rows;
  const std::int64_t n = shape.classes, ld = round_up(n, S::W);
  auto part = [&](C* base, int i) { return base ? base + i * ld : nullptr; };
  auto store_extremes = [&](int i, const typename RowPasses<C>::Extremes& found) LL_INLINE_LAMBDA {
    S::store(st.lanes + i * S::W, found.high), S::store(st.lanes + (S::W + i) * S::W, found.low);
  };
  const bool wants_peak = !is_backward(job.op) && !job.known.rest;
  const bool plain = wants_peak && !has_transform(job.transform) && job.op != Op::pick;
  const bool ranks =
      plain && !buf.z && job.results.rank && job.results.argmax && !job.target_score && n <= stretch<C>;
  const bool is_short = n <= RowPasses<C>::a_short_row;
  for (int i = 0; i < rows; ++i) {
    in.skip[i] = job.skip_inactive && is_inactive(job.known, st, block.row, i);
    in.z[i] = in.skip[i] ? nullptr : buf.z ? buf.z + i * ld : (const C*)in.at[i];
    in.standing[i] = Standing{};
    if (in.skip[i]) continue;
    if (ranks && st.y[i] >= 0) {
      const C t = in.z[i][st.y[i]];
      if (is_short) {
        store_extremes(i, RowPasses<C>::extremes_and_counts(in.z[i], n, t, st.lanes + (2 * S::W + i) * S::W));
        continue;
      }
      store_extremes(i, RowPasses<C>::extremes_and_standing(in.z[i], n, t, in.standing[i]));
    } else if (plain) {
      store_extremes(i, load_row_extremes(stop, job.x, n, in.at[i], part(buf.z, i)));
    } else {
      load_row(stop, job.x, n, in.at[i], part(buf.z, i));
      C *const own = part(buf.z, i), *const slope = part(buf.slope, i);
      if (own)
        each_stretch<C>(stop, n, [&](std::int64_t j, std::int64_t m) {
          transform(job.transform, own + j, slope ? slope + j : nullptr, m);
        });
    }
  }
  if (ranks && is_short) {
    C counts[S::W];
    S::store(counts, RowPasses<C>::fold_sum(st.lanes + 2 * S::W * S::W));
    for (int i = 0; i < rows; ++i)
      if (!in.skip[i] && st.y[i] >= 0)
        in.standing[i].rank = RowPasses<C>::rank_of(counts[i], in.z[i][st.y[i]]);
  }
  if (const Operand* mask = job.transform.mask) {
    locate(shape, *mask, block, in.at);
    for (int i = 0; i < rows; ++i)
      if (!in.skip[i])
        each_stretch<C>(stop, n, [&](std::int64_t j, std::int64_t m) {
          apply_mask(in.at[i] + j * mask->class_stride, mask->class_stride, m, part(buf.z, i) + j);
        });
  }
  if (job.second) {
    locate(shape, *job.second, block, in.at);
    for (int i = 0; i < rows; ++i)
      in.q[i] = in.skip[i] ? nullptr : load_row(stop, *job.second, n, in.at[i], part(buf.q, i));
  }
  if (!wants_peak || plain) return;
  for (int i = 0; i < rows; ++i)
    if (!in.skip[i]) store_extremes(i, row_extremes(stop, in.z[i], n));
}

// The sums over the classes, and what follows from them once a row.
template <class C>
LL_INLINE void sum_rows(const Job& job, Workspace<C>& work, Block block, const BlockRows<C>& in) {
  using S = Simd<C>;
  using P = RowPasses<C>;
  State<C>& st = work.state;
  Buffers<C>& buf = work.buffers;
  Stop* const stop = work.stop;
  const int rows = block.rows;
  const std::int64_t n = job.shape.classes;
  const Target kind = job.target.kind;
  if (job.known.rest) {
    restore_sums(job.known, st, block);
  } else {
    S::store(st.peak, job.op == Op::pick ? S::set1(0) : P::fold_max(st.lanes));
    S::store(st.low, P::fold_min(st.lanes + S::W * S::W));
    ExpAt<C>::make(S::load(st.peak)).store(st.at, State<C>::pitch);
  }
  const bool all_classes = kind == Target::dense || (kind == Target::index && job.target.off != 0);
  const auto gaps = n > stretch<C> ? P::template gaps<true> : P::template gaps<false>;
  for (int i = 0; i < rows; ++i) {
    if (in.skip[i]) continue;
    if (all_classes) gaps(job, stop, st, i, in.z[i], kind == Target::dense ? in.q[i] : nullptr);
    st.zy[i] = kind != Target::none && st.y[i] >= 0 ? in.z[i][st.y[i]] : 0;
  }
  if (job.op == Op::pick) return finish_pick(job.target, st, rows);
  if (!job.known.rest) {
    const bool exponentials = job.op == Op::softmax || job.op == Op::grad;
    const int size = job.x.class_stride == size_of(job.x.dtype) ? size_of(job.x.dtype) : 0;
    const RowsToSum<C> to_sum{rows, n, in.z, exponentials ? buf.e : nullptr, in.next, size};
    if (exponentials)
      P::template sum_exp<Take::rest, true>(stop, st, to_sum, buf.drain);
    else if (job.results.moment)
      P::template sum_exp<Take::second, false>(stop, st, to_sum, buf.drain);
    else if (wants_moments(job.results))
      P::template sum_exp<Take::moments, false>(stop, st, to_sum, buf.drain);
    else
      P::template sum_exp<Take::rest, false>(stop, st, to_sum, buf.drain);
    if (job.results.moment)
      P::template fold_sums<Take::second>(st);
    else if (wants_moments(job.results))
      P::template fold_sums<Take::moments>(st);
    else
      P::template fold_sums<Take::rest>(st);
  }
  finish(job, st, block);
  rank_block<C>(job, stop, st, block, 1, in.standing, [&](int i) { return in.z[i]; });
}

// Row i of dx, at `to`.
template <class C>
LL_INLINE void write_backward_row(const Job& job, const Workspace<C>& work, const BlockRows<C>& in, int i,
                                  C* to, bool streaming) {
  const C sum = work.state.zy[i];
  each_stretch<C>(work.stop, job.shape.classes, [&](std::int64_t j, std::int64_t m) LL_INLINE_LAMBDA {
    if (job.op == Op::softmax_backward)
      write_backward<C, true>(sum, in.z[i] + j, in.q[i] + j, m, to + j, streaming);
    else
      write_backward<C, false>(sum, in.z[i] + j, in.q[i] + j, m, to + j, streaming);
  });
}

// The results into the caller's matrix: written there, or in the computing type first and then converted, or
// left to the Drain.
template <class C>
LL_INLINE void write_rows(const Job& job, Workspace<C>& work, Block block, BlockRows<C>& in) {
  State<C>& st = work.state;
  Buffers<C>& buf = work.buffers;
  Stop* const stop = work.stop;
  const Operand& out = *job.out;
  const int rows = block.rows, size = size_of(out.dtype);
  const std::int64_t n = job.shape.classes, ld = round_up(n, Simd<C>::W);
  auto part = [&](C* base, int i) { return base ? base + i * ld : nullptr; };
  locate(job.shape, out, block, in.at);
  const bool direct = has_rows<C>(out), backward = is_backward(job.op);
  char* staged = nullptr;
  if (buf.spare) {
    // aligned as in the caller's memory, so that whole vectors leave from whole vectors
    buf.drain.all();
    staged = (char*)buf.spare + (std::uintptr_t)in.at[0] % 64;
  }
  const bool streaming = work.cut.streaming && direct && !staged;
  const bool masked = job.transform.mask && job.op != Op::grad;
  for (int i = 0; i < rows; ++i) {
    char* const target = staged ? staged + i * n * size : in.at[i];
    C* const to = direct ? (C*)target : part(buf.e, i);
    if (backward) {
      write_backward_row(job, work, in, i, to, streaming);
      if (!direct) store_row(stop, out, n, to, target);
      continue;
    }
    const Row<C> whole{in.z[i],
                       job.second ? in.q[i] : nullptr,
                       part(buf.slope, i),
                       part(buf.e, i),
                       (const C*)job.target.class_weight,
                       n,
                       st.y[i],
                       buf.z ? 0 : in.ahead,
                       job.op == Op::grad && is_inactive(job.known, st, block.row, i)};
    if (direct || out.class_stride != size || (masked && st.masked[i] != 0)) {
      if (n <= stretch<C>)
        row_write(job, st, i, whole, to, streaming);
      else
        each_stretch<C>(stop, n, [&](std::int64_t j, std::int64_t m) {
          row_write(job, st, i, whole.piece_at(j, m), to + j, streaming);
        });
      if (masked && st.masked[i] != 0) clear_masked(job, st, i, to, 1);
      if (!direct) store_row(stop, out, n, to, target);
      continue;
    }
    each_stretch<C>(stop, n, [&](std::int64_t first, std::int64_t length) {
      for (std::int64_t j = first; j < first + length; j += piece) {
        const std::int64_t m = least(piece, first + length - j);
        row_write(job, st, i, whole.piece_at(j, m), to + j, false);
        store_run<C>(out.dtype, to + j, target + j * size, size, m);
      }
    });
  }
  if (staged) buf.drain.take(staged, in.at[0], rows * n * size);
}

template <class C>
void row_block(const Job& job, Workspace<C>& work, Block block) {
  const Shape& shape = job.shape;
  Buffers<C>& buf = work.buffers;
  const int rows = block.rows;
  BlockRows<C> in;
  locate(shape, job.x, block, in.at);
  in.ahead = shape.axes <= 1 && block.row + 2 * rows <= shape.rows ? rows * job.x.stride[0] : 0;
  for (int i = 0; i < rows; ++i) in.next[i] = in.at[i] + in.ahead;
  load_rows(job, work, block, in);
  if (is_backward(job.op)) {
    const std::int64_t ahead = buf.z || buf.q ? 0 : in.ahead;
    if (job.op == Op::softmax_backward)
      sum_backward<C, true>(work, in, rows, shape.classes, ahead);
    else
      sum_backward<C, false>(work, in, rows, shape.classes, ahead);
    Simd<C>::store(work.state.zy, RowPasses<C>::fold_sum(work.state.lanes));
  } else {
    sum_rows(job, work, block, in);
  }
  if (job.out) write_rows(job, work, block, in);
}
