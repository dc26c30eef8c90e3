// Where the rows of an array lie. In: a Shape, an Operand over it, and a Block of rows. Out: pointers to each
// row, or to runs of rows that lie side by side.

// The rows [row, row + rows) of a call.
struct Block {
  std::int64_t row;
  int rows;
  LL_INLINE Block from(int i) const { return {row + i, rows - i}; }
};

// A pointer to every row of the block.
inline void locate(const Shape& shape, const Operand& a, Block block, char** to) {
  std::int64_t row = block.row;
  const int count = block.rows;
  if (shape.axes <= 1) {
    char* const first = a.data + row * a.stride[0];
    const std::int64_t stride = a.stride[0];
    for (int i = 0; i < count; ++i) to[i] = first + i * stride;
    return;
  }
  std::int64_t at[max_axes];
  char* p = a.data;
  const int last = shape.axes - 1;
  for (int d = last; d >= 0; --d) {
    at[d] = row % shape.extent[d], row /= shape.extent[d];
    p += at[d] * a.stride[d];
  }
  const std::int64_t stride = a.stride[last], extent = shape.extent[last];
  for (int i = 0; i < count;) {
    const int run = (int)least(count - i, extent - at[last]);
    for (int r = 0; r < run; ++r) to[i + r] = p + r * stride;
    i += run;
    if (at[last] + run < extent) break;
    p -= at[last] * stride, at[last] = 0;  // back to the innermost axis's start, on to the next one
    for (int d = last - 1; d >= 0; --d) {
      p += a.stride[d];
      if (++at[d] < shape.extent[d]) break;
      p -= at[d] * a.stride[d], at[d] = 0;
    }
  }
}

// Whether the rows lie side by side in each class, rather than the classes in each row.
LL_INLINE bool has_planes(const Shape& shape, const Operand& a) {
  const std::int64_t size = size_of(a.dtype);
  return shape.axes > 0 && a.stride[shape.axes - 1] == size && (a.class_stride != size || shape.classes == 1);
}

// How many rows of the block follow each other along the last axis, from its first row on, and where that is.
LL_INLINE int run_of(const Shape& shape, const Operand& a, Block block, char*& first) {
  std::int64_t row = block.row;
  int rows = block.rows;
  first = a.data;
  if (shape.axes == 0) return rows;
  const int last = shape.axes - 1;
  std::int64_t at = row;
  if (last > 0) {
    at = row % shape.extent[last], row /= shape.extent[last];
    rows = (int)least(rows, shape.extent[last] - at);
  }
  first += at * a.stride[last];
  for (int d = last - 1; d >= 0; --d) first += row % shape.extent[d] * a.stride[d], row /= shape.extent[d];
  return rows;
}
