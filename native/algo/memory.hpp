// Conversion and transposition. In: numbers in the caller's memory, of any dtype and strides. Out: numbers in
// scratch, in the computing type C; and the way back. Traffic: one read and one write an element.

LL_INLINE char* align64(char* p) { return (char*)(((std::uintptr_t)p + 63) & ~(std::uintptr_t)63); }
LL_INLINE std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
LL_INLINE std::int64_t most(std::int64_t a, std::int64_t b) { return a > b ? a : b; }
LL_INLINE std::int64_t round_up(std::int64_t a, std::int64_t to) { return (a + to - 1) / to * to; }

template <class T>
LL_INLINE T read_at(const char* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
LL_INLINE void write_at(char* p, T v) {
  __builtin_memcpy(p, &v, sizeof v);
}

LL_INLINE float float_of_bits(std::uint32_t b) {
  float f;
  __builtin_memcpy(&f, &b, 4);
  return f;
}
LL_INLINE std::uint32_t bits_of_float(float f) {
  std::uint32_t b;
  __builtin_memcpy(&b, &f, 4);
  return b;
}

// IEEE half <-> float by integer arithmetic; the compilers vectorise both.
LL_INLINE float float_of_half(std::uint16_t h) {
  std::uint32_t sign = (std::uint32_t)(h & 0x8000u) << 16;
  std::uint32_t rest = (std::uint32_t)(h & 0x7fffu) << 13;
  // a subnormal half is a normal float: the multiplication by 2^112 rebiases both kinds exactly
  float f = float_of_bits(rest) * 0x1p112f;
  std::uint32_t b = bits_of_float(f);
  b = rest >= 0x0f800000u ? (rest | 0x7f800000u) : b;  // inf and NaN keep their payload
  return float_of_bits(b | sign);
}
LL_INLINE std::uint16_t half_of_float(float f) {
  std::uint32_t b = bits_of_float(f), sign = (b >> 16) & 0x8000u, a = b & 0x7fffffffu;
  // normal: round to nearest even on bit 13; subnormal: the float addition of 0.5 rounds at bit 2^-24
  std::uint32_t normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  std::uint32_t small = bits_of_float(float_of_bits(a) + 0.5f) - 0x3f000000u;
  std::uint32_t big = a > 0x7f800000u ? 0x7e00u : 0x7c00u;
  std::uint32_t r = a < 0x38800000u ? small : normal;
  r = a >= 0x477ff000u ? big : r;
  return (std::uint16_t)(r | sign);
}
LL_INLINE float float_of_bfloat(std::uint16_t h) { return float_of_bits((std::uint32_t)h << 16); }
LL_INLINE std::uint16_t bfloat_of_float(float f) {
  std::uint32_t b = bits_of_float(f);
  std::uint32_t r = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
  return (std::uint16_t)((b & 0x7fffffffu) > 0x7f800000u ? (b >> 16) | 0x40u : r);
}

// Numbers as integers of the same order, -0 below 0.
template <class C>
struct Ordered;
template <>
struct Ordered<float> {
  using I = std::int32_t;
  using U = std::uint32_t;
  static LL_INLINE I key(float a) {
    I b;
    __builtin_memcpy(&b, &a, sizeof b);
    return b < 0 ? (I)(b ^ INT32_MAX) : b;
  }
  static LL_INLINE float number(I k) {
    const I b = k < 0 ? (I)(k ^ INT32_MAX) : k;
    float a;
    __builtin_memcpy(&a, &b, sizeof a);
    return a;
  }
};
template <>
struct Ordered<double> {
  using I = std::int64_t;
  using U = std::uint64_t;
  static LL_INLINE I key(double a) {
    I b;
    __builtin_memcpy(&b, &a, sizeof b);
    return b < 0 ? (I)(b ^ INT64_MAX) : b;
  }
  static LL_INLINE double number(I k) {
    const I b = k < 0 ? (I)(k ^ INT64_MAX) : k;
    double a;
    __builtin_memcpy(&a, &b, sizeof a);
    return a;
  }
};

struct Half {
  std::uint16_t bits;
};
struct Bfloat {
  std::uint16_t bits;
};
LL_INLINE float widen(Half h) { return float_of_half(h.bits); }
LL_INLINE float widen(Bfloat h) { return float_of_bfloat(h.bits); }
template <class T>
LL_INLINE T widen(T v) {
  return v;
}
template <class T>
LL_INLINE T narrow(float v) {
  if constexpr (__is_same(T, Half))
    return {half_of_float(v)};
  else if constexpr (__is_same(T, Bfloat))
    return {bfloat_of_float(v)};
  else
    return (T)v;
}
template <class T>
LL_INLINE T narrow(double v) {
  if constexpr (sizeof(T) == 2)
    return narrow<T>((float)v);  // the computing type of 16-bit scores is float: never taken
  else
    return (T)v;
}

template <class T, class C>
void load_as(const char* from, std::int64_t stride, std::int64_t n, C* to) {
  if (stride == (std::int64_t)sizeof(T))
    for (std::int64_t i = 0; i < n; ++i) to[i] = (C)widen(read_at<T>(from + i * (std::int64_t)sizeof(T)));
  else
    for (std::int64_t i = 0; i < n; ++i) to[i] = (C)widen(read_at<T>(from + i * stride));
}
template <class T, class C>
void store_as(const C* from, char* to, std::int64_t stride, std::int64_t n) {
  if (stride == (std::int64_t)sizeof(T))
    for (std::int64_t i = 0; i < n; ++i) write_at<T>(to + i * (std::int64_t)sizeof(T), narrow<T>(from[i]));
  else
    for (std::int64_t i = 0; i < n; ++i) write_at<T>(to + i * stride, narrow<T>(from[i]));
}

// The same for 16-bit scores (T: Half or Bfloat), by the processor's conversion instructions if it has them.
template <class T, class C>
void load_16_bits(const char* from, std::int64_t stride, std::int64_t n, C* to) {
  using S = Simd<C>;
  if constexpr (S::converts_16_bits)
    if (stride == 2) {
      std::int64_t i = 0;
      for (; i + S::W <= n; i += S::W)
        if constexpr (__is_same(T, Half))
          S::store(to + i, S::load_f16(from + 2 * i));
        else
          S::store(to + i, S::load_bf16(from + 2 * i));
      for (; i < n; ++i) to[i] = widen(read_at<T>(from + 2 * i));
      return;
    }
  load_as<T>(from, stride, n, to);
}
template <class T, class C>
void store_16_bits(const C* from, char* to, std::int64_t stride, std::int64_t n) {
  using S = Simd<C>;
  if constexpr (S::converts_16_bits)
    if (stride == 2) {
      std::int64_t i = 0;
      for (; i + S::W <= n; i += S::W)
        if constexpr (__is_same(T, Half))
          S::store_f16(to + 2 * i, S::load(from + i));
        else
          S::store_bf16(to + 2 * i, S::load(from + i));
      for (; i < n; ++i) write_at<T>(to + 2 * i, narrow<T>(from[i]));
      return;
    }
  store_as<T>(from, to, stride, n);
}

template <class C>
constexpr Dtype dtype_of = sizeof(C) == 4 ? Dtype::f32 : Dtype::f64;

// memcpy by vectors: no function from outside of the instruction set is called.
template <class C>
LL_INLINE void copy_run(const C* from, C* to, std::int64_t n) {
  using S = Simd<C>;
  std::int64_t i = 0;
  for (; i + 2 * S::W <= n; i += 2 * S::W) {
    const auto a = S::load(from + i), b = S::load(from + i + S::W);
    S::store(to + i, a), S::store(to + i + S::W, b);
  }
  for (; i < n; i += S::W) {
    const int m = (int)least(S::W, n - i);
    S::storen(to + i, S::loadn(from + i, m, 0), m);
  }
}

// n elements of dtype d, `stride` bytes apart, into consecutive C.
template <class C>
void load_run(Dtype d, const char* from, std::int64_t stride, std::int64_t n, C* to) {
  if (d == dtype_of<C> && stride == (std::int64_t)sizeof(C)) return copy_run((const C*)from, to, n);
  switch (d) {
    case Dtype::f16: return load_16_bits<Half>(from, stride, n, to);
    case Dtype::bf16: return load_16_bits<Bfloat>(from, stride, n, to);
    case Dtype::f32: return load_as<float>(from, stride, n, to);
    case Dtype::f64: return load_as<double>(from, stride, n, to);
    case Dtype::i8: return load_as<std::int8_t>(from, stride, n, to);
    case Dtype::u8: return load_as<std::uint8_t>(from, stride, n, to);
    case Dtype::i16: return load_as<std::int16_t>(from, stride, n, to);
    case Dtype::u16: return load_as<std::uint16_t>(from, stride, n, to);
    case Dtype::i32: return load_as<std::int32_t>(from, stride, n, to);
    case Dtype::u32: return load_as<std::uint32_t>(from, stride, n, to);
    case Dtype::i64: return load_as<std::int64_t>(from, stride, n, to);
    case Dtype::u64: return load_as<std::uint64_t>(from, stride, n, to);
  }
}
template <class C>
void store_run(Dtype d, const C* from, char* to, std::int64_t stride, std::int64_t n) {
  if (d == dtype_of<C> && stride == (std::int64_t)sizeof(C)) return copy_run(from, (C*)to, n);
  switch (d) {
    case Dtype::f16: return store_16_bits<Half>(from, to, stride, n);
    case Dtype::bf16: return store_16_bits<Bfloat>(from, to, stride, n);
    case Dtype::f32: return store_as<float>(from, to, stride, n);
    default: return store_as<double>(from, to, stride, n);
  }
}

// n class indices from the first on; one beyond 2^63 stays beyond every class.
template <class T>
LL_INLINE void indices_as(const char* from, std::int64_t first, std::int64_t n, std::int64_t* to) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T v = read_at<T>(from + (first + i) * (std::int64_t)sizeof(T));
    to[i] = sizeof(T) == 8 && (T)-1 > 0 && v > (T)INT64_MAX ? INT64_MAX : (std::int64_t)v;
  }
}
inline void load_indices(const char* from, Dtype d, std::int64_t first, std::int64_t n, std::int64_t* to) {
  switch (d) {
    case Dtype::i8: return indices_as<std::int8_t>(from, first, n, to);
    case Dtype::u8: return indices_as<std::uint8_t>(from, first, n, to);
    case Dtype::i16: return indices_as<std::int16_t>(from, first, n, to);
    case Dtype::u16: return indices_as<std::uint16_t>(from, first, n, to);
    case Dtype::i32: return indices_as<std::int32_t>(from, first, n, to);
    case Dtype::u32: return indices_as<std::uint32_t>(from, first, n, to);
    case Dtype::u64: return indices_as<std::uint64_t>(from, first, n, to);
    default: return indices_as<std::int64_t>(from, first, n, to);
  }
}

