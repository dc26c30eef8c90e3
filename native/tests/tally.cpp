// Tallies. In: rows of logits, some of them ignored or odd. Out: what counting them one by one gives, on
// every instruction set and number of threads; the sanitizers check that only the tables are written.
#include "tally.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "confidence_bins.hpp"
#include "exact_sums.hpp"
#include "problem.hpp"

namespace lastlayer {
namespace tests {
namespace {

using Ints = std::vector<std::int64_t>;

std::vector<double> edges_of_fine_bins() {
  std::vector<double> found;
  for (int k = 0; k < FineBins::below; ++k) found.push_back(k / 2048.0);
  for (int k = 0; k < FineBins::all - FineBins::below; ++k)
    found.push_back(1 - std::exp2(-(1 + k / (double)FineBins::per_halving)));
  found.push_back(1);
  return found;
}

// How scores lie in memory: rows one after another, in reverse, or each class's scores side by side.
enum class Lay { rows, reversed, planes };

struct Rows {
  std::int64_t n, classes;
  double temperature = 1;
  std::vector<float> z;
  Ints y, numbers;
  Ints top_k{1, 3, 130}, rank_starts;
  std::vector<double> edges, fine_edges;
  Shape shape;
  Operand x;

  Rows(std::int64_t n_, std::int64_t classes_)
      : n(n_), classes(classes_), z((std::size_t)(n * classes)), y((std::size_t)n), numbers(y.size()) {
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = (float)((int)((i * 7919) % 2003) - 1000) / 150;
    for (std::size_t i = 0; i < y.size(); ++i) {
      float* const row = &z[i * (std::size_t)classes];
      y[i] = i % 11 == 3 ? -100 : (std::int64_t)(i * 31) % classes;
      if (i % 53 == 2) y[i] = i % 2 ? classes : i % 4 ? std::numeric_limits<std::int64_t>::max() : -7;
      numbers[i] = (std::int64_t)(i * 13 % 50);
      if (i % 37 == 5) row[0] = std::numeric_limits<float>::quiet_NaN();
      if (i % 41 == 7) row[classes - 1] = std::numeric_limits<float>::infinity();
      if (i % 43 == 9) row[0] = 5000;
      if (i % 7 == 1) row[0] += 12;
    }
    for (int k = 0; k <= 7; ++k) edges.push_back(k / 7.0);
    for (std::int64_t k = 0; k < classes; k += 1 + (k >= 128) * k / 5) rank_starts.push_back(k);
    fine_edges = edges_of_fine_bins();
    shape.rows = n, shape.classes = classes, shape.axes = 1, shape.extent[0] = n;
    lay(Lay::rows);
  }
  // The same memory, read as other rows.
  void lay(Lay how) {
    const std::int64_t size = sizeof(float), row = classes * size;
    x.data = (char*)z.data() + (how == Lay::reversed ? (n - 1) * row : 0);
    x.class_stride = how == Lay::planes ? n * size : size;
    x.stride[0] = how == Lay::rows ? row : how == Lay::reversed ? -row : size;
  }
  bool counts(std::size_t i) const { return y[i] >= 0 && y[i] < classes; }
};

// Memory of TallyTables.
struct Tables {
  Ints sums, squares, support, predicted, correct, class_loss, confusion, ranks, equal[3], fine[3];

