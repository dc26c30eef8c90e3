#include "problem.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

namespace lastlayer {
namespace tests {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
const double nan = std::nan("");
constexpr char pattern = (char)0xa5;

// `digits` binary digits, exponents from `least` on: what the 16-bit formats hold.
double rounded(double x, int digits, int least, double most) {
  if (!std::isfinite(x) || x == 0) return x;
  int e;
  std::frexp(x, &e);
  const double unit = std::ldexp(1.0, std::max(e, least + 1) - digits);
  const double r = std::nearbyint(x / unit) * unit;
  return std::fabs(r) > most ? std::copysign(inf, x) : r;
}
// mantissa bits m, exponent bits e: sign, exponent, mantissa of an IEEE format
std::uint16_t encode(double x, int m, int e) {
  const int bias = (1 << (e - 1)) - 1;
  const std::uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  if (std::isnan(x)) return (std::uint16_t)(sign | (((1 << e) - 1) << m) | (1 << (m - 1)));
  x = std::fabs(rounded(x, m + 1, 1 - bias, std::ldexp(2 - std::ldexp(1.0, -m), bias)));
  if (std::isinf(x)) return (std::uint16_t)(sign | (((1 << e) - 1) << m));
  if (x == 0) return sign;
  int k;
  std::frexp(x, &k);
  --k;
  if (k < 1 - bias) return (std::uint16_t)(sign | (int)std::ldexp(x, bias - 1 + m));
  return (std::uint16_t)(sign | ((k + bias) << m) | ((int)std::ldexp(x, m - k) - (1 << m)));
}
double decode(std::uint16_t b, int m, int e) {
  const int bias = (1 << (e - 1)) - 1, k = (b & 0x7fff) >> m, f = b & ((1 << m) - 1);
  const double sign = b & 0x8000 ? -1 : 1;
  if (k == (1 << e) - 1) return f ? nan : sign * inf;
  return sign * (k == 0 ? std::ldexp(f, 1 - bias - m) : std::ldexp(f + (1 << m), k - bias - m));
}

template <class T>
double get(const char* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return (double)v;
}
template <class T>
void put(char* p, double x) {
  const T v = (T)x;
  std::memcpy(p, &v, sizeof v);
}

const char* name_of(Op op) {
  static const char* const names[] = {
      "softmax",          "log_softmax",         "stats", "grad", "pick", "pick_grad",
      "softmax_backward", "log_softmax_backward"};
  return names[(int)op];
}
const char* name_of(Dtype d) {
  static const char* const names[] = {"f16", "bf16", "f32", "f64", "i8",  "u8",
                                      "i16", "u16",  "i32", "u32", "i64", "u64"};
  return names[(int)d];
}

bool is_backward(Op op) { return op == Op::softmax_backward || op == Op::log_softmax_backward; }
bool is_pick(Op op) { return op == Op::pick || op == Op::pick_grad; }
bool has_matrix(Op op) { return op != Op::stats && op != Op::pick; }

}  // namespace

double read(Dtype d, const char* p) {
  std::uint16_t half;
  std::memcpy(&half, p, size_of(d) >= 2 ? 2 : 1);
  switch (d) {
    case Dtype::f16: return decode(half, 10, 5);
    case Dtype::bf16: return decode(half, 7, 8);
    case Dtype::f32: return get<float>(p);
    case Dtype::f64: return get<double>(p);
    case Dtype::i8: return get<std::int8_t>(p);
    case Dtype::u8: return get<std::uint8_t>(p);
    case Dtype::i16: return get<std::int16_t>(p);
    case Dtype::u16: return get<std::uint16_t>(p);
    case Dtype::i32: return get<std::int32_t>(p);
    case Dtype::u32: return get<std::uint32_t>(p);
    case Dtype::i64: return get<std::int64_t>(p);
    default: return get<std::uint64_t>(p);
  }
}

void write(Dtype d, char* p, double x) {
  switch (d) {
    case Dtype::f16: {
      const std::uint16_t b = encode(x, 10, 5);
      std::memcpy(p, &b, 2);
      break;
    }
    case Dtype::bf16: {
      const std::uint16_t b = encode(x, 7, 8);
      std::memcpy(p, &b, 2);
      break;
    }
    case Dtype::f32: return put<float>(p, x);
    case Dtype::f64: return put<double>(p, x);
    case Dtype::i8: return put<std::int8_t>(p, x);
    case Dtype::u8: return put<std::uint8_t>(p, x);
    case Dtype::i16: return put<std::int16_t>(p, x);
    case Dtype::u16: return put<std::uint16_t>(p, x);
    case Dtype::i32: return put<std::int32_t>(p, x);
    case Dtype::u32: return put<std::uint32_t>(p, x);
    case Dtype::i64: return put<std::int64_t>(p, x);
    case Dtype::u64: return put<std::uint64_t>(p, x);
  }
}

Layout Layout::any(Random& random, bool for_result) {
  static const int orders[][3] = {{0, 1, 2}, {2, 0, 1}, {0, 2, 1}, {1, 0, 2}, {2, 1, 0}, {1, 2, 0}};
  Layout layout;
  layout.offset = random.once_in(2) ? (int)random.below(20) : 0;
  if (random.once_in(3)) return layout;
  const int* const order = orders[random.below(6)];
  std::copy(order, order + 3, layout.order);
  for (bool& turn : layout.turned) turn = random.once_in(3);
  layout.step = random.once_in(4) ? 2 : 1;
  layout.gap = random.once_in(3) ? (int)random.below(5) : 0;
  layout.repeated = !for_result && random.once_in(12);
  layout.shifted = random.once_in(5);
  return layout;
}

char* Problem::allocate(std::size_t bytes, bool result) {
  memory_.push_back({std::unique_ptr<char[]>(new char[bytes]), bytes, result});
  std::memset(memory_.back().data.get(), pattern, bytes);
  return memory_.back().data.get();
}

void Problem::place(Operand& a, Dtype dtype, const Layout& layout, bool result) {
  const std::int64_t extent[3] = {layout.repeated ? 1 : a_, layout.repeated ? 1 : b_, call.shape.classes};
  const std::int64_t size = size_of(dtype);
  std::int64_t stride[3], run = size * layout.step, first = layout.offset * size, last = 0;
  for (int i = 2; i >= 0; --i) {
    const int d = layout.order[i];
    stride[d] = run;
    last += (extent[d] - 1) * run;
    if (layout.turned[d]) first += (extent[d] - 1) * run, stride[d] = -run;
    run = run * extent[d] + (i == 2 ? layout.gap * size : 0);
  }
  if (layout.repeated) stride[0] = stride[1] = 0;
  const std::int64_t shift = layout.shifted ? size / 2 : 0;  // 0: numbers of one byte
  a.data = allocate((std::size_t)(shift + layout.offset * size + last + size), result) + shift + first;
  a.aligned = shift == 0;
  a.dtype = dtype;
  a.class_stride = stride[2];
  int n = 0;
  if (a_ > 1) a.stride[n++] = stride[0];
  if (b_ > 1) a.stride[n++] = stride[1];
}

char* Problem::at(const Operand& a, std::int64_t row, std::int64_t j) const {
  char* p = a.data + j * a.class_stride;
  for (int d = call.shape.axes - 1; d >= 0; --d)
    p += row % call.shape.extent[d] * a.stride[d], row /= call.shape.extent[d];
  return p;
}

Problem::Problem(const Request& request) : request_(request) {
  Random random(request.seed * 977 + (std::uint64_t)request.rows * 31 + (std::uint64_t)request.classes);
  const bool plain = request.plain;
  const Dtype dtype = request.dtype;
  call.op = request.op;
  call.shape.rows = request.rows, call.shape.classes = request.classes;
  b_ = call.shape.rows;
  if (!plain)
    for (int a : {2, 3, 5, 7})
      if (b_ % a == 0 && random.once_in(2)) a_ *= a, b_ /= a;
  for (std::int64_t n : {a_, b_})
    if (n > 1) call.shape.extent[call.shape.axes++] = n;
  const bool options = !plain && !is_backward(call.op) && !is_pick(call.op);
  if (options && random.once_in(4)) call.transform.temperature = random.once_in(2) ? 0.7 : 2.5;
  if (options && random.once_in(4)) call.transform.softcap = 8;
  const bool transformed = call.transform.temperature != 1 || call.transform.softcap != 0;
  call.losses.wide = call.results.wide = call.results.wide_peak = dtype == Dtype::f64;
  loose_ = transformed && dtype != Dtype::f64 && dtype != Dtype::f32;
  const Layout same = plain ? Layout::plain() : Layout::any(random, request.in_place);
  place(call.x, dtype, same, request.in_place);
  fill_scores(random, !plain && !is_pick(call.op) && !is_backward(call.op));
  if (options && random.once_in(3)) {
    place(call.mask, Dtype::u8, Layout::any(random, false), false);
    call.transform.mask = &call.mask;
    for (std::int64_t i = 0; i < call.shape.rows; ++i) {
      const bool nothing = random.once_in(12);
      for (std::int64_t j = 0; j < call.shape.classes; ++j)
        *at(call.mask, i, j) = (char)(nothing || random.once_in(5) ? 0 : random.once_in(2) ? 1 : 255);
    }
  }
  if (is_backward(call.op)) {
    place(call.dy, dtype, plain ? Layout::plain() : Layout::any(random, false), false);
    for (std::int64_t i = 0; i < call.shape.rows; ++i)
      for (std::int64_t j = 0; j < call.shape.classes; ++j) write(dtype, at(call.dy, i, j), random.normal());
  } else if (call.op == Op::grad || is_pick(call.op) || (call.op == Op::stats && random.once_in(2))) {
    add_targets(random, plain);
  }
  if (request.in_place) {
    call.out = call.x;
  } else if (has_matrix(call.op)) {
    Layout layout = plain ? Layout::plain() : Layout::any(random, true);
    if (plain) layout.offset = (int)random.below(20), layout.shifted = random.once_in(5);
    place(call.out, dtype, layout, true);
  }
  add_results(random, plain);
  name = text("%s %s %lld x %lld seed %llu%s", name_of(call.op), name_of(dtype), (long long)call.shape.rows,
              (long long)call.shape.classes, (unsigned long long)request.seed, plain ? " plain" : "") +
         (request.in_place ? " in place" : "");
  find_truth();
  for (const Memory& m : memory_)
    if (!m.result) scores_before_.append(m.data.get(), m.size);
  if (!request.in_place) wipe();
}

void Problem::fill_scores(Random& random, bool special) {
  static const double scales[] = {1, 5, 20}, shifts[] = {0, 0, 0, 300, -3000};
  const Dtype d = call.x.dtype;
  const double scale = random.one_of(scales), shift = d == Dtype::f16 ? 0 : random.one_of(shifts);
  const bool ties = random.once_in(4);
  call.transform.take_log = is_pick(call.op) && random.once_in(2);
  const bool probabilities = call.transform.take_log || call.op == Op::softmax_backward;
  const bool logarithms =
      call.op == Op::log_softmax_backward || (is_pick(call.op) && !call.transform.take_log);
  for (std::int64_t i = 0; i < call.shape.rows; ++i)
    for (std::int64_t j = 0; j < call.shape.classes; ++j) {
      double v = scale * random.normal();
      if (ties) v = std::nearbyint(v);
      v += shift;
      if (probabilities) v = random.once_in(9) ? 0 : random.uniform();
      if (logarithms) v = random.once_in(9) ? -inf : -10 * random.uniform();
      write(d, at(call.x, i, j), v);
    }
  for (std::int64_t i = 0; special && i < call.shape.rows; ++i) {
    const std::int64_t j = random.below(call.shape.classes);
    switch (random.below(16)) {
      case 0: write(d, at(call.x, i, j), nan); break;
      case 1: write(d, at(call.x, i, j), inf); break;
      case 2: write(d, at(call.x, i, j), -inf); break;
      case 3: write(d, at(call.x, i, j), 1000); break;
      case 4:
        for (std::int64_t l = 0; l < call.shape.classes; ++l) write(d, at(call.x, i, l), l == j ? 3 : -inf);
        break;
      case 5:
        for (std::int64_t l = 0; l < call.shape.classes; ++l) write(d, at(call.x, i, l), -inf);
        break;
      default: break;
    }
  }
}

void Problem::add_targets(Random& random, bool plain) {
  static const Dtype integers[] = {Dtype::i8,  Dtype::u8,  Dtype::i16, Dtype::u16,
                                   Dtype::i32, Dtype::u32, Dtype::i64, Dtype::u64};
  const bool one = call.op == Op::pick_grad, index = plain || one || random.once_in(2);
  const std::int64_t n = call.shape.rows;
  if (!plain && !one && random.once_in(3))
    call.target.on = 0.9, call.target.off = 0.1 / (double)call.shape.classes;
  if (!plain && random.once_in(3)) call.z_loss = is_pick(call.op) ? 0 : 0.01;
  if (!plain && random.once_in(2)) call.scale = 0.25;
  if (index) {
    call.target.kind = Target::index;
    const Dtype d = plain ? Dtype::i64 : random.one_of(integers);
    const bool is_signed = d == Dtype::i8 || d == Dtype::i16 || d == Dtype::i32 || d == Dtype::i64;
    const int bits = 8 * size_of(d);
    const double most = std::ldexp(1.0, is_signed ? bits - 1 : bits) - 1;
    call.target.index_dtype = d;
    char* const y = allocate((std::size_t)(n * size_of(d)));
    call.target.index = y;
    call.target.has_ignore = random.once_in(2);
    call.target.ignore =
        is_signed && random.once_in(2) ? -100 : random.below(std::min<std::int64_t>(call.shape.classes, 100));
    for (std::int64_t i = 0; i < n; ++i) {
      double v = (double)random.below((std::int64_t)std::min((double)call.shape.classes, most + 1));
      if (call.target.has_ignore && random.once_in(6)) v = (double)call.target.ignore;
      write(d, y + i * size_of(d), v);
      if (!plain &&
          random.once_in(10)) {  // outside: the largest and smallest number of this dtype, or just outside
        const bool negative = is_signed && random.once_in(2);
        if (random.once_in(2) && (double)call.shape.classes <= most)
          write(d, y + i * size_of(d), negative ? -1 : (double)call.shape.classes);
        else if (std::ldexp(1.0, is_signed ? bits - 1 : bits) > (double)call.shape.classes)
          for (int b = 0; b < size_of(d); ++b)
            y[i * size_of(d) + b] = (char)(b == size_of(d) - 1 && is_signed ? (negative ? 0x80 : 0x7f)
                                           : negative                       ? 0
                                                                            : 0xff);
      }
    }
  } else {
    static const Dtype kinds[] = {Dtype::f16, Dtype::bf16, Dtype::f32, Dtype::f64,
                                  Dtype::u8,  Dtype::i32,  Dtype::u64};
    call.target.kind = Target::dense;
    const Dtype d = random.one_of(kinds);
    place(call.dense, d, Layout::any(random, false), false);
    call.target.dense = &call.dense;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < call.shape.classes; ++j)
        write(d, at(call.dense, i, j),
              random.once_in(3) ? 0
              : d <= Dtype::f64 ? random.uniform()
                                : (double)random.below(2));
  }
  if (!plain && random.once_in(2)) {
    double* const s = (double*)allocate((std::size_t)n * sizeof(double));
    for (std::int64_t i = 0; i < n; ++i) s[i] = random.once_in(6) ? 0 : 0.5 + random.uniform();
    call.target.sample_weight = s;
  }
  const bool given = !plain && random.once_in(3);
  if (!given && call.target.off == 0 && index) return;
  const std::size_t size = call.in_double() ? sizeof(double) : sizeof(float);
  char* const w = allocate((std::size_t)call.shape.classes * size);
  for (std::int64_t j = 0; j < call.shape.classes; ++j) {
    const double v = given ? (random.once_in(8) ? 0 : 0.5 + random.uniform()) : 1;
    write(call.in_double() ? Dtype::f64 : Dtype::f32, w + j * (std::int64_t)size, v);
    call.target.class_weight_sum += v;
  }
  call.target.class_weight = w;
}

