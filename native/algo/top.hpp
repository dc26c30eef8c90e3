// The top-k classes of a row.
//
// A heap holds the best so far; in a row whose scores ascend every class would enter it. So first a bar is
// found that at least k classes reach, and hardly more: the largest scores of G lanes are those of G classes,
// so k of these reach the k-th largest of them. Traffic: two more reads of a row in the cache.

// A number that at least k of a[0..n) reach, and about k only, found by bisection; none of them is NaN.
template <class C>
C about_kth_largest(const Job& job, const C* a, std::int64_t n, std::int64_t k) {
  using S = Simd<C>;
  using I = typename Ordered<C>::I;
  const C inf = (C)__builtin_inf();
  auto tops = S::set1(-inf), lows = S::set1(inf);
  for (std::int64_t j = 0; j < n; j += S::W) {
    const int m = (int)least(S::W, n - j);
    tops = S::max(S::loadn(a + j, m, -inf), tops), lows = S::min(S::loadn(a + j, m, inf), lows);
  }
  C top[S::W], low[S::W], high = -inf, bar = inf;
  S::store(top, tops), S::store(low, lows);
  for (int i = 0; i < S::W; ++i) high = top[i] > high ? top[i] : high, bar = low[i] < bar ? low[i] : bar;
  auto reached = [&](C t) LL_INLINE_LAMBDA {
    const auto limit = S::set1(t);
    std::int64_t below = 0, j = 0;
    for (; j + S::W <= n; j += S::W) below += __builtin_popcount(S::bits(S::lt(S::load(a + j), limit)));
    for (; j < n; ++j) below += a[j] < t;
    return n - below;
  };
  if (reached(high) >= k) return high;
  for (int step = 0;; ++step) {  // k reach the bar, fewer reach `high`
    C middle = bar / 2 + high / 2;
    if (step >= 16 || !(bar < middle && middle < high)) {  // halves the number of numbers between them
      const I from = Ordered<C>::key(bar), to = Ordered<C>::key(high);
      const I half = from + (I)(((typename Ordered<C>::U)to - (typename Ordered<C>::U)from) / 2);
      if (half == from) return bar;
      middle = Ordered<C>::number(half);
    }
    if (n > stretch<C> && stopped(job)) return bar;
    const std::int64_t found = reached(middle);
    if (found < k) {
      high = middle;
      continue;
    }
    bar = middle;
    if (found <= k + k / 16) return bar;
  }
}

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

// A bar for all n scores.
template <class C>
C bar_of(const Job& job, const C* z, std::int64_t n, std::int64_t k) {
  using S = Simd<C>;
  constexpr std::int64_t W = S::W, most_lanes = 2048;
  const std::int64_t lanes = least(round_up(4 * k, 4 * W), most_lanes);
  if (n < 4 * lanes || lanes < 2 * k) return about_kth_largest(job, z, n, k);
  const C none = (C)-__builtin_inf();
  C lane[most_lanes];
  for (std::int64_t g = 0; g < lanes; g += W) S::store(lane + g, S::load(z + g));
  for (std::int64_t j = lanes, next = stretch<C>; j < n; j += lanes) {
    for (std::int64_t g = 0; g < lanes && j + g < n; g += W)
      S::store(lane + g, S::max(S::loadn(z + j + g, (int)least(W, n - j - g), none), S::load(lane + g)));
    if (j < next) continue;
    if (stopped(job)) break;
    next = j + stretch<C>;
  }
  return about_kth_largest(job, lane, lanes, k);
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

// The top-k classes of a row, ties lowest first: a heap of those found so far with the worst at its root,
// which every further score has to beat; then sorted. Classes come in order, so an equal score never
// displaces one. Of a shard only the classes not below `least` matter; fewer than k are followed by -1.
template <class C>
void select_top(const Job& job, const C* z, std::int64_t ld, std::int64_t row, C peak, C times, C times_lo) {
  using S = Simd<C>;
  const std::int64_t k = job.top.k;
  std::int64_t* label = job.top.label + row * k;
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
  C bar = job.top.least ? transformed<C>(job, job.top.least[row]) : (C)-__builtin_inf();
  const bool given = ld == 1 && bar > (C)-__builtin_inf();
  const bool sought = ld == 1 && job.classes >= 4 * S::W && k < job.classes && peak == peak;
  std::int64_t have = 0, next = 0;
  if (given) have = first_of_top<C>(job, z, job.classes, k, bar, label, next);
  if (sought && (!given || have == k)) {
    const C own = bar_of<C>(job, z, job.classes, k);
    bar = given && bar > own ? bar : own;
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
      ((double*)job.top.probability)[row * k + i] = (double)p[0];
    else
      ((float*)job.top.probability)[row * k + i] = (float)p[0];
  }
}