  explicit Tables(const Rows& r)
      : sums(3 * (5 + r.top_k.size())),
        squares(sums.size()),
        support((std::size_t)r.classes),
        predicted(support.size()),
        correct(support.size()),
        class_loss(3 * support.size()),
        confusion(support.size() * support.size()),
        ranks(r.rank_starts.size()) {
    for (int i = 0; i < 3; ++i) {
      equal[i].resize((r.edges.size() - 1) * (i == 2 ? 3 : 1));
      fine[i].resize((r.fine_edges.size() - 1) * (i == 2 ? 3 : 1));
    }
  }
  TallyTables view() {
    return {sums.data(),
            squares.data(),
            support.data(),
            predicted.data(),
            correct.data(),
            class_loss.data(),
            confusion.data(),
            nullptr,
            ranks.data(),
            {equal[0].data(), equal[1].data(), equal[2].data()},
            {fine[0].data(), fine[1].data(), fine[2].data()},
            nullptr,
            {}};
  }
  bool operator==(const Tables& b) const {
    return sums == b.sums && squares == b.squares && support == b.support && predicted == b.predicted &&
           correct == b.correct && class_loss == b.class_loss && confusion == b.confusion &&
           ranks == b.ranks && std::equal(equal, equal + 3, b.equal) && std::equal(fine, fine + 3, b.fine);
  }
};

void add(double x, std::int64_t place, Ints& limbs) { add_exactly({&x, nullptr, place, 1}, limbs.data()); }

std::int64_t bin_of(const std::vector<double>& edges, double c) {
  const auto above = std::lower_bound(edges.begin(), edges.end(), c) - edges.begin();
  return std::max<std::int64_t>(0, above - 1);
}
void add_bin(const std::vector<double>& edges, double c, bool hit, Ints* bins) {
  const std::int64_t k = bin_of(edges, c);
  ++bins[0][(std::size_t)k], bins[1][(std::size_t)k] += hit;
  add(c, k, bins[2]);
}

// The rows one by one; in `left` those that are not counted.
Tables one_by_one(const Rows& r, Ints& left) {
  const auto n = (std::size_t)r.n;
  std::vector<double> s[6], m[4];
  for (auto& v : s) v.resize(n);
  for (auto& v : m) v.resize(n);
  Ints argmax(n), rank(n);
  EffectiveTarget target;
  target.kind = Target::index, target.index = (const char*)r.y.data(), target.has_ignore = true;
  target.ignore = -100;
  RowResults o;
  o.wide_peak = true, o.peak = s[0].data(), o.rest = s[1].data(), o.gap = s[2].data(), o.mass = s[3].data();
  o.spread = s[4].data(), o.square = s[5].data(), o.argmax = argmax.data(), o.rank = rank.data();
  Transform transform;
  transform.temperature = r.temperature;
  const Losses losses;
  const TopK top;
  run_job(Job(RowStatistics{r.shape, {r.x, transform}, target, losses, o, top}), Runner{});
  current()->row_metrics({s[0].data(), s[1].data(), s[2].data(), s[3].data(), s[4].data(), s[5].data()},
                         {m[0].data(), m[1].data(), m[2].data(), m[3].data()}, r.n);
  Tables found(r);
  for (std::size_t i = 0; i < n; ++i) {
    if (!r.counts(i)) continue;
    if (!std::isfinite(s[0][i]) || !(m[0][i] < 4096)) {
      left.push_back((std::int64_t)i);
      continue;
    }
    const double inverse = 1 / ((double)rank[i] + 1);
    std::vector<double> values{m[0][i], m[1][i], m[2][i], m[3][i], inverse};
    for (std::int64_t k : r.top_k) values.push_back(rank[i] < k);
    for (std::size_t k = 0; k < values.size(); ++k) {
      add(values[k], (std::int64_t)k, found.sums);
      add(values[k] * values[k], (std::int64_t)k, found.squares);
    }
    const std::int64_t y = r.y[i], a = argmax[i];
    ++found.support[(std::size_t)y], ++found.predicted[(std::size_t)a];
    found.correct[(std::size_t)y] += rank[i] == 0;
    std::size_t bucket = 0;
    while (bucket + 1 < r.rank_starts.size() && r.rank_starts[bucket + 1] <= rank[i]) ++bucket;
    ++found.ranks[bucket];
    ++found.confusion[(std::size_t)(y * r.classes + a)];
    add(m[0][i], y, found.class_loss);
    add_bin(r.edges, m[2][i], rank[i] == 0, found.equal),
        add_bin(r.fine_edges, m[2][i], rank[i] == 0, found.fine);
  }
  return found;
}

TallyRows rows_of(const Rows& r, const void* y, Dtype dtype) {
  return {r.x,
          r.shape,
          r.temperature,
          {y, dtype, r.n, r.classes, true, -100, nullptr, nullptr},
          r.top_k.data(),
          (std::int64_t)r.top_k.size(),
          (std::int64_t)r.edges.size() - 1,
          r.edges.data(),
          r.fine_edges.data(),
          r.numbers.data(),
          -std::numeric_limits<double>::infinity(),
          nullptr,
          {r.rank_starts.data(), (std::int64_t)r.rank_starts.size()}};
}

void test_rows(const Rows& r, const std::string& name) {
  Ints left;
  const Tables expected = one_by_one(r, left);
  const TallyRows rows = rows_of(r, r.y.data(), Dtype::i64);
  for (int threads : {1, 3}) {
    TallyCall call(rows);
    const TallyFound found = call.count(Runner{threads});
    Tables tables(r);
    call.add_to(tables.view());
    CHECK(found.complete, "%s", name.c_str());
    CHECK(tables == expected, "%s on %d threads", name.c_str(), threads);
    CHECK(found.unusual == left, "%s: rows that are left", name.c_str());
    CHECK(found.rows + found.ignored + (std::int64_t)left.size() == r.n, "%s: all rows", name.c_str());
    const std::size_t most = std::min<std::size_t>(TallyFound::most_hard, (std::size_t)found.rows);
    CHECK(found.hardest.size() == most, "%s: the hardest rows", name.c_str());
    for (std::size_t i = 1; i < most; ++i)
      CHECK(found.hardest[i - 1].loss >= found.hardest[i].loss, "%s: in order", name.c_str());
  }
}

// Of many classes the largest class of each row is noted, and counts of pairs are not wanted.
void test_notes(const Rows& r, const std::string& name) {
  Ints left;
  const Tables expected = one_by_one(r, left);
  TallyCall call(rows_of(r, r.y.data(), Dtype::i64));
  const TallyFound found = call.count(Runner{2});
  Tables tables(r);
  Ints argmax((std::size_t)r.n, -2);
  TallyTables view = tables.view();
  view.confusion = nullptr, view.argmax = argmax.data();
  call.add_to(view);
  std::int64_t noted = 0;
  for (std::size_t i = 0; i < argmax.size(); ++i) {
    CHECK(argmax[i] >= -1 && argmax[i] < r.classes, "%s: class %lld", name.c_str(), (long long)argmax[i]);
    if (argmax[i] >= 0) ++tables.confusion[(std::size_t)(r.y[i] * r.classes + argmax[i])], ++noted;
  }
  CHECK(noted == found.rows, "%s: the rows that are noted", name.c_str());
  CHECK(tables == expected, "%s: the classes that are noted", name.c_str());
}

// Rows of weight 1 add as sums what rows without weights are counted as; others are ignored or left out.
void test_weights(const Rows& r, const std::string& name) {
  Ints left;
  Tables expected = one_by_one(r, left);
  const auto n = (std::size_t)r.n, all = (std::size_t)FineBins::all, V = (std::size_t)r.classes;
  std::vector<double> weights(n, 1.0);
  TallyRows rows = rows_of(r, r.y.data(), Dtype::i64);
  rows.weights = weights.data();
  for (int threads : {1, 3}) {
    TallyCall call(rows);
    const TallyFound found = call.count(Runner{threads});
    Ints weight(12), of[3], support(3 * V), predicted(3 * V), correct(3 * V), loss(3 * V),
        confusion(3 * V * V), ranks(3 * r.rank_starts.size());
    for (Ints& one : of) one.resize(expected.sums.size());
    Ints equal[3], fine[3];
    for (int k = 0; k < 3; ++k) equal[k].resize(3 * (r.edges.size() - 1)), fine[k].resize(3 * all);
    TallyTables to{};
    to.weight = weight.data();
    for (int k = 0; k < 3; ++k) to.weighted[k] = of[k].data();
    to.support = support.data(), to.predicted = predicted.data(), to.correct = correct.data();
    to.class_loss = loss.data(), to.confusion = confusion.data(), to.ranks = ranks.data();
    to.equal = {equal[0].data(), equal[1].data(), equal[2].data()};
    to.fine = {fine[0].data(), fine[1].data(), fine[2].data()};
    call.add_to(to);
    auto same = [](const Ints& counts, const Ints& limbs) {
      bool is = true;
      for (std::size_t k = 0; k < counts.size(); ++k)
        is = is && limbs[3 * k] == counts[k] << 20 && limbs[3 * k + 1] == 0 && limbs[3 * k + 2] == 0;
      return is;
    };
    CHECK(of[0] == expected.sums && of[1] == expected.sums && of[2] == expected.squares, "%s: weighted sums",
          name.c_str());
    CHECK(same(Ints(4, found.rows), weight) && same(expected.support, support) &&
              same(expected.predicted, predicted) && same(expected.correct, correct) &&
              same(expected.confusion, confusion) && same(expected.ranks, ranks) &&
              loss == expected.class_loss,
          "%s: weighted classes", name.c_str());
    for (int k = 0; k < 2; ++k)
      CHECK(same(expected.equal[k], equal[k]) && same(expected.fine[k], fine[k]), "%s: weighted bins",
            name.c_str());
    CHECK(equal[2] == expected.equal[2] && fine[2] == expected.fine[2], "%s: confidences", name.c_str());
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double some[] = {0, 1, 16, 17, std::numeric_limits<double>::quiet_NaN(), -1};
    weights[i] = some[i % 6];
  }
  TallyCall call(rows);
  const TallyFound found = call.count(Runner{2});
  CHECK(found.rows + found.ignored + (std::int64_t)found.unusual.size() == r.n, "%s: all rows", name.c_str());
  for (std::int64_t i : found.unusual)
    CHECK(i % 6 > 2 || std::binary_search(left.begin(), left.end(), i), "%s: row %d", name.c_str(), (int)i);
}

// Class indices of a narrow or unsigned dtype, of which the last is above the classes.
template <class T>
void test_indices(Rows r, Dtype dtype, const std::string& name) {
  std::vector<T> narrow((std::size_t)r.n);
  for (std::size_t i = 0; i < narrow.size(); ++i) {
    if (!r.counts(i)) r.y[i] = (std::int64_t)(T)r.y[i];
    narrow[i] = (T)r.y[i];
  }
  narrow.back() = std::numeric_limits<T>::max(), r.y.back() = -1;
  Ints left;
  const Tables expected = one_by_one(r, left);
  TallyCall call(rows_of(r, narrow.data(), dtype));
  const TallyFound found = call.count(Runner{2});
  Tables tables(r);
  call.add_to(tables.view());
  CHECK(tables == expected && found.unusual == left, "%s", name.c_str());
}

// The guess as metrics.hpp defines it.
std::int64_t guess_of(double c) {
  using G = ConfidenceGuess;
  if (c <= 0.5) return (std::int64_t)std::nearbyint(c * G::per_unit);
  const double other = std::max(1 - c, G::least_other);
  std::int64_t bits;
  std::memcpy(&bits, &other, sizeof bits);
  return G::top - (bits >> G::shift);
}

// Both bins of every edge and of its neighbours, for any number of bins; and of edges in no order.
void test_bins() {
  const std::vector<double> fine = edges_of_fine_bins();
  for (int bins : {1, 2, 7, 15, 16, 1000, 5000}) {
    std::vector<double> equal;
    for (int k = 0; k <= bins; ++k) equal.push_back(k / (double)bins);
    const ConfidenceBins found({equal.data(), bins}, {fine.data(), FineBins::all});
    std::vector<double> all = fine;
    all.insert(all.end(), equal.begin(), equal.end());
    all.push_back(std::numeric_limits<double>::denorm_min()), all.push_back(1 - 0x1p-53);
    for (double edge : all)
      for (double c : {std::nextafter(edge, 0.0), edge, std::min(1.0, std::nextafter(edge, 1.0))}) {
        const std::size_t place = found.place(guess_of(c), c);
        CHECK(place < found.places() && found.equal(place) == bin_of(equal, c) &&
                  found.fine(place) == bin_of(fine, c),
              "bins of %.17g among %d", c, bins);
      }
  }
  const double lost = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const std::vector<double> equal{lost, inf, -inf, 0.3, lost, 0.1}, odd(FineBins::all + 1, lost);
  const ConfidenceBins found({equal.data(), 5}, {odd.data(), FineBins::all});
  for (double c = 0; c <= 1; c += 1.0 / 4096) {
    const std::size_t place = found.place(guess_of(c), c);
    CHECK(place < found.places() && found.equal(place) < 5 && found.fine(place) == 0, "odd edges at %g", c);
  }
}

}  // namespace

void test_tally(bool quick) {
  test_bins();
  const std::string before = current()->name;
  for (const Table* table : available()) {
    choose(table->name);
    for (std::int64_t classes : {1, 3, 20, 70, 120, 121, 300, 1700})
      test_rows(Rows(classes < 20 && !quick ? 70'001 : 1'501, classes),
                text("%s, %d classes", table->name, (int)classes));
    test_rows(Rows(5, 3), text("%s, few rows", table->name));
    for (std::int64_t classes : {3, 20, 300}) {
      Rows r(1'501, classes);
      for (Lay how : {Lay::reversed, Lay::planes}) {
        r.lay(how);
        test_rows(r, text("%s, %d classes, layout %d", table->name, (int)classes, (int)how));
      }
      r.temperature = 1.7;
      test_rows(r, text("%s, %d classes, a temperature", table->name, (int)classes));
    }
    for (std::int64_t classes : {3, 300})
      test_weights(Rows(1'501, classes), text("%s, weights", table->name));
    test_notes(Rows(1'501, 300), text("%s, notes", table->name));
    const Rows r(701, 20);
    test_indices<std::int8_t>(r, Dtype::i8, text("%s, int8", table->name));
    test_indices<std::uint8_t>(r, Dtype::u8, text("%s, uint8", table->name));
    test_indices<std::int32_t>(r, Dtype::i32, text("%s, int32", table->name));
    test_indices<std::uint64_t>(r, Dtype::u64, text("%s, uint64", table->name));
  }
  choose(before);
}

}  // namespace tests
}  // namespace lastlayer
