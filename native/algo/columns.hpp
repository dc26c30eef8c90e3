// A block of rows as columns. In: an operand of any dtype and strides. Out: the block in scratch, class by
// class, in the computing type; and the way back for results.

template <class C>
void load_columns(const Shape& shape, const Operand& a, Block block, Workspace<C>& work, C* to) {
  constexpr int W = Simd<C>::W;
  const int rows = block.rows;
  char** const at = work.state.x_row;
  C* const scratch = work.buffers.rows;
  const std::int64_t V = shape.classes, ld = work.cut.block, size = size_of(a.dtype);
  const std::int64_t whole = round_up(rows, W);
  if (has_planes(shape, a)) {
    char* from;
    for (int i = 0, n; i < rows; i += n) {
      n = run_of(shape, a, block.from(i), from);
      for (std::int64_t j = 0; j < V; ++j)
        load_run<C>(a.dtype, from + j * a.class_stride, size, n, to + j * ld + i);
    }
    for (std::int64_t j = 0; j < V; ++j)
      for (std::int64_t i = rows; i < whole; ++i) to[j * ld + i] = 0;
    return;
  }
  locate(shape, a, block, at);
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
    rows_to_lanes<C>(from, V, to + i, ld);
  }
}

// Writes the results in buffers.z to the caller's memory.
template <class C>
void store_columns(const Job& job, Block block, Workspace<C>& work) {
  constexpr int W = Simd<C>::W;
  const Shape& shape = job.shape;
  const Operand& a = *job.out;
  const int rows = block.rows;
  char** const at = work.state.x_row;
  C *const from = work.buffers.z, *const scratch = work.buffers.rows;
  Drain<C>& drain = work.buffers.drain;
  const std::int64_t V = shape.classes, ld = work.cut.block, size = size_of(a.dtype);
  const bool plain = a.dtype == dtype_of<C>;
  if (has_planes(shape, a)) {
    char* first;
    for (int i = 0, n; i < rows; i += n) {
      n = run_of(shape, a, block.from(i), first);
      for (std::int64_t j = 0; j < V; ++j) {
        char* to = first + j * a.class_stride;
        if (plain && work.cut.streaming && a.aligned)
          stream_copy<C>(from + j * ld + i, (C*)to, n);
        else
          store_run<C>(a.dtype, from + j * ld + i, to, size, n);
      }
    }
    return;
  }
  locate(shape, a, block, at);
  const bool direct = plain && a.class_stride == size, staged = drains_columns<C>(job, work.cut);
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
    lanes_to_rows<C>(from + i, ld, V, to, n);
    if (!direct)
      for (int r = 0; r < n; ++r) store_run<C>(a.dtype, to[r], at[i + r], a.class_stride, V);
  }
  if (staged) drain.take(stage, at[0], rows * V * size);
}

template <class C>
Ahead next_block(const Shape& shape, const Operand& a, Block block) {
  const int rows = block.rows;
  const std::int64_t size = size_of(a.dtype), last = shape.axes > 0 ? a.stride[shape.axes - 1] : 0;
  char* first;
  run_of(shape, a, block, first);
  if (has_planes(shape, a)) return {first + rows * size, size, a.class_stride};
  if (shape.axes == 1 && a.class_stride == size && last == shape.classes * size)
    return {first + rows * last, last, Simd<C>::W * size};
  return {first, 0, 0};
}
