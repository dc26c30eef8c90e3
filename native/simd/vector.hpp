// The vector vocabulary: the few operations that the algorithms are written in.
//
// Simd<C> for C = float or double gives
//   V, M, W                a vector of W lanes of C, a mask of W lanes
//   set1 load store stream loadn storen    loadn/storen touch the first n <= W lanes of memory only; memory
//                          of any alignment, but for stream: whole vectors' alignment
//   fence()                what was streamed is visible to other threads before anything after it
//   + - * /                the compiler's own operators on V
//   fma(a,b,c) = a*b + c   fnma(a,b,c) = c - a*b     fused where the instruction exists
//   max(a,b) min(a,b)      b if either is NaN: a running maximum max(z, peak) ignores NaN
//   lt eq                  false on NaN;   nlt neq   true on NaN
//   both(m,n), without(m,n)  m and n, m and not n
//   blend(m,a,b)           a where m else b;  keep(m,a): a where m else 0;  bits(m): one bit a lane
//   add_where fma_where    accumulate under a mask
//   pow2(m)                the bits of m moved into the exponent: see exp in math.hpp
//   table_bits             2^table_bits numbers can be looked up in a register; 0: there is no such
//   instruction lookup(table,m)        the number that the low bits of m point to pow2(m,table)          the
//   same, with the bits above moved into the exponent split(a, f, k)         a = f * 2^k, f in [0.75, 1.5), a
//   > 0 and normal
//
// On x86-64 without AVX-512 and on NEON this file builds them from the compilers' vector types (GCC and
// Clang), with an intrinsic where the compiler would not find the instruction. avx512.hpp has masks of its
// own kind. Everything is static and inside namespace LL_ISA: nothing here may be shared between instruction
// sets, or the linker could keep a copy that the machine cannot run.

template <class C>
struct Simd;

#if defined(__AVX512F__)

#include "avx512.hpp"

#else

#if defined(__AVX2__)
#define LL_BYTES 32
#else
#define LL_BYTES 16
#endif

template <class C_, class I_, class VT, class IT, int SHIFT, int BIAS>
struct SimdOf {
  using C = C_;
  using V = VT;
  using M = IT;
  static constexpr int W = LL_BYTES / (int)sizeof(C);
#if defined(__AVX2__)
  static constexpr int table_bits = sizeof(C) == 4 ? 3 : 0;
#else
  static constexpr int table_bits = 0;
#endif

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
  static LL_INLINE void stream(C* p, V a) {
    LL_ASSERT((std::uintptr_t)p % sizeof a == 0);
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      _mm256_stream_ps((float*)p, (__m256)a);
    else
      _mm256_stream_pd((double*)p, (__m256d)a);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      _mm_stream_ps((float*)p, (__m128)a);
    else
      _mm_stream_pd((double*)p, (__m128d)a);
#else
    store(p, a);
#endif
  }
  static LL_INLINE void fence() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
  }
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
  static LL_INLINE V fma(V a, V b, V c) {
#if defined(__FMA__)
    if constexpr (sizeof(C) == 4)
      return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
    else
      return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
#elif defined(__aarch64__)
    if constexpr (sizeof(C) == 4)
      return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
    else
      return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
#else
    return a * b + c;
#endif
  }
  static LL_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
  static LL_INLINE V max(V a, V b) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (V)_mm256_max_ps((__m256)a, (__m256)b);
    else
      return (V)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (V)_mm_max_ps((__m128)a, (__m128)b);
    else
      return (V)_mm_max_pd((__m128d)a, (__m128d)b);
#else
    return a > b ? a : b;
#endif
  }
  static LL_INLINE V min(V a, V b) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (V)_mm256_min_ps((__m256)a, (__m256)b);
    else
      return (V)_mm256_min_pd((__m256d)a, (__m256d)b);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (V)_mm_min_ps((__m128)a, (__m128)b);
    else
      return (V)_mm_min_pd((__m128d)a, (__m128d)b);
#else
    return a < b ? a : b;