// W rows of W lanes transposed in registers: log2(W) perfect shuffles.
template <class C, int... I>
LL_INLINE void shuffle_pairs(typename Simd<C>::V* r, std::integer_sequence<int, I...>) {
  constexpr int W = Simd<C>::W;
  typename Simd<C>::V t[W];
  for (int i = 0; i < W / 2; ++i) {
    t[2 * i] = __builtin_shufflevector(r[i], r[i + W / 2], ((I & 1) ? W + I / 2 : I / 2)...);
    t[2 * i + 1] =
        __builtin_shufflevector(r[i], r[i + W / 2], ((I & 1) ? W + W / 2 + I / 2 : W / 2 + I / 2)...);
  }
  for (int i = 0; i < W; ++i) r[i] = t[i];
}
template <class C>
LL_INLINE void transpose(typename Simd<C>::V* r) {
  for (int n = Simd<C>::W; n > 1; n /= 2) shuffle_pairs<C>(r, std::make_integer_sequence<int, Simd<C>::W>{});
}

// One step of a fold across lanes: the lanes of a and b interleaved, their first halves and their second
// halves.
template <class C, int... I>
LL_INLINE void interleave(typename Simd<C>::V a, typename Simd<C>::V b, typename Simd<C>::V& first,
                          typename Simd<C>::V& second, std::integer_sequence<int, I...>) {
  constexpr int W = Simd<C>::W;
  first = __builtin_shufflevector(a, b, ((I & 1) ? W + I / 2 : I / 2)...);
  second = __builtin_shufflevector(a, b, ((I & 1) ? W + W / 2 + I / 2 : W / 2 + I / 2)...);
}
// Lane i of the result: the fold of the W lanes of the i-th stored vector, at[i*W...]. Half as many shuffles
// as a transposition: each step folds two vectors into one that holds both.
template <class C, class F>
LL_INLINE typename Simd<C>::V fold_lanes(const C* at, F&& fold) {
  using S = Simd<C>;
  typename S::V r[S::W];
  for (int i = 0; i < S::W; ++i) r[i] = S::load(at + i * S::W);
  for (int n = S::W / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) {
      typename S::V first, second;
      interleave<C>(r[i], r[i + n], first, second, std::make_integer_sequence<int, S::W>{});
      r[i] = fold(first, second);
    }
  return r[0];
}

