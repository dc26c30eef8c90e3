// Vector operations on NEON of AArch64: vectors of 16 bytes. See vector.hpp.

#define LL_BYTES 16
#include "portable.hpp"

template <>
struct Vectors<float> : PortableFloats {
  static constexpr bool fused = true;

  static LL_INLINE V fma(V a, V b, V c) {
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  }
  static LL_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
  static LL_INLINE V fma_where(V s, M m, V a, V b) { return fma(keep(m, a), keep(m, b), s); }
};

template <>
struct Vectors<double> : PortableDoubles {
  static constexpr bool fused = true;

  static LL_INLINE V fma(V a, V b, V c) {
    return (V)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
  }
  static LL_INLINE V fnma(V a, V b, V c) { return fma(-a, b, c); }
  static LL_INLINE V fma_where(V s, M m, V a, V b) { return fma(keep(m, a), keep(m, b), s); }
};
