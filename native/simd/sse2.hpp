// Vector operations on SSE2, which every x86-64 has: vectors of 16 bytes, no fused multiply-add. See
// vector.hpp.

#define LL_BYTES 16
#include "portable.hpp"

template <>
struct Vectors<float> : PortableFloats {
  static LL_INLINE void stream(C* p, V a) { _mm_stream_ps(p, (__m128)a); }
  static LL_INLINE void fence() { _mm_sfence(); }
  static LL_INLINE V max(V a, V b) { return (V)_mm_max_ps((__m128)a, (__m128)b); }
  static LL_INLINE V min(V a, V b) { return (V)_mm_min_ps((__m128)a, (__m128)b); }
  static LL_INLINE M lt(V a, V b) { return (M)_mm_cmplt_ps((__m128)a, (__m128)b); }
  static LL_INLINE M nlt(V a, V b) { return (M)_mm_cmpnlt_ps((__m128)a, (__m128)b); }
  static LL_INLINE M eq(V a, V b) { return (M)_mm_cmpeq_ps((__m128)a, (__m128)b); }
  static LL_INLINE M neq(V a, V b) { return (M)_mm_cmpneq_ps((__m128)a, (__m128)b); }
  static LL_INLINE unsigned bits(M m) { return (unsigned)_mm_movemask_ps((__m128)m); }
};

template <>
struct Vectors<double> : PortableDoubles {
  static LL_INLINE void stream(C* p, V a) { _mm_stream_pd(p, (__m128d)a); }
  static LL_INLINE void fence() { _mm_sfence(); }
  static LL_INLINE V max(V a, V b) { return (V)_mm_max_pd((__m128d)a, (__m128d)b); }
  static LL_INLINE V min(V a, V b) { return (V)_mm_min_pd((__m128d)a, (__m128d)b); }
  static LL_INLINE M lt(V a, V b) { return (M)_mm_cmplt_pd((__m128d)a, (__m128d)b); }
  static LL_INLINE M nlt(V a, V b) { return (M)_mm_cmpnlt_pd((__m128d)a, (__m128d)b); }
  static LL_INLINE M eq(V a, V b) { return (M)_mm_cmpeq_pd((__m128d)a, (__m128d)b); }
  static LL_INLINE M neq(V a, V b) { return (M)_mm_cmpneq_pd((__m128d)a, (__m128d)b); }
  static LL_INLINE unsigned bits(M m) { return (unsigned)_mm_movemask_pd((__m128d)m); }
};