void Problem::add_results(Random& random, bool plain) {
  RowResults& o = call.results;
  const std::size_t n = (std::size_t)call.shape.rows, narrow = o.wide ? 8 : 4;
  auto some = [&](bool wanted, std::size_t size) -> void* {
    return wanted ? allocate(n * size, true) : nullptr;
  };
  if (call.op == Op::grad || call.op == Op::pick) {
    call.losses.at =
        some(call.op == Op::pick || !random.once_in(3), narrow);  // a gradient may be wanted alone
    return;
  }
  if (call.op != Op::stats) return;
  const bool targets = call.target.kind != Target::none;
  switch (random.below(4)) {
    case 0: (targets ? call.losses.at : o.lse) = some(true, narrow); break;
    case 1:
      call.top.k =
          1 + random.below(std::min<std::int64_t>(call.shape.classes, plain || random.once_in(2) ? 5 : 40));
      call.top.label = (std::int64_t*)allocate(n * 8 * (std::size_t)call.top.k, true);
      call.top.probability = allocate(n * narrow * (std::size_t)call.top.k, true);
      break;
    default: {
      o.peak = some(true, narrow), o.rest = (double*)some(true, 8);
      auto maybe = [&] { return random.once_in(2); };
      const bool ranked = call.target.kind == Target::index;
      call.losses.at = some(targets && maybe(), narrow), o.lse = some(maybe(), narrow),
      o.confidence = some(maybe(), narrow);
      o.gap = (double*)some(targets && maybe(), 8), o.mass = (double*)some(targets && maybe(), 8);
      o.spread = (double*)some(maybe(), 8), o.square = (double*)some(maybe(), 8);
      o.moment = (double*)some(maybe(), 8);
      o.argmax = (std::int64_t*)some(maybe(), 8), o.rank = (std::int64_t*)some(ranked && maybe(), 8);
    }
  }
}

