// Products of a block of rows with a narrow matrix: see products.hpp. Accumulators stay in registers; one
// operand of each multiplication is a number of x in all lanes.

template <class C>
struct Products {
  using S = Simd<C>;
  using V = typename S::V;
  static constexpr int W = S::W;
  // Registers: 32 of 64 bytes, else 16, or 32 of 16 bytes.
  static constexpr bool wide = sizeof(V) == 64;
  static constexpr int vectors = wide ? 4 : 2;
  static constexpr int deep = wide ? 6 : 4;       // rows or features of a full tile
  static constexpr int deep_one = wide ? 16 : 8;  // of a tile of one vector
  static constexpr std::int64_t features_a_pass =
      128;  // of a tile: its weights stay in the first-level cache

  static constexpr int depth(int nv) { return nv == 1 ? deep_one : nv == 2 && wide ? 12 : deep; }

  // R rows of z, of one tile. `from`: what the products are added to.
  template <int NV, int R>
  static LL_INLINE void rows_of_logits(const C* x, std::int64_t x_stride, const C* w, std::int64_t d,
                                       const C* from, std::int64_t from_stride, C* z, std::int64_t z_stride) {
    V sum[R][NV];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) sum[r][v] = S::load(from + r * from_stride + v * W);
    for (std::int64_t c = 0; c < d; ++c) {
      V column[NV];
      for (int v = 0; v < NV; ++v) column[v] = S::load(w + (c * NV + v) * W);
      for (int r = 0; r < R; ++r) {
        const V number = S::set1(x[r * x_stride + c]);
        for (int v = 0; v < NV; ++v) sum[r][v] = S::fma(number, column[v], sum[r][v]);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) S::store(z + r * z_stride + v * W, sum[r][v]);
  }

  template <int NV>
  static void tile_of_logits(const BlockLogits& a, const C* w, std::int64_t column) {
    constexpr int R = depth(NV);
    const C* const bias = (const C*)a.bias + column;
    for (std::int64_t first = 0; first < a.d; first += features_a_pass) {
      const std::int64_t d = a.d - first < features_a_pass ? a.d - first : features_a_pass;
      const C* x = (const C*)a.x + first;
      C* z = (C*)a.z + column;
      const C* const part = w + first * NV * W;
      std::int64_t i = 0;
      for (; i + R <= a.n; i += R, x += R * a.x_stride, z += R * a.k)
        rows_of_logits<NV, R>(x, a.x_stride, part, d, first ? z : bias, first ? a.k : 0, z, a.k);
      for (; i < a.n; ++i, x += a.x_stride, z += a.k)
        rows_of_logits<NV, 1>(x, a.x_stride, part, d, first ? z : bias, first ? a.k : 0, z, a.k);
    }
  }

  // R features of the sum, of one tile.
  template <int NV, int R>
  static LL_INLINE void features_of_outer(const C* x, std::int64_t x_stride, const C* g,
                                          std::int64_t g_stride, std::int64_t n, C* to) {
    V sum[R][NV];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) sum[r][v] = S::load(to + (r * NV + v) * W);
    for (std::int64_t i = 0; i < n; ++i, x += x_stride, g += g_stride) {
      V column[NV];
      for (int v = 0; v < NV; ++v) column[v] = S::load(g + v * W);
      for (int r = 0; r < R; ++r) {
        const V number = S::set1(x[r]);
        for (int v = 0; v < NV; ++v) sum[r][v] = S::fma(number, column[v], sum[r][v]);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < NV; ++v) S::store(to + (r * NV + v) * W, sum[r][v]);
  }

  template <int NV>
  static void tile_of_outer(const BlockOuter& a, C* sum, std::int64_t column) {
    constexpr int R = depth(NV);
    const C* const x = (const C*)a.x;
    const C* const g = (const C*)a.g + column;
    std::int64_t c = 0;
    for (; c + R <= a.d; c += R) features_of_outer<NV, R>(x + c, a.x_stride, g, a.k, a.n, sum + c * NV * W);
    for (; c < a.d; ++c) features_of_outer<NV, 1>(x + c, a.x_stride, g, a.k, a.n, sum + c * NV * W);
  }

  // Calls one of a tile's functions for each tile: f(number of vectors, first column, place of the tile).
  template <class F>
  static LL_INLINE void for_tiles(std::int64_t d, std::int64_t k, F&& f) {
    LL_ASSERT(k % W == 0);
    std::int64_t column = 0;
    for (; column + vectors * W <= k; column += vectors * W)
      f(std::integral_constant<int, vectors>{}, column, column * d);
    const std::int64_t left = (k - column) / W;
    if (left == 1) f(std::integral_constant<int, 1>{}, column, column * d);
    if constexpr (vectors > 2) {
      if (left == 2) f(std::integral_constant<int, 2>{}, column, column * d);
      if (left == 3) f(std::integral_constant<int, 3>{}, column, column * d);
    }
  }

  static void logits(const BlockLogits& a) {
    for_tiles(a.d, a.k, [&](auto nv, std::int64_t column, std::int64_t place) LL_INLINE_LAMBDA {
      tile_of_logits<decltype(nv)::value>(a, (const C*)a.w + place, column);
    });
  }
  static void outer(const BlockOuter& a) {
    for_tiles(a.d, a.k, [&](auto nv, std::int64_t column, std::int64_t place) LL_INLINE_LAMBDA {
      tile_of_outer<decltype(nv)::value>(a, (C*)a.sum + place, column);
    });
  }
  // The sum of squares of n numbers, n a multiple of W.
  static double square(const C* p, std::int64_t n) {
    V a = S::set1(0), b = a;
    std::int64_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
      const V u = S::load(p + i), v = S::load(p + i + W);
      a = S::fma(u, u, a), b = S::fma(v, v, b);
    }
    for (; i < n; i += W) a = S::fma(S::load(p + i), S::load(p + i), a);
    C lanes[W];
    S::store(lanes, a + b);
    double sum = 0;
    for (int l = 0; l < W; ++l) sum += (double)lanes[l];
    return sum;
  }
};

NarrowColumns columns_of(bool in_double) {
  return in_double ? NarrowColumns{Products<double>::W, Products<double>::vectors}
                   : NarrowColumns{Products<float>::W, Products<float>::vectors};
}
void block_logits(const BlockLogits& a, bool in_double) {
  in_double ? Products<double>::logits(a) : Products<float>::logits(a);
}
void block_outer(const BlockOuter& a, bool in_double) {
  in_double ? Products<double>::outer(a) : Products<float>::outer(a);
}
double block_square(const void* p, std::int64_t n, bool in_double) {
  return in_double ? Products<double>::square((const double*)p, n)
                   : Products<float>::square((const float*)p, n);
}
// n numbers of any dtype, `stride` bytes apart, in the computing type.
void load_numbers(Dtype dtype, const char* from, std::int64_t stride, std::int64_t n, void* to,
                  bool in_double) {
  in_double ? load_run(dtype, from, stride, n, (double*)to) : load_run(dtype, from, stride, n, (float*)to);
}