// rows[i][0..n) for i < W into columns[j*ld + i], and back.
template <class C, int MOST>
LL_INLINE void rows_to_lanes_part(const C* const* rows, std::int64_t j, int m, C* columns, std::int64_t ld) {
  using S = Simd<C>;
  typename S::V r[S::W];
  for (int i = 0; i < S::W; ++i) r[i] = S::loadn(rows[i] + j, m, 0);
  transpose<C>(r);
  for (int i = 0; i < MOST; ++i)  // constant bounds: the compiler drops the shuffles of other lanes
    if (i < m) S::store(columns + (j + i) * ld, r[i]);
}
template <class C>
void rows_to_lanes(const C* const* rows, std::int64_t n, C* columns, std::int64_t ld) {
  constexpr int W = Simd<C>::W;
  std::int64_t j = 0;
  for (; j + W <= n; j += W) rows_to_lanes_part<C, W>(rows, j, W, columns, ld);
  const int m = (int)(n - j);
  if (m > W / 2)
    rows_to_lanes_part<C, W>(rows, j, m, columns, ld);
  else if (m > W / 4)
    rows_to_lanes_part<C, W / 2>(rows, j, m, columns, ld);
  else if (m > 0)
    rows_to_lanes_part<C, W / 4>(rows, j, m, columns, ld);
}
template <class C>
void lanes_to_rows(const C* columns, std::int64_t ld, std::int64_t n, C* const* rows, int count) {
  using S = Simd<C>;
  constexpr int W = S::W;
  for (std::int64_t j = 0; j < n; j += W) {
    int m = n - j < W ? (int)(n - j) : W;
    typename S::V r[W];
    for (int i = 0; i < W; ++i) r[i] = S::load(columns + (j + (i < m ? i : 0)) * ld);
    transpose<C>(r);
    for (int i = 0; i < count; ++i) S::storen(rows[i] + j, r[i], m);
  }
}

// memcpy past the cache: whole vectors once `to` is aligned.
template <class C>
void stream_copy(const C* from, C* to, std::int64_t n) {
  using S = Simd<C>;
  std::int64_t i = 0;
  for (; i < n && ((std::uintptr_t)(to + i) % (S::W * sizeof(C))) != 0; ++i) to[i] = from[i];
  for (; i + S::W <= n; i += S::W) S::stream(to + i, S::load(from + i));
  for (; i < n; ++i) to[i] = from[i];
}