double Problem::scored(std::int64_t row, std::int64_t j, double* slope) const {
  double z = read(call.x.dtype, at(call.x, row, j));
  *slope = 1;
  if (call.transform.softcap != 0) {
    const double t = std::tanh(z / call.transform.softcap), c = std::cosh(z / call.transform.softcap);
    *slope = std::isnan(z) ? z : 1 / (c * c);
    z = call.transform.softcap * t;
  }
  z /= call.transform.temperature;
  if (call.transform.take_log) z = std::log(z);
  if (call.transform.mask && !*at(call.mask, row, j)) z = -inf;
  return z;
}

void Problem::find_truth() {
  const std::int64_t V = call.shape.classes;
  const bool ranks = call.results.rank || call.top.k;
  truth_.resize((std::size_t)call.shape.rows);
  if (has_matrix(call.op))
    matrix_.resize((std::size_t)(call.shape.rows * V)), matrix_size_.resize(matrix_.size());
  if (ranks) z_.resize((std::size_t)(call.shape.rows * V));
  std::vector<double> z((std::size_t)V), slope((std::size_t)V), t((std::size_t)V), e((std::size_t)V);
  const double cw_size = call.in_double() ? 8 : 4;
  for (std::int64_t i = 0; i < call.shape.rows; ++i) {
    Row& r = truth_[(std::size_t)i];
    double* const m = matrix_.empty() ? nullptr : &matrix_[(std::size_t)(i * V)];
    double* const size = matrix_.empty() ? nullptr : &matrix_size_[(std::size_t)(i * V)];
    if (is_backward(call.op)) {
      double sum = 0, total = 0;
      const bool soft = call.op == Op::softmax_backward;
      for (std::int64_t j = 0; j < V; ++j) {
        const double y = read(call.x.dtype, at(call.x, i, j)), g = read(call.dy.dtype, at(call.dy, i, j));
        z[j] = soft ? y : std::exp(y), t[j] = g;
        sum += soft ? y * g : g, total += std::fabs(soft ? y * g : g);
      }
      for (std::int64_t j = 0; j < V; ++j) {
        m[j] = soft ? z[j] * (t[j] - sum) : t[j] - z[j] * sum;
        size[j] = soft ? z[j] * (std::fabs(t[j]) + total) : std::fabs(t[j]) + z[j] * total;
      }
      continue;
    }
    bool any_nan = false, all_masked = call.transform.mask != nullptr;
    r.peak = -inf, r.argmax = -1;
    for (std::int64_t j = 0; j < V; ++j) {
      z[j] = scored(i, j, &slope[j]);
      any_nan |= std::isnan(z[j]);
      if (r.argmax < 0 || z[j] > r.peak) r.peak = z[j], r.argmax = j;
      if (call.transform.mask && *at(call.mask, i, j)) all_masked = false;
    }
    if (ranks) std::copy(z.begin(), z.end(), z_.begin() + i * V);
    if (any_nan) r.peak = nan, r.argmax = -1;
    r.sound = std::isfinite(r.peak);
    // targets
    double s = 1;
    r.y = -1, r.mass = r.gap = r.loss_size = 0;
    r.ignored = false;
    if (call.target.kind != Target::none) {
      if (call.target.sample_weight)
        s = call.in_double() ? call.target.sample_weight[i] : (float)call.target.sample_weight[i];
      if (call.target.kind == Target::index) {
        const char* const p = call.target.index + i * size_of(call.target.index_dtype);
        const double y = read(call.target.index_dtype, p);
        if (y >= 0 && y < (double)V && !(call.target.has_ignore && y == (double)call.target.ignore) && s != 0)
          r.y = (std::int64_t)y;
        else
          s = 0;
      }
      r.ignored = s == 0;
      for (std::int64_t j = 0; j < V; ++j) {
        const double w = call.target.class_weight
                             ? read(call.in_double() ? Dtype::f64 : Dtype::f32,
                                    (const char*)call.target.class_weight + j * (std::int64_t)cw_size)
                             : 1;
        const double q = call.target.kind == Target::index ? (double)(j == r.y)
                                                           : read(call.dense.dtype, at(call.dense, i, j));
        t[j] = s * w * (call.target.on * q + call.target.off);
        r.mass += t[j];
        const double below = (call.op == Op::pick ? 0 : r.peak) - z[j];
        if (t[j] != 0 && below != 0) r.gap += t[j] * below, r.loss_size += t[j] * std::fabs(below);
      }
    }
    if (call.op == Op::pick) {
      r.loss = r.ignored ? 0 : r.gap;
      continue;
    }
    if (call.op == Op::pick_grad) {
      for (std::int64_t j = 0; j < V; ++j) {
        const double p = call.transform.take_log ? read(call.x.dtype, at(call.x, i, j)) : 1;
        m[j] = r.ignored || t[j] == 0 ? 0 : -t[j] * call.scale / p;
        size[j] = 0;
      }
      continue;
    }
    // statistics
    r.rest = r.spread = r.square = r.moment = 0;
    for (std::int64_t j = 0; j < V; ++j) {
      e[j] = r.sound ? std::exp(z[j] - r.peak) : nan;
      if (j == r.argmax || !r.sound) continue;
      r.rest += e[j];
      const double below = r.peak - z[j];
      if (e[j] > 0) r.spread += e[j] * below, r.moment += e[j] * below * below, r.square += e[j] * e[j];
    }
    const double l = std::log1p(r.rest);
    r.lse = r.sound ? r.peak + l : r.peak;
    r.confidence = 1 / (1 + r.rest);
    const double extra = call.z_loss * s * r.lse * r.lse;
    const bool inactive = r.ignored || (r.mass == 0 && call.z_loss == 0);
    r.loss = inactive ? 0 : r.sound ? r.gap + r.mass * l + extra : nan;
    r.loss_size += r.mass * l + extra;
    if (!m) continue;
    const double a = r.mass + 2 * s * call.z_loss * r.lse, scale = call.scale / call.transform.temperature;
    const double a_size = r.mass + std::fabs(2 * s * call.z_loss * r.lse);
    for (std::int64_t j = 0; j < V; ++j) {
      const bool masked = call.transform.mask && !*at(call.mask, i, j);
      const double p = e[j] / (1 + r.rest);
      size[j] = 0;
      if (call.op == Op::softmax) {
        m[j] = masked || all_masked ? 0 : p;
      } else if (call.op == Op::log_softmax) {
        m[j] = masked || all_masked ? -inf : r.sound ? (z[j] - r.peak) - l : nan;
      } else {
        m[j] = inactive ? 0 : (a * p - t[j]) * slope[j] * scale;
        size[j] = (a_size * p + t[j]) * slope[j] * scale;
      }
    }
  }
}

