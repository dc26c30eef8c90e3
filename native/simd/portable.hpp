// Vector operations in the compilers' own vector types (GCC and Clang), without intrinsics. Most instruction
// sets' files derive from these, and replace operations for which the compiler would not find the best
// instruction.

// C: the lanes' type; I: an integer of its size; VECTOR and INTEGERS: vectors of both; SHIFT: bits of the
// mantissa; LOW: the bits of 0.75.
template <class C_, class I, class VECTOR, class INTEGERS, int SHIFT, I LOW>
struct Portable {
  using C = C_;
  using V = VECTOR;
  using M = INTEGERS;
  static constexpr int W = (int)(sizeof(V) / sizeof(C));
  static constexpr int table_bits = 0;
  static constexpr bool fused = false, converts_16_bits = false;

  static LL_INLINE V set1(C a) {
    V v;
    for (int i = 0; i < W; ++i) v[i] = a;
    return v;
  }
  static LL_INLINE V load(const C* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static LL_INLINE void store(C* p, V a) { __builtin_memcpy(p, &a, sizeof a); }
  static LL_INLINE void stream(C* p, V a) { store(p, a); }
  static LL_INLINE void fence() {}
  static LL_INLINE V loadn(const C* p, int n, C fill) {
    V v = set1(fill);
    if (n == W) return load(p);
    for (int i = 0; i < n; ++i) {
      C one;
      __builtin_memcpy(&one, p + i, sizeof one);
      v[i] = one;
    }
    return v;
  }
  static LL_INLINE void storen(C* p, V a, int n) {
    if (n == W) return store(p, a);
    for (int i = 0; i < n; ++i) {
      const C one = a[i];
      __builtin_memcpy(p + i, &one, sizeof one);
    }
  }
  static LL_INLINE V fma(V a, V b, V c) { return a * b + c; }
  static LL_INLINE V fnma(V a, V b, V c) { return -a * b + c; }
  static LL_INLINE V max(V a, V b) { return a > b ? a : b; }
  static LL_INLINE V min(V a, V b) { return a < b ? a : b; }
  static LL_INLINE V abs(V a) { return (V)((M)a & ~((M)set1((C)-0.0))); }
  static LL_INLINE M lt(V a, V b) { return (M)(a < b); }
  static LL_INLINE M nlt(V a, V b) { return ~(M)(a < b); }
  static LL_INLINE M eq(V a, V b) { return (M)(a == b); }
  static LL_INLINE M neq(V a, V b) { return (M)(a != b); }
  static LL_INLINE M both(M a, M b) { return a & b; }
  static LL_INLINE M without(M a, M b) { return a & ~b; }
  static LL_INLINE unsigned bits(M m) {
    unsigned r = 0;
    for (int i = 0; i < W; ++i) r |= (unsigned)(m[i] & 1) << i;
    return r;
  }
  static LL_INLINE V blend(M m, V a, V b) { return (V)(((M)a & m) | ((M)b & ~m)); }
  static LL_INLINE V keep(M m, V a) { return (V)((M)a & m); }
  static LL_INLINE V add_where(V s, M m, V a) { return s + keep(m, a); }
  static LL_INLINE V fma_where(V s, M m, V a, V b) { return keep(m, a) * keep(m, b) + s; }
  static LL_INLINE V pow2(V m) { return (V)((M)m << SHIFT); }
  static LL_INLINE void split(V a, V& f, V& k) {
    // subtracting the bits of 0.75 from those of a leaves the exponent of a/0.75 in the exponent's field
    const M exponent = ((M)a - LOW) >> SHIFT;
    f = (V)((M)a - (exponent << SHIFT));
    for (int i = 0; i < W; ++i) k[i] = (C)exponent[i];
  }
};

// Vectors of LL_BYTES bytes.
typedef float F32Vector __attribute__((vector_size(LL_BYTES)));
typedef double F64Vector __attribute__((vector_size(LL_BYTES)));
typedef std::int32_t I32Vector __attribute__((vector_size(LL_BYTES)));
typedef std::int64_t I64Vector __attribute__((vector_size(LL_BYTES)));

using PortableFloats = Portable<float, std::int32_t, F32Vector, I32Vector, 23, 0x3f400000>;
using PortableDoubles = Portable<double, std::int64_t, F64Vector, I64Vector, 52, 0x3fe8000000000000LL>;
