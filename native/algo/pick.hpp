// The loss of one log-probability or probability a row, and its gradient: index targets without smoothing.
//
//   loss_i = -t_i log p_iy      dloss_i/dx_ij = -scale t_i [j = y], of probabilities over p_iy
//
// Traffic: one number a row; of the gradient, one write of the matrix.

// The target's score of each row; 1 where there is none. Asked for in one go: each is a cache miss of its
// own.
template <class T, class C>
void gather_targets(const Job& job, char* const* at, const std::int64_t* y, int rows, C* to) {
  const std::int64_t stride = job.x.class_stride;
  for (int i = 0; i < rows; ++i) __builtin_prefetch(at[i] + (y[i] < 0 ? 0 : y[i]) * stride);
  for (int i = 0; i < rows; ++i) to[i] = y[i] < 0 ? (C)1 : (C)widen(read_at<T>(at[i] + y[i] * stride));
}

template <class C>
void look_up(const Job& job, State<C>& st, int rows) {
  switch (job.x.dtype) {
    case Dtype::f16: gather_targets<Half>(job, st.x_row, st.y, rows, st.zy); break;
    case Dtype::bf16: gather_targets<Bfloat>(job, st.x_row, st.y, rows, st.zy); break;
    case Dtype::f32: gather_targets<float>(job, st.x_row, st.y, rows, st.zy); break;
    default: gather_targets<double>(job, st.x_row, st.y, rows, st.zy); break;
  }
}

// A row's gradient: 0 but for the target's class.
template <class T, class C>
void scatter_targets(const Job& job, State<C>& st, std::int64_t row, int rows) {
  const Operand& a = job.out;
  const std::int64_t V = job.classes, size = (std::int64_t)sizeof(T);
  auto clear = [](char* to, std::int64_t bytes) LL_INLINE_LAMBDA {
    for (std::int64_t i = 0; i < bytes; ++i) to[i] = 0;
  };
  char** at = st.x_row;
  locate(job, a, row, rows, at);
  if (has_planes(job, a)) {
    char* first;
    for (int i = 0, n; i < rows; i += n) {
      n = run_of(job, a, row + i, rows - i, first);
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

// pick of one probability a row, or its gradient: nothing else of the row is read.
template <class C>
void pick_block(const Job& job, State<C>& st, std::int64_t row, int rows) {
  using S = Simd<C>;
  take_targets(job, st, row, rows);
  const C* w = (const C*)job.class_weight;
  if (job.op == Op::pick_grad && !job.take_log) {
    for (int i = 0; i < rows; ++i) st.zy[i] = 1;
  } else {
    locate(job, job.x, row, rows, st.x_row);
    look_up(job, st, rows);
  }
  if (job.op == Op::pick_grad) {
    for (int i = 0; i < rows; ++i) {
      const double t = st.y[i] < 0 ? 0 : (double)st.weight[i] * (w ? (double)w[st.y[i]] : 1.0) * job.scale;
      st.at_target[i] = t == 0 ? 0 : (C)(-t / (double)st.zy[i]);
    }
    switch (job.out.dtype) {
      case Dtype::f16: return scatter_targets<Half>(job, st, row, rows);
      case Dtype::bf16: return scatter_targets<Bfloat>(job, st, row, rows);
      case Dtype::f32: return scatter_targets<float>(job, st, row, rows);
      default: return scatter_targets<double>(job, st, row, rows);
    }
  }
  if (job.take_log)
    for (int i = 0; i < rows; i += S::W) S::store(st.zy + i, log_of<C>(S::load(st.zy + i)));
  for (int i = 0; i < rows; ++i) {
    const C t = st.y[i] < 0 ? 0 : st.weight[i] * (w ? w[st.y[i]] : (C)1) * (C)job.on;
    st.loss[i] = t == 0 ? 0 : -t * st.zy[i];
  }
}

inline bool picks_one(const Job& job) {
  return (job.op == Op::pick || job.op == Op::pick_grad) && job.target == Target::index && job.off == 0 &&
         !job.mask.data && job.temperature == 1 && job.softcap == 0;
}
