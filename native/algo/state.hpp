// The state of a block of rows between the passes: some numbers for each row, in scratch. In: targets and
// weights. Out: the numbers that `finish.hpp` and the write pass go on with.
//
//   before finish: peak, sum (hi + lo), count of the peaks, zy, mass, gap, spread, square,
//                  moment
//   after:         rest + lo, log1p(rest) = log1p + log1p_lo, lse, confidence, loss, and for what is written
//                  out_j = e_j (times + times_lo) - t_j minus       out_y = at_target
//
// with e_j = exp(z_j) 2^(BIAS - np) as math.hpp leaves it.

template <class C>
struct State {
  static constexpr int most = 512;  // rows a block, at most
  // Elements from one field to the next: an odd number of cache lines, so that fields fall into different
  // sets.
  static constexpr int pitch = most + 64 / (int)sizeof(C);
  C *peak, *at, *hi, *lo, *count, *spread, *square, *zy, *mass, *gap, *weight, *times, *times_lo, *minus,
      *at_target, *log1p, *log1p_lo, *confidence, *low, *label, *rest, *lse, *loss, *other, *tilt, *moment;
  C* lanes;  // W x W matrices: one vector a row, to be folded over its lanes
  std::int64_t* y;
  std::int64_t* masked;  // see mask.hpp; in the memory of y, as softmax has no targets
  char** x_row;

  static constexpr std::int64_t bytes() {
    return (29 * pitch + 5 * Simd<C>::W * Simd<C>::W) * (std::int64_t)sizeof(C) + most * 8 + 2 * most * 8 +
           64;
  }
  // Places the fields at p, which is aligned to 64 bytes; returns the first byte after them.
  char* place(char* p) {
    C* c = (C*)p;
    C** fields[] = {&peak,   &hi,    &lo,       &count, &spread,    &square, &zy,       &mass,       &gap,
                    &weight, &times, &times_lo, &minus, &at_target, &log1p,  &log1p_lo, &confidence, &low,
                    &label,  &rest,  &lse,      &loss,  &other,     &tilt,   &moment};
    for (C** f : fields) *f = c, c += pitch;
    at = c, c += 3 * pitch;
    lanes = c, c += 5 * Simd<C>::W * Simd<C>::W;
    y = masked = (std::int64_t*)c;
    x_row = (char**)(y + most);
    return (char*)(x_row + 2 * most);
  }
};

// Reads the rows' targets and weights: y = -1 and weight = 0 for an ignored row. Each loop handles one kind
// of number, so that the compiler can vectorize it.
template <class C>
void load_targets(const EffectiveTarget& target, std::int64_t classes, State<C>& st, Block block) {
  if (target.kind == Target::none) return;
  const std::int64_t row = block.row;
  const int rows = block.rows;
  std::int64_t* y = st.y;
  C *weight = st.weight, *label = st.label;
  const double* given = target.sample_weight ? target.sample_weight + row : nullptr;
  if (target.kind != Target::index) {
    for (int i = 0; i < rows; ++i) y[i] = -1, weight[i] = given ? (C)given[i] : 1;
    return;
  }
  load_indices(target.index, target.index_dtype, row, rows, y);
  const std::int64_t ignore = target.has_ignore ? target.ignore : -1;
  for (int i = 0; i < rows; ++i)  // an index out of range is an error above, unless it has changed since
    y[i] = (y[i] < 0) | (y[i] >= classes) | (y[i] == ignore) ? -1 : y[i];
  if (given)
    for (int i = 0; i < rows; ++i) y[i] = (C)given[i] != 0 ? y[i] : -1;
  for (int i = 0; i < rows; ++i) label[i] = (C)(std::int32_t)y[i];  // used where no class is beyond 2^24
  for (int i = 0; i < rows; ++i) weight[i] = (C)(target.of_shard ? 1 : 1 + (std::int32_t)(y[i] >> 63));
  if (given)
    for (int i = 0; i < rows; ++i) weight[i] = weight[i] != 0 ? (C)given[i] : 0;
}

// Whether a row is inactive in a gradient: all of it is 0, whatever the scores are.
template <class C>
LL_INLINE bool is_inactive(const KnownRows& known, const State<C>& st, std::int64_t row, int i) {
  if (st.weight[i] != 0) return false;
  if (!known.mass) return true;
  return known.mass[row + i] == 0 && !(known.tilt && known.tilt[row + i] != 0);
}

// mass, gap and t_y (in `other`) of index targets; `gap` holds `gap_factor` sum_j w_j (peak - z_j) on entry
// if off != 0.
template <class C>
void index_mass_and_gap(const EffectiveTarget& target, C gap_factor, State<C>& st, int rows) {
  const C* w = (const C*)target.class_weight;
  const C *weight = st.weight, *peak = st.peak, *zy = st.zy;
  C *mass = st.mass, *gap = st.gap, *other = st.other;
  if (!w) {
    const C on = (C)target.on;  // without class weights there is no smoothing: off = 0
    for (int i = 0; i < rows; ++i) other[i] = (C)(1 + (std::int32_t)(st.y[i] >> 63));
    for (int i = 0; i < rows; ++i) {
      const C t = other[i] * (weight[i] * on), d = peak[i] - zy[i];
      gap[i] = (t == 0) | (zy[i] == peak[i]) ? 0 : t * d;
      mass[i] = t;
    }
    for (int i = 0; i < rows; ++i) other[i] = mass[i];
    return;
  }
  const double off_gap = target.off / gap_factor;
  for (int i = 0; i < rows; ++i) {
    const double s = weight[i], wy = st.y[i] >= 0 ? (double)w[st.y[i]] : 0;
    const double below = zy[i] == peak[i] ? 0 : (double)peak[i] - (double)zy[i];
    const double lost =
        (wy * target.on == 0 ? 0 : wy * target.on * below) + (target.off != 0 ? off_gap * gap[i] : 0);
    gap[i] = s == 0 ? 0 : (C)(s * lost);
    mass[i] = (C)(s * (wy * target.on + target.off * target.class_weight_sum));
    other[i] = (C)(s * wy * (target.on + target.off));
  }
}
