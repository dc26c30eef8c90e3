// The top-k classes of a row. In: its scores. Out: k labels, best first, and their probabilities.
//
// A heap holds the k largest scores found so far. In a row whose scores ascend every class would enter it, so
// first a bar is found: a number that at least k scores reach, and few more. Each of G lanes takes the
// largest of some of the scores; these are the scores of G different classes, and the k-th largest of them is
// the bar. Traffic: two more reads of a row in the cache.

// A number that at least k of a[0..n) reach, and hardly more, found by bisection; none of them is NaN.
template <class C>
C about_kth_largest(Stop* stop, const C* a, std::int64_t n, std::int64_t k) {
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
    if (n > stretch<C> && stopped(stop)) return bar;
    const std::int64_t found = reached(middle);
    if (found < k) {
      high = middle;
      continue;
    }
    bar = middle;
    if (found <= k + k / 16) return bar;
  }
}

// The next class from j on whose vector is a hit, or one of the last few; n if the call is to end early.
template <class C, class F>
LL_INLINE std::int64_t pass_over(Stop* stop, std::int64_t j, std::int64_t n, F&& hit) {
  constexpr int W = Simd<C>::W;
  for (;;) {
    const std::int64_t end = least(n, j + stretch<C>);
    while (j + W <= end && !hit(j)) j += W;
    if (j < end || end == n) return j;
    if (stopped(stop)) return n;
  }
}

// A bar for all n scores.
template <class C>
C bar_of(Stop* stop, const C* z, std::int64_t n, std::int64_t k) {
  using S = Simd<C>;
  constexpr std::int64_t W = S::W, most_lanes = 2048;
  const std::int64_t lanes = least(round_up(4 * k, 4 * W), most_lanes);
  if (n < 4 * lanes || lanes < 2 * k) return about_kth_largest(stop, z, n, k);
  const C none = (C)-__builtin_inf();
  C lane[most_lanes];
  for (std::int64_t g = 0; g < lanes; g += W) S::store(lane + g, S::load(z + g));
  for (std::int64_t j = lanes, next = stretch<C>; j < n; j += lanes) {
    for (std::int64_t g = 0; g < lanes && j + g < n; g += W)
      S::store(lane + g, S::max(S::loadn(z + j + g, (int)least(W, n - j - g), none), S::load(lane + g)));
    if (j < next) continue;
    if (stopped(stop)) break;
    next = j + stretch<C>;
  }
  return about_kth_largest(stop, lane, lanes, k);
}

// The first k classes that reach the bar, or all of them if they are fewer. Returns how many, and in `next`
// the class after them.
template <class C>
std::int64_t first_of_top(Stop* stop, const C* z, std::int64_t n, std::int64_t k, C bar, std::int64_t* label,
                          std::int64_t& next) {
  using S = Simd<C>;
  const auto bars = S::set1(bar);
  std::int64_t have = 0, j = 0;
  for (; have < k; ++j) {
    j = pass_over<C>(stop, j, n, [&](std::int64_t at) LL_INLINE_LAMBDA {
      return S::bits(S::lt(S::load(z + at), bars)) != (1u << S::W) - 1u;
    });
    if (j >= n) break;
    if (!(z[j] < bar)) label[have++] = j;
  }
  next = j;
  return have;
}

// Selects the top-k classes of row `row`, which is row i of the block; ties lowest first. The heap has the
// worst of the classes found so far at its root; a further class enters if its score is better. Classes come
// in order, so an equal score never displaces one. Then the heap is sorted. Of a shard only the classes that
// reach the threshold count; where these are fewer than k, labels of -1 follow.
template <class C>
void select_top(const Job& job, Stop* stop, Columns<const C> scores, const State<C>& st, std::int64_t row,
                int i) {
  using S = Simd<C>;
  const TopK& top = job.top;
  const C* const z = scores.at;
  const std::int64_t n = scores.n, ld = scores.ld, k = top.k;
  const C peak = st.peak[i];
  std::int64_t* label = top.label + row * k;
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
  C bar = top.threshold ? transformed<C>(job.transform, top.threshold[row]) : (C)-__builtin_inf();
  const bool given = ld == 1 && bar > (C)-__builtin_inf();
  const bool sought = ld == 1 && n >= 4 * S::W && k < n && peak == peak;
  std::int64_t have = 0, next = 0;
  if (given) have = first_of_top<C>(stop, z, n, k, bar, label, next);
  if (sought && (!given || have == k)) {
    const C own = bar_of<C>(stop, z, n, k);
    bar = given && bar > own ? bar : own;
    have = first_of_top<C>(stop, z, n, k, bar, label, next);
  }
  if (have < k && !given)  // there is no bar, or a NaN
    for (have = k, next = 0; next < k; ++next) label[next] = next;
  for (std::int64_t a = have / 2 - 1; a >= 0; --a) sift(a, have);
  for (std::int64_t j = next; j < n; ++j) {
    if (ld == 1) {  // skips whole vectors without a better score
      const auto worst = S::set1(z[label[0]]);
      j = pass_over<C>(stop, j, n, [&](std::int64_t at) LL_INLINE_LAMBDA {
        return S::bits(S::lt(worst, S::load(z + at))) != 0;
      });
      if (j >= n) break;
    }
    if (z[j * ld] > z[label[0] * ld]) label[0] = j, sift(0, k);
  }
  for (std::int64_t size = have - 1; size > 0; --size) {
    const std::int64_t last = label[size];
    label[size] = label[0], label[0] = last;
    sift(0, size);
  }
  const ExpAt<C> at = ExpAt<C>::make(S::set1(peak));
  const auto times = S::set1(st.times[i]), times_lo = S::set1(st.times_lo[i]);
  for (std::int64_t a = 0; a < k; ++a) {
    C p[S::W] = {};
    if (a < have) {
      const auto e = exp_of<C>(at, S::set1(z[label[a] * ld]));
      S::store(p, S::fma(e, times, e * times_lo));
    }
    if (a >= have || peak != peak) label[a] = -1;
    if (job.results.wide)
      ((double*)top.probability)[row * k + a] = (double)p[0];
    else
      ((float*)top.probability)[row * k + a] = (float)p[0];
  }
}
