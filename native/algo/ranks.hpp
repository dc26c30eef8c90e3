// Results of a row for which its scores are read once more. In: the scores of a block and its State. Out:
// argmax, rank and the top-k classes, in the caller's arrays.

// How many classes of a shard come before the target of a row, which may be a class of another shard.
template <class C>
std::int64_t rank_in_shard(const Job& job, Stop* stop, Columns<const C> scores, std::int64_t row) {
  const C* const z = scores.at;
  const std::int64_t n = scores.n, ld = scores.ld;
  const C t = transformed<C>(job.transform, job.target_score[row]);
  std::int64_t y;
  load_indices(job.target.index, job.target.index_dtype, row, 1, &y);
  const bool own = y >= 0 && y < n;
  y = y < 0 ? 0 : least(y, n);  // of equal scores the classes below y come first
  const std::int64_t before =
      ld == 1 ? RowPasses<C>::rank(stop, z, n, t, y) : LanePasses<C>::rank(scores, t, y);
  return before - (own && z[y * ld] > t);  // rounded differently, the target may be above its own score
}

constexpr std::int64_t counted_exactly = 1 << 24;  // by float

// argmax and rank of rows whose scores lie in columns, a vector of rows at a time.
template <class C>
void rank_columns(const Job& job, const State<C>& st, Block block, Columns<const C> scores) {
  using S = Simd<C>;
  using P = LanePasses<C>;
  const RowResults& o = job.results;
  C found[S::W];
  for (int i = 0; i < block.rows; i += S::W) {
    const int rows = (int)least(S::W, block.rows - i);
    const Columns<const C> z{scores.at + i, scores.ld, scores.n};
    if (o.argmax) {
      S::store(found, P::argmaxes(z, S::load(st.peak + i)));
      for (int r = 0; r < rows; ++r) o.argmax[block.row + i + r] = (std::int64_t)found[r];
    }
    if (!o.rank) continue;
    S::store(found, P::ranks(z, S::load(st.zy + i), S::load(st.label + i)));
    for (int r = 0; r < rows; ++r) {
      const C peak = st.peak[i + r];
      o.rank[block.row + i + r] = st.y[i + r] < 0 || peak != peak ? -1 : (std::int64_t)found[r];
    }
  }
}

// `scores_of(i)` points to the scores of row i, whose classes are `ld` elements apart. `standing`: what is
// known of each row; null where ld is not 1.
template <class C, class F>
void rank_block(const Job& job, Stop* stop, const State<C>& st, Block block, std::int64_t ld,
                const Standing* standing, F&& scores_of) {
  const RowResults& o = job.results;
  if (!o.argmax && !o.rank && !job.top.k) return;
  if (ld != 1 && !job.target_score && !job.top.k && job.shape.classes < counted_exactly) {
    const C* const first = scores_of(0);
    return rank_columns<C>(job, st, block, {first, ld, job.shape.classes});
  }
  for (int i = 0; i < block.rows; ++i) {
    const std::int64_t n = job.shape.classes, row = block.row + i, y = st.y[i];
    const C* const z = scores_of(i);
    const Columns<const C> scores{z, ld, n};
    const C peak = st.peak[i];
    if (o.rank && job.target_score)
      o.rank[row] = rank_in_shard<C>(job, stop, scores, row);
    else if (o.rank)
      o.rank[row] = y < 0 || peak != peak               ? -1
                    : standing && standing[i].rank >= 0 ? standing[i].rank
                    : ld == 1                           ? RowPasses<C>::rank(stop, z, n, z[y], y)
                                                        : LanePasses<C>::rank(scores, z[y * ld], y);
    if (o.argmax && ld == 1 && n <= RowPasses<C>::a_very_short_row)
      o.argmax[row] = peak != peak ? -1 : RowPasses<C>::argmax_of_short(z, n, Simd<C>::set1(peak));
    else if (o.argmax && o.rank && !job.target_score && o.rank[row] == 0)
      o.argmax[row] = y;  // nothing beats it
    else if (o.argmax && standing && peak == peak)
      o.argmax[row] =
          standing[i].first + RowPasses<C>::argmax(stop, z + standing[i].first, n - standing[i].first, peak);
    else if (o.argmax)
      o.argmax[row] = ld == 1 ? RowPasses<C>::argmax(stop, z, n, peak) : LanePasses<C>::argmax(scores, peak);
    if (job.top.k) select_top<C>(job, stop, scores, st, row, i);
  }
}