void Problem::wipe() {
  for (Memory& m : memory_)
    if (m.result) std::memset(m.data.get(), pattern, m.size);
}

std::string Problem::results() const {
  std::string all;
  for (const Memory& m : memory_)
    if (m.result) all.append(m.data.get(), m.size);
  return all;
}

void Problem::near(double found, double truth, double size, double bound, double floor, const char* what,
                   const char* isa, std::int64_t row, std::int64_t j) const {
  const bool same = (std::isnan(found) && std::isnan(truth)) || found == truth;
  const double error = std::fabs(found - truth);
  CHECK(same || error <= bound * std::max(std::fabs(truth), size) + floor,
        "%s on %s: %s[%lld, %lld] is %.17g; expected %.17g (size %g, bound %g)", name.c_str(), isa, what,
        (long long)row, (long long)j, found, truth, size, bound);
}

void Problem::check(const char* isa) {
  const RowResults& o = call.results;
  const double C = call.in_double() ? 1e-11 : loose_ ? 2e-3 : 4e-6, rows = std::max(C, o.wide ? 0 : 2e-7);
  const double floor = call.in_double() && o.wide ? 1e-290 : 1e-36;
  const Dtype narrow = o.wide ? Dtype::f64 : Dtype::f32;
  // Where the mass is known, the caller leaves out rows whose t is 0 throughout.
  auto left_out = [&](const Row& r) { return call.known.mass && !r.sound && r.mass == 0; };
  for (std::int64_t i = 0; i < call.shape.rows && !is_backward(call.op); ++i) {
    const Row& r = truth_[(std::size_t)i];
    auto number = [&](const void* p, double truth, double size, const char* what) {
      if (p) near(read(narrow, (const char*)p + i * size_of(narrow)), truth, size, rows, floor, what, isa, i);
    };
    auto wide = [&](const double* p, double truth, double size, const char* what) {
      if (p && r.sound) near(p[i], truth, size, C, floor, what, isa, i);
    };
    if (!left_out(r)) number(call.losses.at, r.loss, r.loss_size, "loss");
    number(o.lse, r.lse, std::fabs(r.peak) + 1, "lse");
    number(o.peak, r.peak, 0, "peak");
    number(o.confidence, r.sound ? r.confidence : nan, 1, "confidence");
    wide(o.rest, r.rest, 0, "rest"), wide(o.mass, r.mass, 0, "mass"), wide(o.gap, r.gap, 0, "gap");
    wide(o.spread, r.spread, 0, "spread"), wide(o.square, r.square, 0, "square");
    wide(o.moment, r.moment, 0, "moment");
    const double slack = call.transform.temperature != 1 || call.transform.softcap != 0
                             ? 1e-3
                             : 0;  // transformed scores are rounded
    if (o.argmax && slack == 0)
      CHECK(o.argmax[i] == r.argmax, "%s on %s: row %lld", name.c_str(), isa, (long long)i);
    if (o.rank) {
      std::int64_t least = 0, most = 0;
      const double* const z = &z_[(std::size_t)(i * call.shape.classes)];
      for (std::int64_t j = 0; r.y >= 0 && j < call.shape.classes; ++j) {
        if (j == r.y) continue;
        least += z[j] > z[r.y] + slack || (slack == 0 && j < r.y && z[j] == z[r.y]);
        most += z[j] >= z[r.y] - slack && (slack != 0 || z[j] > z[r.y] || j < r.y);
      }
      if (r.y < 0 || std::isnan(r.peak)) least = most = -1;
      CHECK(o.rank[i] >= least && o.rank[i] <= most, "%s on %s: rank[%lld] is %lld; expected %lld to %lld",
            name.c_str(), isa, (long long)i, (long long)o.rank[i], (long long)least, (long long)most);
    }
    if (call.top.k) check_top(isa, i);
  }
  if (has_matrix(call.op)) {
    const Dtype d = call.out.dtype;
    const double unit = d == Dtype::f16 ? 0x1p-11 : d == Dtype::bf16 ? 0x1p-8 : d == Dtype::f32 ? 0x1p-24 : 0;
    const double least = d == Dtype::f16 ? 0x1p-24 : d == Dtype::f64 ? 1e-290 : 1e-36;
    for (std::int64_t i = 0; i < call.shape.rows; ++i)
      for (std::int64_t j = 0; j < call.shape.classes; ++j) {
        if (call.op == Op::grad && left_out(truth_[(std::size_t)i])) continue;
        const std::size_t at_ij = (std::size_t)(i * call.shape.classes + j);
        near(read(d, at(call.out, i, j)), matrix_[at_ij], matrix_size_[at_ij], C + unit, least, "out", isa, i,
             j);
      }
    // no byte between the results is written
    for (const Memory& m : memory_) {
      if (call.out.data < m.data.get() || call.out.data >= m.data.get() + m.size) continue;
      const std::size_t size = (std::size_t)size_of(d);
      if (request_.in_place || m.size == matrix_.size() * size) break;
      std::vector<bool> ours(m.size);
      for (std::int64_t i = 0; i < call.shape.rows; ++i)
        for (std::int64_t j = 0; j < call.shape.classes; ++j)
          for (std::size_t b = 0; b < size; ++b)
            ours[(std::size_t)(at(call.out, i, j) - m.data.get()) + b] = true;
      for (std::size_t b = 0; b < m.size; ++b)
        CHECK(ours[b] || m.data[b] == pattern, "%s on %s: a write between the results", name.c_str(), isa);
    }
  }
  std::string now;
  for (const Memory& m : memory_)
    if (!m.result) now.append(m.data.get(), m.size);
  CHECK(now == scores_before_, "%s on %s: an input was written to", name.c_str(), isa);
}

