// Masked classes. In: a mask of bytes over the scores, 0 where a class is excluded. Out: z = -inf there, and
// results that are defined in rows with no finite score.

template <class C>
void apply_mask(const char* mask, std::int64_t stride, std::int64_t n, C* z) {
  for (std::int64_t j = 0; j < n; ++j) z[j] = mask[j * stride] ? z[j] : (C)-__builtin_inf();
}

LL_INLINE bool all_masked(const char* mask, std::int64_t stride, std::int64_t n) {
  for (std::int64_t j = 0; j < n; ++j)
    if (mask[j * stride]) return false;
  return true;
}

// Rows of a softmax whose peak is not finite, in st.masked: 1 where all classes are excluded, which leaves a
// probability of 0 and a log-probability of -inf everywhere; 2 where a NaN or an infinity is among the
// others, which may not reach the excluded classes; else 0.
template <class C>
void find_masked_rows(const Shape& shape, const Operand* mask, State<C>& st, Block block) {
  if (!mask) return;
  const int rows = block.rows;
  for (int i = 0; i < rows; ++i) st.masked[i] = 0;
  char** at = st.x_row + State<C>::most;
  locate(shape, *mask, block, at);
  for (int i = 0; i < rows; ++i)
    if (!(st.peak[i] - st.peak[i] == 0))
      st.masked[i] = all_masked(at[i], mask->class_stride, shape.classes) ? 1 : 2;
}

// Writes the results of the excluded classes of row i: class j at to[j * ld].
template <class C>
void clear_masked(const Job& job, const State<C>& st, int i, C* to, std::int64_t ld) {
  const char* mask = st.x_row[State<C>::most + i];
  const std::int64_t stride = job.transform.mask->class_stride;
  for (std::int64_t j = 0; j < job.shape.classes; ++j)
    if (!mask[j * stride]) to[j * ld] = job.op == Op::softmax ? 0 : (C)-__builtin_inf();
}
