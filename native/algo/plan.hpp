// How a call is cut up. In: a Job. Out: its Cut, and which matrices of a block need scratch.

LL_INLINE bool is_backward(Op op) { return op == Op::softmax_backward || op == Op::log_softmax_backward; }

// Whether rows leave through a Drain: whole rows that lie side by side, where two blocks of them fit the
// cache.
template <class C>
bool drains(const Job& job, const Cut& cut) {
  if (!job.out || cut.lanes || !cut.streaming || job.known.rest || job.shape.axes > 1) return false;
  const Operand& out = *job.out;
  const std::int64_t V = job.shape.classes, size = size_of(out.dtype);
  const std::int64_t fits = is_backward(job.op) ? 2 << 10 : 256 << 10;
  return out.class_stride == size && out.stride[0] == V * size && V * (std::int64_t)sizeof(C) <= fits;
}
// The same for rows as columns, if neither they nor the scores need scratch for another reason.
template <class C>
bool drains_columns(const Job& job, const Cut& cut) {
  constexpr std::int64_t size = sizeof(C);
  return cut.lanes && cut.streaming && job.shape.axes == 1 && job.x.dtype == dtype_of<C> && !job.second &&
         job.x.class_stride == size && job.out->class_stride == size &&
         job.out->stride[0] == job.shape.classes * size;
}

// Whether an operand is read where it is: rows of the computing type.
template <class C>
LL_INLINE bool has_rows(const Operand& a) {
  return a.class_stride == (std::int64_t)sizeof(C) && a.dtype == dtype_of<C> && a.aligned;
}
template <class C>
bool reads_in_place(const Job& job, const Cut& cut) {
  return !cut.lanes && has_rows<C>(job.x) && !has_transform(job.transform);
}
template <class C>
bool copies_second(const Job& job, const Cut& cut) {
  return job.second && (cut.lanes || !has_rows<C>(*job.second));
}

LL_INLINE bool has_slope(const Job& job) { return job.transform.softcap != 0 && job.op == Op::grad; }

// Bytes of a block's matrix in scratch: rows of whole vectors.
template <class C>
std::int64_t matrix_bytes(const Job& job, const Cut& cut) {
  return round_up(round_up(job.shape.classes, Simd<C>::W) * cut.block * (std::int64_t)sizeof(C), 64) + 64;
}

template <class C>
Cut plan_as(const Job& job) {
  constexpr int W = Simd<C>::W;
  Cut cut;
  const Shape& shape = job.shape;
  const int size = size_of(job.x.dtype);
  const std::int64_t V = shape.classes, bytes = V * (std::int64_t)sizeof(C);
  const bool beside = job.x.class_stride == size || V == 1;
  const bool across = shape.axes > 0 && job.x.stride[shape.axes - 1] == size;
  const std::int64_t out_bytes = job.out ? shape.rows * V * size_of(job.out->dtype) : 0;
  // The ends of short rows share cache lines. Where the rest is known, rows are written one by one, and then
  // such rows do not stream well.
  cut.streaming = out_bytes > (std::int64_t)4 << 20 && !(job.known.rest && bytes < 4096);
  cut.lanes = (V <= 64 || (!beside && across)) && !job.known.tilt;
  if (picks_one(job)) {
    cut.lanes = true, cut.block = 256;
    cut.arena = State<C>::bytes() + 64;
    return cut;
  }
  std::int64_t matrices = 1 + (job.second != nullptr) + has_slope(job);
  if (cut.lanes) {
    // adjacent rows: segments as long as the cache allows; transposed rows: four vectors of them
    const std::int64_t want = beside ? 4 * W : (16 << 10) / bytes / matrices / W * W;
    cut.block = most(beside ? W : bytes * 64 <= (512 << 10) ? 64 : W, least(want, State<C>::most));
    cut.block = least(cut.block, round_up(shape.rows, W));
    matrices += 1;  // rows on their way through the transposition
    cut.arena = State<C>::bytes() + matrices * matrix_bytes<C>(job, cut) + 512 + bytes * 2 * W;
  } else {
    cut.block = most(1, least(least(W, shape.rows), (128 << 10) / bytes));
    matrices += (job.out ? 1 : 0) + (drains<C>(job, cut) ? 1 : 0);
    matrices -= (reads_in_place<C>(job, cut) ? 1 : 0) + (job.second && !copies_second<C>(job, cut) ? 1 : 0);
    cut.arena = State<C>::bytes() + matrices * matrix_bytes<C>(job, cut) + 512;
  }
  return cut;
}
