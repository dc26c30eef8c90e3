// Results that wait for being written past the cache. In: finished results in scratch, and where they go.
// Out: the same bytes there.
//
// They leave a few vectors at a time from within the next block's exponentials, so that the memory works
// while the processor computes.

template <class C>
struct Drain {
  using S = Simd<C>;
  static constexpr std::int64_t vector = S::W * (std::int64_t)sizeof(C);
  const char* from = nullptr;
  char* to = nullptr;
  std::int64_t left = 0;

  // Takes n bytes; the bytes before them have left.
  void take(const void* source, void* target, std::int64_t n) {
    const std::int64_t head = least(n, (std::int64_t)(-(std::uintptr_t)target & (vector - 1)));
    for (std::int64_t i = 0; i < head; ++i) ((char*)target)[i] = ((const char*)source)[i];
    from = (const char*)source + head, to = (char*)target + head, left = n - head;
  }
  LL_INLINE void one() {
    S::stream((C*)to, S::load((const C*)from));
    from += vector, to += vector, left -= vector;
  }
  LL_INLINE void some() {
    if (left < 8 * vector) return;
    for (int i = 0; i < 8; ++i) one();
  }
  void all() {
    while (left >= vector) one();
    for (; left > 0; ++from, ++to, --left) *to = *from;
  }
};
