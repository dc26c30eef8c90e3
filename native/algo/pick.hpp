// The loss of one log-probability or probability a row, and its gradient: index targets without smoothing.
// In: the matrix of scores, of which the targets' entries alone are read. Out: losses, or the matrix of
// gradients.
//
//   loss_i = -t_i log p_iy      dloss_i/dx_ij = -scale t_i [j = y], for probabilities divided by p_iy
//
// Traffic: one number a row; for the gradient, one write of the matrix.

// Whether a call reads one score a row.
inline bool picks_one(const Job& job) {
  return (job.op == Op::pick || job.op == Op::pick_grad) && job.target.kind == Target::index &&
         job.target.off == 0 && !job.transform.mask && job.transform.temperature == 1 &&
         job.transform.softcap == 0;
}

// The target's score of each row; 1 where there is none. All are prefetched first, since each misses the
// cache.
template <class T, class C>
void gather_targets(std::int64_t stride, State<C>& st, int rows) {
  char* const* at = st.x_row;
  const std::int64_t* y = st.y;
  C* const to = st.zy;
  for (int i = 0; i < rows; ++i) __builtin_prefetch(at[i] + (y[i] < 0 ? 0 : y[i]) * stride);
  for (int i = 0; i < rows; ++i) to[i] = y[i] < 0 ? (C)1 : (C)widen(read_at<T>(at[i] + y[i] * stride));
}

template <class C>
void gather_targets_of(const Operand& x, State<C>& st, int rows) {
  switch (x.dtype) {
    case Dtype::f16: gather_targets<Half>(x.class_stride, st, rows); break;
    case Dtype::bf16: gather_targets<Bfloat>(x.class_stride, st, rows); break;
    case Dtype::f32: gather_targets<float>(x.class_stride, st, rows); break;
    default: gather_targets<double>(x.class_stride, st, rows); break;
  }
}

// Writes each row's gradient: st.at_target at the target's class, and 0 elsewhere.
template <class T, class C>
void scatter_targets(const Shape& shape, const Operand& a, State<C>& st, Block block) {
  const int rows = block.rows;
  const std::int64_t V = shape.classes, size = (std::int64_t)sizeof(T);
  auto clear = [](char* to, std::int64_t bytes) LL_INLINE_LAMBDA {
    for (std::int64_t i = 0; i < bytes; ++i) to[i] = 0;
  };
  char** at = st.x_row;
  locate(shape, a, block, at);
  if (has_planes(shape, a)) {
    char* first;
    for (int i = 0, n; i < rows; i += n) {
      n = run_of(shape, a, block.from(i), first);
      for (std::int64_t j = 0; j < V; ++j) clear(first + j * a.class_stride, n * size);
    }
  } else if (a.class_stride == size) {
    for (int i = 0; i < rows; ++i) clear(at[i], V * size);
  } else {
    for (int i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < V; ++j) write_at<T>(at[i] + j * a.class_stride, T{});
  }
  for (int i = 0; i < rows; ++i)
    if (st.y[i] >= 0) write_at<T>(at[i] + st.y[i] * a.class_stride, narrow<T>(st.at_target[i]));
}

// The losses of a block into its State, or its gradient into the caller's array.
template <class C>
void pick_block(const Job& job, State<C>& st, Block block) {
  using S = Simd<C>;
  const int rows = block.rows;
  const C* w = (const C*)job.target.class_weight;
  if (job.op == Op::pick_grad && !job.transform.take_log) {
    for (int i = 0; i < rows; ++i) st.zy[i] = 1;
  } else {
    locate(job.shape, job.x, block, st.x_row);
    gather_targets_of(job.x, st, rows);
  }
  if (job.op == Op::pick_grad) {
    for (int i = 0; i < rows; ++i) {
      const double t = st.y[i] < 0 ? 0 : (double)st.weight[i] * (w ? (double)w[st.y[i]] : 1.0) * job.scale;
      st.at_target[i] = t == 0 ? 0 : (C)(-t / (double)st.zy[i]);
    }
    switch (job.out->dtype) {
      case Dtype::f16: return scatter_targets<Half>(job.shape, *job.out, st, block);
      case Dtype::bf16: return scatter_targets<Bfloat>(job.shape, *job.out, st, block);
      case Dtype::f32: return scatter_targets<float>(job.shape, *job.out, st, block);
      default: return scatter_targets<double>(job.shape, *job.out, st, block);
    }
  }
  if (job.transform.take_log)
    for (int i = 0; i < rows; i += S::W) S::store(st.zy + i, log_of<C>(S::load(st.zy + i)));
  for (int i = 0; i < rows; ++i) {
    const C t = st.y[i] < 0 ? 0 : st.weight[i] * (w ? w[st.y[i]] : (C)1) * (C)job.target.on;
    st.loss[i] = t == 0 ? 0 : -t * st.zy[i];
  }
}