// The top-k classes, without repetition; in their exact order where scores are not transformed.
void Problem::check_top(const char* isa, std::int64_t row) const {
  const Row& r = truth_[(std::size_t)row];
  const double slack = call.transform.temperature != 1 || call.transform.softcap != 0 ? 1e-3 : 0;
  const double* const z = &z_[(std::size_t)(row * call.shape.classes)];
  const std::int64_t* const label = call.top.label + row * call.top.k;
  std::vector<std::int64_t> best((std::size_t)call.shape.classes);
  for (std::int64_t j = 0; j < call.shape.classes; ++j) best[(std::size_t)j] = j;
  if (!std::isnan(r.peak))
    std::stable_sort(best.begin(), best.end(), [&](std::int64_t a, std::int64_t b) { return z[a] > z[b]; });
  std::vector<bool> seen((std::size_t)call.shape.classes);
  for (std::int64_t i = 0; i < call.top.k; ++i) {
    const std::int64_t wanted = std::isnan(r.peak) ? -1 : best[(std::size_t)i];
    const bool close = slack != 0 && wanted >= 0 && label[i] >= 0 && label[i] < call.shape.classes &&
                       !seen[(std::size_t)label[i]] && std::fabs(z[label[i]] - z[wanted]) <= slack;
    CHECK(label[i] == wanted || close, "%s on %s: label[%lld, %lld] is %lld; expected %lld", name.c_str(),
          isa, (long long)row, (long long)i, (long long)label[i], (long long)wanted);
    if (wanted >= 0) seen[(std::size_t)label[i]] = true;
    const Dtype d = call.results.wide ? Dtype::f64 : Dtype::f32;
    const double p = read(d, (const char*)call.top.probability + (row * call.top.k + i) * size_of(d));
    const double truth = r.sound ? std::exp(z[wanted] - r.peak) / (1 + r.rest) : nan;
    if (r.sound || wanted < 0)
      near(p, truth, 0, loose_ ? 2e-3 : call.results.wide ? 1e-11 : 4e-6, 1e-36, "probability", isa, row, i);
  }
}

