// The k best classes of a row.
//
// A heap holds the best so far; most of its time it would spend on the first classes of a row, each better
// than some before it. So first a bar is found that at least k classes reach: the largest scores of G lanes
// are those of G classes, so k of these reach the k-th largest of them. Traffic: two more reads of a row in
// the cache.

constexpr int most_with_bar = 32;

// The k-th largest of the lanes' largest; no fewer than k classes reach it, if none is NaN.
template <class C>
C bar_of(const C* z, std::int64_t n, std::int64_t k) {
  using S = Simd<C>;
  constexpr int W = S::W;
  typename S::V most[4];
  for (auto& m : most) m = S::load(z);
  for (int g = 1; g < 4; ++g) most[g] = S::load(z + g * W);
  std::int64_t j = 4 * W;
  for (; j + 4 * W <= n; j += 4 * W)
    for (int g = 0; g < 4; ++g) most[g] = S::max(S::load(z + j + g * W), most[g]);
  C lane[4 * W], best[most_with_bar];
  for (int g = 0; g < 4; ++g) S::store(lane + g * W, most[g]);
  int have = 0;
  for (C v : lane) {  // sorted, largest first
    int at = have < k ? have++ : (int)k;
    if (at == k && !(v > best[k - 1])) continue;
    if (at == k) --at;
    for (; at > 0 && v > best[at - 1]; --at) best[at] = best[at - 1];
    best[at] = v;
  }
  return best[k - 1];
}

// The first k classes that reach the bar; returns the class after them, or 0 where there is no bar.
template <class C>
std::int64_t first_of_top(const C* z, std::int64_t n, std::int64_t k, std::int64_t* label) {
  using S = Simd<C>;
  if (n < 64 * S::W || k > most_with_bar || k > 2 * S::W) return 0;
  const C least_score = bar_of<C>(z, n, k);
  const auto bar = S::set1(least_score);
  std::int64_t have = 0, j = 0;
  for (; have < k; ++j) {
    while (j + S::W <= n && S::bits(S::lt(S::load(z + j), bar)) == (1u << S::W) - 1u) j += S::W;
    if (j >= n) return 0;  // where there are NaN
    if (!(z[j] < least_score)) label[have++] = j;
  }
  return j;
}

// The k best classes of a row, ties lowest first: a heap of those found so far with the worst at its root,
// which every further score has to beat; then sorted. Classes come in order, so an equal score never
// displaces one.
template <class C>
void select_top(const Job& job, const C* z, std::int64_t ld, std::int64_t row, C peak, C times, C times_lo) {
  using S = Simd<C>;
  std::int64_t* label = job.top_label + row * job.k;
  const std::int64_t k = job.k;
  auto worse = [&](std::int64_t a, std::int64_t b)
                   LL_INLINE_LAMBDA { return z[a * ld] < z[b * ld] || (z[a * ld] == z[b * ld] && a > b); };
  auto sift = [&](std::int64_t at, std::int64_t size) LL_INLINE_LAMBDA {
    const std::int64_t moved = label[at];
    for (std::int64_t child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && worse(label[child + 1], label[child])) ++child;
      if (!worse(label[child], moved)) break;
      label[at] = label[child];
    }
    label[at] = moved;
  };
  std::int64_t next = ld == 1 ? first_of_top<C>(z, job.classes, k, label) : 0;
  if (next == 0)
    for (; next < k; ++next) label[next] = next;
  for (std::int64_t i = k / 2 - 1; i >= 0; --i) sift(i, k);
  for (std::int64_t j = next; j < job.classes; ++j) {
    if (ld == 1) {  // whole vectors that hold nothing better are passed over
      const auto bar = S::set1(z[label[0]]);
      while (j + S::W <= job.classes && !S::bits(S::lt(bar, S::load(z + j)))) j += S::W;
      if (j >= job.classes) break;
    }
    if (z[j * ld] > z[label[0] * ld]) label[0] = j, sift(0, k);
  }
  for (std::int64_t size = k - 1; size > 0; --size) {
    const std::int64_t last = label[size];
    label[size] = label[0], label[0] = last;
    sift(0, size);
  }
  const ExpAt<C> at = ExpAt<C>::make(S::set1(peak));
  for (std::int64_t i = 0; i < job.k; ++i) {
    C p[S::W];
    const auto e = exp_of<C>(at, S::set1(z[label[i] * ld]));
    S::store(p, S::fma(e, S::set1(times), e * S::set1(times_lo)));
    if (peak != peak) label[i] = -1;
    if (job.rows_out.wide)
      ((double*)job.top_probability)[row * job.k + i] = (double)p[0];
    else
      ((float*)job.top_probability)[row * job.k + i] = (float)p[0];
  }
}
