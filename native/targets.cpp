#include "targets.hpp"

#include <type_traits>

#include "sum.hpp"

namespace lastlayer {
namespace {

// Whether an unsigned index is too large for a signed one: it is no class then, and not `ignore`.
template <class T>
bool beyond(T y) {
  return std::is_same<T, std::uint64_t>::value && (std::uint64_t)y > (std::uint64_t)INT64_MAX;
}

// The position of the first index out of range, or -1; in `kept` the number of rows that are not ignored.
template <class T>
std::int64_t scan(const T* y, const IndexTargets& t, std::int64_t& kept) {
  const std::int64_t n = t.rows, classes = t.classes;
  auto ignored = [&](T v) { return t.has_ignore && (std::int64_t)v == t.ignore && !beyond(v); };
  auto outside = [&](T v) { return (std::int64_t)v < 0 || (std::int64_t)v >= classes; };
  // Usually every index is a class and none is ignored: then no sign bit is set here.
  if (!t.has_ignore || t.ignore < 0 || t.ignore >= classes) {
    std::int64_t signs = 0;
    for (std::int64_t i = 0; i < n; ++i) signs |= (std::int64_t)y[i] | (classes - 1 - (std::int64_t)y[i]);
    kept = n;
    if (signs >= 0) return -1;
  }
  std::int64_t left_out = 0, bad = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const bool skip = ignored(y[i]);
    left_out += skip;
    bad += !skip && outside(y[i]);
  }
  kept = n - left_out;
  for (std::int64_t i = 0; bad && i < n; ++i)
    if (!ignored(y[i]) && outside(y[i])) return i;
  return -1;
}

template <class T>
TargetTotals totals_of(const IndexTargets& t) {
  const T* const y = (const T*)t.data;
  std::int64_t kept = t.rows;
  const std::int64_t bad = scan(y, t, kept);
  if (bad >= 0) return {bad, 0.0};
  if (!t.class_weight && !t.sample_weight) return {-1, (double)kept};
  const double *class_weight = t.class_weight, *sample_weight = t.sample_weight;
  return {-1, sum_of(t.rows, [&](std::int64_t i) {
            // Read once: another thread may change it between two reads.
            const T once = *const_cast<const volatile T*>(y + i);
            const std::int64_t v = (std::int64_t)once;
            if ((t.has_ignore && v == t.ignore) || v < 0 || v >= t.classes) return 0.0;
            return (class_weight ? class_weight[v] : 1.0) * (sample_weight ? sample_weight[i] : 1.0);
          })};
}

}  // namespace

bool is_integer(Dtype dtype) { return dtype > Dtype::f64; }

TargetTotals target_totals(const IndexTargets& targets) {
  switch (targets.dtype) {
    case Dtype::i8: return totals_of<std::int8_t>(targets);
    case Dtype::u8: return totals_of<std::uint8_t>(targets);
    case Dtype::i16: return totals_of<std::int16_t>(targets);
    case Dtype::u16: return totals_of<std::uint16_t>(targets);
    case Dtype::i32: return totals_of<std::int32_t>(targets);
    case Dtype::u32: return totals_of<std::uint32_t>(targets);
    case Dtype::u64: return totals_of<std::uint64_t>(targets);
    default: return totals_of<std::int64_t>(targets);
  }
}

}  // namespace lastlayer