Job Call::job() const {
  const Scores scores{x, transform};
  switch (op) {
    case Op::softmax:
    case Op::log_softmax: return Softmax{shape, scores, out, op == Op::log_softmax};
    case Op::softmax_backward:
    case Op::log_softmax_backward: return SoftmaxBackward{shape, x, dy, out, op == Op::log_softmax_backward};
    case Op::grad: return LossGradient{shape, scores, target, out, losses, known, z_loss, scale};
    case Op::pick: return Pick{shape, scores, target, losses};
    case Op::pick_grad: return PickGradient{shape, scores, target, out, scale};
    default: return RowStatistics{shape, scores, target, losses, results, top, z_loss, target_score, false};
  }
}

Cut run_exactly(const Table& table, const Job& job, bool in_parts) {
  const Cut cut = table.plan(job);
  struct Scratch {
    char* data;
    explicit Scratch(std::int64_t n) : data((char*)::operator new((std::size_t)n, std::align_val_t(64))) {
      std::memset(data, 0xff, (std::size_t)n);
    }
    ~Scratch() { ::operator delete(data, std::align_val_t(64)); }
  } scratch(cut.arena);
  const std::int64_t rows = job.shape.rows, middle = in_parts ? rows / 2 / cut.block * cut.block : 0;
  if (middle > 0) table.run(job, cut, {0, middle, scratch.data});
  table.run(job, cut, {middle, rows, scratch.data});
  return cut;
}

}  // namespace tests
}  // namespace lastlayer
