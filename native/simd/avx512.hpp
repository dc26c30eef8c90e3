// Vector operations on AVX-512 (F, BW, DQ, VL): vectors of 64 bytes, masks in registers of their own. See
// vector.hpp.

template <>
struct Vectors<float> {
  using C = float;
  using V = __m512;
  using M = __mmask16;
  static constexpr int W = 16;
  static constexpr int table_bits = 4;
  static constexpr bool fused = true, converts_16_bits = true;

  static LL_INLINE V set1(C a) { return _mm512_set1_ps(a); }
  static LL_INLINE V load(const C* p) { return _mm512_loadu_ps(p); }
  static LL_INLINE void store(C* p, V a) { _mm512_storeu_ps(p, a); }
  static LL_INLINE void stream(C* p, V a) { _mm512_stream_ps(p, a); }
  static LL_INLINE void fence() { _mm_sfence(); }
  static LL_INLINE M first(int n) { return (M)((1u << n) - 1u); }
  static LL_INLINE V loadn(const C* p, int n, C fill) {
    return n == W ? load(p) : _mm512_mask_loadu_ps(set1(fill), first(n), p);
  }
  static LL_INLINE void storen(C* p, V a, int n) {
    n == W ? store(p, a) : _mm512_mask_storeu_ps(p, first(n), a);
  }
  static LL_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static LL_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
  static LL_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
  static LL_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }
  static LL_INLINE V abs(V a) { return _mm512_abs_ps(a); }
  static LL_INLINE M lt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static LL_INLINE M nlt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ); }
  static LL_INLINE M eq(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static LL_INLINE M neq(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
  static LL_INLINE M both(M a, M b) { return (M)(a & b); }
  static LL_INLINE M without(M a, M b) { return (M)(a & ~b); }
  static LL_INLINE unsigned bits(M m) { return m; }
  static LL_INLINE V blend(M m, V a, V b) { return _mm512_mask_blend_ps(m, b, a); }
  static LL_INLINE V keep(M m, V a) { return _mm512_maskz_mov_ps(m, a); }
  static LL_INLINE V add_where(V acc, M m, V a) { return _mm512_mask_add_ps(acc, m, acc, a); }
  static LL_INLINE V fma_where(V acc, M m, V a, V b) { return _mm512_mask3_fmadd_ps(a, b, acc, m); }
  static LL_INLINE V pow2(V m) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(m), 23)); }
  static LL_INLINE V lookup(V table, V m) { return _mm512_permutexvar_ps(_mm512_castps_si512(m), table); }
  static LL_INLINE V pow2(V m, V table) {
    const __m512i up = _mm512_slli_epi32(_mm512_castps_si512(m), 23 - table_bits);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(lookup(table, m)), up));
  }
  static LL_INLINE V load_f16(const char* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
  }
  static LL_INLINE V load_bf16(const char* p) {
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16));
  }
  static LL_INLINE void store_f16(char* p, V v) {
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
  }
  static LL_INLINE void store_bf16(char* p, V v) {
    const __m512i b = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_add_epi32(b, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const M nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i quiet = _mm512_mask_or_epi32(r, nan, b, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(quiet, 16)));
  }
  static LL_INLINE void split(V a, V& mantissa, V& exponent) {
    mantissa = _mm512_getmant_ps(a, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    // getmant doubles those below 1.5/2; the exponent follows from the quotient's sign of log2
    exponent = _mm512_getexp_ps(a);
    exponent = _mm512_mask_add_ps(exponent, lt(mantissa, set1(1.0f)), exponent, set1(1.0f));
  }
};

template <>
struct Vectors<double> {
  using C = double;
  using V = __m512d;
  using M = __mmask8;
  static constexpr int W = 8;
  static constexpr int table_bits = 0;
  static constexpr bool fused = true, converts_16_bits = false;

  static LL_INLINE V set1(C a) { return _mm512_set1_pd(a); }
  static LL_INLINE V load(const C* p) { return _mm512_loadu_pd(p); }
  static LL_INLINE void store(C* p, V a) { _mm512_storeu_pd(p, a); }
  static LL_INLINE void stream(C* p, V a) { _mm512_stream_pd(p, a); }
  static LL_INLINE void fence() { _mm_sfence(); }
  static LL_INLINE M first(int n) { return (M)((1u << n) - 1u); }
  static LL_INLINE V loadn(const C* p, int n, C fill) {
    return n == W ? load(p) : _mm512_mask_loadu_pd(set1(fill), first(n), p);
  }
  static LL_INLINE void storen(C* p, V a, int n) {
    n == W ? store(p, a) : _mm512_mask_storeu_pd(p, first(n), a);
  }
  static LL_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_pd(a, b, c); }
  static LL_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_pd(a, b, c); }
  static LL_INLINE V max(V a, V b) { return _mm512_max_pd(a, b); }
  static LL_INLINE V min(V a, V b) { return _mm512_min_pd(a, b); }
  static LL_INLINE V abs(V a) { return _mm512_abs_pd(a); }
  static LL_INLINE M lt(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
  static LL_INLINE M nlt(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ); }
  static LL_INLINE M eq(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_EQ_OQ); }
  static LL_INLINE M neq(V a, V b) { return _mm512_cmp_pd_mask(a, b, _CMP_NEQ_UQ); }
  static LL_INLINE M both(M a, M b) { return (M)(a & b); }
  static LL_INLINE M without(M a, M b) { return (M)(a & ~b); }
  static LL_INLINE unsigned bits(M m) { return m; }
  static LL_INLINE V blend(M m, V a, V b) { return _mm512_mask_blend_pd(m, b, a); }
  static LL_INLINE V keep(M m, V a) { return _mm512_maskz_mov_pd(m, a); }
  static LL_INLINE V add_where(V acc, M m, V a) { return _mm512_mask_add_pd(acc, m, acc, a); }
  static LL_INLINE V fma_where(V acc, M m, V a, V b) { return _mm512_mask3_fmadd_pd(a, b, acc, m); }
  static LL_INLINE V pow2(V m) { return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(m), 52)); }
  static LL_INLINE void split(V a, V& mantissa, V& exponent) {
    mantissa = _mm512_getmant_pd(a, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    exponent = _mm512_getexp_pd(a);
    exponent = _mm512_mask_add_pd(exponent, lt(mantissa, set1(1.0)), exponent, set1(1.0));
  }
};