#endif
  }
  static LL_INLINE V abs(V a) { return (V)((M)a & ~((M)set1((C)-0.0))); }
  static LL_INLINE M lt(V a, V b) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ);
    else
      return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_LT_OQ);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm_cmplt_ps((__m128)a, (__m128)b);
    else
      return (M)_mm_cmplt_pd((__m128d)a, (__m128d)b);
#else
    return (M)(a < b);
#endif
  }
  static LL_INLINE M nlt(V a, V b) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NLT_UQ);
    else
      return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_NLT_UQ);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm_cmpnlt_ps((__m128)a, (__m128)b);
    else
      return (M)_mm_cmpnlt_pd((__m128d)a, (__m128d)b);
#else
    return ~(M)(a < b);
#endif
  }
  static LL_INLINE M eq(V a, V b) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ);
    else
      return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_EQ_OQ);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm_cmpeq_ps((__m128)a, (__m128)b);
    else
      return (M)_mm_cmpeq_pd((__m128d)a, (__m128d)b);
#else
    return (M)(a == b);
#endif
  }
  static LL_INLINE M neq(V a, V b) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NEQ_UQ);
    else
      return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_NEQ_UQ);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (M)_mm_cmpneq_ps((__m128)a, (__m128)b);
    else
      return (M)_mm_cmpneq_pd((__m128d)a, (__m128d)b);
#else
    return (M)(a != b);
#endif
  }
  static LL_INLINE M both(M a, M b) { return a & b; }
  static LL_INLINE M without(M a, M b) { return a & ~b; }
  static LL_INLINE unsigned bits(M m) {
#if defined(__AVX2__)
    if constexpr (sizeof(C) == 4)
      return (unsigned)_mm256_movemask_ps((__m256)m);
    else
      return (unsigned)_mm256_movemask_pd((__m256d)m);
#elif defined(__SSE2__)
    if constexpr (sizeof(C) == 4)
      return (unsigned)_mm_movemask_ps((__m128)m);
    else
      return (unsigned)_mm_movemask_pd((__m128d)m);
#else
    unsigned r = 0;
    for (int i = 0; i < W; ++i) r |= (unsigned)(m[i] & 1) << i;
    return r;
#endif
  }
  static LL_INLINE V blend(M m, V a, V b) { return (V)(((M)a & m) | ((M)b & ~m)); }
  static LL_INLINE V keep(M m, V a) { return (V)((M)a & m); }
  static LL_INLINE V add_where(V acc, M m, V a) { return acc + keep(m, a); }
  static LL_INLINE V fma_where(V acc, M m, V a, V b) { return fma(keep(m, a), keep(m, b), acc); }
  static LL_INLINE V pow2(V m) { return (V)((M)m << SHIFT); }
#if defined(__AVX2__)
  static LL_INLINE V lookup(V table, V m) { return (V)_mm256_permutevar8x32_ps((__m256)table, (__m256i)m); }
  static LL_INLINE V pow2(V m, V table) {
    const __m256i up = _mm256_slli_epi32((__m256i)m, SHIFT - table_bits);
    return (V)_mm256_add_epi32((__m256i)lookup(table, m), up);
  }
#endif
  static LL_INLINE void split(V a, V& mantissa, V& exponent) {
    // subtracting 0.75's bits from a's leaves the exponent of a/0.75 in the exponent field
    const I_ low = sizeof(C) == 4 ? (I_)0x3f400000 : (I_)0x3fe8000000000000LL;
    M k = ((M)a - low) >> SHIFT;
    mantissa = (V)((M)a - (k << SHIFT));
    for (int i = 0; i < W; ++i) exponent[i] = (C)k[i];
  }
};

typedef float F32Vector __attribute__((vector_size(LL_BYTES)));
typedef double F64Vector __attribute__((vector_size(LL_BYTES)));
typedef std::int32_t I32Vector __attribute__((vector_size(LL_BYTES)));
typedef std::int64_t I64Vector __attribute__((vector_size(LL_BYTES)));

template <>
struct Simd<float> : SimdOf<float, std::int32_t, F32Vector, I32Vector, 23, 127> {};
template <>
struct Simd<double> : SimdOf<double, std::int64_t, F64Vector, I64Vector, 52, 1023> {};

#undef LL_BYTES
#endif
