// The k best classes of a row.
//
// A heap holds the best so far; most of its time it would spend on the first classes of a row, each better
// than some before it. So first a bar is found that at least k classes reach: the largest scores of G lanes
// are those of G classes, so k of these reach the k-th largest of them. Traffic: two more reads of a row in
// the cache.

constexpr int most_with_bar = 32;

// The next class from j on whose vector is a hit, or one of the last few; n where the call is to end early.
template <class C, class F>
LL_INLINE std::int64_t pass_over(const Job& job, std::int64_t j, std::int64_t n, F&& hit) {
  constexpr int W = Simd<C>::W;
  for (;;) {
    const std::int64_t end = least(n, j + stretch<C>);
    while (j + W <= end && !hit(j)) j += W;
    if (j < end || end == n) return j;
    if (stopped(job)) return n;
  }
}

// The k-th largest of the lanes' largest; no fewer than k classes reach it, if none is NaN.
template <class C>
C bar_of(const Job& job, const C* z, std::int64_t n, std::int64_t k) {
  using S = Simd<C>;
  constexpr int W = S::W;
  typename S::V most[4];
  for (auto& m : most) m = S::load(z);
  for (int g = 1; g < 4; ++g) most[g] = S::load(z + g * W);
  each_stretch<C>(job, n, [&](std::int64_t from, std::int64_t length) LL_INLINE_LAMBDA {
    for (std::int64_t j = from == 0 ? 4 * W : from; j + 4 * W <= from + length; j += 4 * W)
      for (int g = 0; g < 4; ++g) most[g] = S::max(S::load(z + j + g * W), most[g]);
  });
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

// Whether a bar is worth finding.
template <class C>
bool wants_bar(std::int64_t n, std::int64_t k) {
  constexpr int W = Simd<C>::W;
  return n >= 64 * W && k <= most_with_bar && k <= 2 * W;
}

// The first k classes that reach the bar, or all that do; how many, and in `next` the class after them.
template <class C>
std::int64_t first_of_top(const Job& job, const C* z, std::int64_t n, std::int64_t k, C bar,
                          std::int64_t* label, std::int64_t& next) {
  using S = Simd<C>;
  const auto bars = S::set1(bar);
  std::int64_t have = 0, j = 0;
  for (; have < k; ++j) {
    j = pass_over<C>(job, j, n, [&](std::int64_t at) LL_INLINE_LAMBDA {
      return S::bits(S::lt(S::load(z + at), bars)) != (1u << S::W) - 1u;
    });
    if (j >= n) break;
    if (!(z[j] < bar)) label[have++] = j;
  }
  next = j;
  return have;
}

// The k best classes of a row, ties lowest first: a heap of those found so far with the worst at its root,
// which every further score has to beat; then sorted. Classes come in order, so an equal score never
// displaces one. Of a shard only those classes matter that reach the threshold; fewer than k are followed by
// -1.
template <class C>
void select_top(const Job& job, const C* z, std::int64_t ld, std::int64_t row, C peak, C times, C times_lo) {
  using S = Simd<C>;
  const std::int64_t k = job.k;
  std::int64_t* label = job.top_label + row * k;
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
  C bar = job.threshold ? threshold_of<C>(job, row) : (C)-__builtin_inf();
  const bool given = ld == 1 && bar > (C)-__builtin_inf();
  std::int64_t have = 0, next = 0;
  if (given || (ld == 1 && wants_bar<C>(job.classes, k))) {
    if (!given) bar = bar_of<C>(job, z, job.classes, k);
    have = first_of_top<C>(job, z, job.classes, k, bar, label, next);
  }
  if (have < k && !given)  // no bar, or NaN
    for (have = k, next = 0; next < k; ++next) label[next] = next;
  for (std::int64_t i = have / 2 - 1; i >= 0; --i) sift(i, have);
  for (std::int64_t j = next; j < job.classes; ++j) {
    if (ld == 1) {  // whole vectors that hold nothing better are passed over
      const auto worst = S::set1(z[label[0]]);
      j = pass_over<C>(job, j, job.classes, [&](std::int64_t at) LL_INLINE_LAMBDA {
        return S::bits(S::lt(worst, S::load(z + at))) != 0;
      });
      if (j >= job.classes) break;
    }
    if (z[j * ld] > z[label[0] * ld]) label[0] = j, sift(0, k);
  }
  for (std::int64_t size = have - 1; size > 0; --size) {
    const std::int64_t last = label[size];
    label[size] = label[0], label[0] = last;
    sift(0, size);
  }
  const ExpAt<C> at = ExpAt<C>::make(S::set1(peak));
  for (std::int64_t i = 0; i < k; ++i) {
    C p[S::W] = {};
    if (i < have) {
      const auto e = exp_of<C>(at, S::set1(z[label[i] * ld]));
      S::store(p, S::fma(e, S::set1(times), e * S::set1(times_lo)));
    }
    if (i >= have || peak != peak) label[i] = -1;
    if (job.rows_out.wide)
      ((double*)job.top_probability)[row * k + i] = (double)p[0];
    else
      ((float*)job.top_probability)[row * k + i] = (float)p[0];
  }
}
