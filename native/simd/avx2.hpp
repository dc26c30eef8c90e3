// Vector operations on AVX2 with FMA and F16C: vectors of 32 bytes. See vector.hpp.

#define LL_BYTES 32
#include "portable.hpp"

template <>
struct Vectors<float> : PortableFloats {
  static constexpr int table_bits = 3;
  static constexpr bool fused = true, converts_16_bits = true;

  static LL_INLINE void stream(C* p, V a) { _mm256_stream_ps(p, (__m256)a); }
  static LL_INLINE void fence() { _mm_sfence(); }
  static LL_INLINE V fma(V a, V b, V c) { return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
  static LL_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
  static LL_INLINE V fma_where(V s, M m, V a, V b) { return fma(keep(m, a), keep(m, b), s); }
  static LL_INLINE V max(V a, V b) { return (V)_mm256_max_ps((__m256)a, (__m256)b); }
  static LL_INLINE V min(V a, V b) { return (V)_mm256_min_ps((__m256)a, (__m256)b); }
  static LL_INLINE M lt(V a, V b) { return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ); }
  static LL_INLINE M nlt(V a, V b) { return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NLT_UQ); }
  static LL_INLINE M eq(V a, V b) { return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ); }
  static LL_INLINE M neq(V a, V b) { return (M)_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_NEQ_UQ); }
  static LL_INLINE unsigned bits(M m) { return (unsigned)_mm256_movemask_ps((__m256)m); }
  using PortableFloats::pow2;
  static LL_INLINE V lookup(V table, V m) { return (V)_mm256_permutevar8x32_ps((__m256)table, (__m256i)m); }
  static LL_INLINE V pow2(V m, V table) {
    const __m256i up = _mm256_slli_epi32((__m256i)m, 23 - table_bits);
    return (V)_mm256_add_epi32((__m256i)lookup(table, m), up);
  }
  static LL_INLINE V load_f16(const char* p) {
    return (V)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
  }
  static LL_INLINE V load_bf16(const char* p) {
    return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
  }
  static LL_INLINE void store_f16(char* p, V v) {
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
  }
  static LL_INLINE void store_bf16(char* p, V v) {
    const __m256i b = (__m256i)v, nan = (__m256i)_mm256_cmp_ps((__m256)v, (__m256)v, _CMP_UNORD_Q);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    r = _mm256_srli_epi32(_mm256_blendv_epi8(r, _mm256_or_si256(b, _mm256_set1_epi32(0x400000)), nan), 16);
    _mm_storeu_si128((__m128i*)p,
                     _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1)));
  }
};

template <>
struct Vectors<double> : PortableDoubles {
  static constexpr bool fused = true;

  static LL_INLINE void stream(C* p, V a) { _mm256_stream_pd(p, (__m256d)a); }
  static LL_INLINE void fence() { _mm_sfence(); }
  static LL_INLINE V fma(V a, V b, V c) { return (V)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
  static LL_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
  static LL_INLINE V fma_where(V s, M m, V a, V b) { return fma(keep(m, a), keep(m, b), s); }
  static LL_INLINE V max(V a, V b) { return (V)_mm256_max_pd((__m256d)a, (__m256d)b); }
  static LL_INLINE V min(V a, V b) { return (V)_mm256_min_pd((__m256d)a, (__m256d)b); }
  static LL_INLINE M lt(V a, V b) { return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_LT_OQ); }
  static LL_INLINE M nlt(V a, V b) { return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_NLT_UQ); }
  static LL_INLINE M eq(V a, V b) { return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_EQ_OQ); }
  static LL_INLINE M neq(V a, V b) { return (M)_mm256_cmp_pd((__m256d)a, (__m256d)b, _CMP_NEQ_UQ); }
  static LL_INLINE unsigned bits(M m) { return (unsigned)_mm256_movemask_pd((__m256d)m); }
};
