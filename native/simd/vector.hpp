// Vector operations, from which the algorithms are written. In and out: vectors of one instruction set.
//
// Simd<C> for C = float or double gives
//
//   V, M, W                a vector of W lanes of C, a mask of W lanes
//   set1 load store        W lanes, at any address
//   loadn storen           the first n lanes only, 1 <= n <= W; loadn fills the others
//   stream                 store past the cache; the address is aligned to a whole vector
//   fence()                streamed stores are visible to other threads before any later store
//   + - * /                the compiler's own operators on V
//   fma(a,b,c)             a * b + c
//   fnma(a,b,c)            c - a * b
//   fused                  whether these two round once
//   max(a,b) min(a,b)      b if either is NaN: a running maximum max(z, peak) ignores NaN
//   abs(a)
//   lt eq                  comparisons, false on NaN
//   nlt neq                their opposites, true on NaN
//   both(m,n)              m and n
//   without(m,n)           m and not n
//   blend(m,a,b)           a where m, else b
//   keep(m,a)              a where m, else 0
//   bits(m)                one bit a lane
//   add_where(s,m,a)       s + a where m, else s
//   fma_where(s,m,a,b)     s + a * b where m, else s
//   pow2(m)                the low bits of m moved into the exponent: see exp in math.hpp
//   table_bits             2^table_bits numbers can be looked up in a register; 0: there is no such
//                          instruction, and the next two do not exist
//   lookup(table,m)        the number that the low bits of m point to
//   pow2(m,table)          the same, with the bits above them moved into the exponent
//   split(a,f,k)           a = f * 2^k with f in [0.75, 1.5), for a > 0 and normal; else any numbers
//   converts_16_bits       whether there are instructions for float16 (and, by shifts, bfloat16):
//   load_f16 store_f16 load_bf16 store_bf16        W numbers at any address, rounded to nearest even
//
// Vectors<C> has these operations, one file an instruction set; Simd<C> asserts their preconditions (in debug
// and sanitizer builds). Everything is inlined and inside namespace LL_ISA: of a function that instruction
// sets share, the linker keeps one copy, which the machine may be unable to run.

template <class C>
struct Vectors;

#include LL_SIMD

template <class C>
struct Simd : Vectors<C> {
  using Base = Vectors<C>;
  using Base::W;
  using typename Base::V;

  static LL_INLINE V loadn(const C* p, int n, C fill) {
    LL_ASSERT(1 <= n && n <= W);
    return Base::loadn(p, n, fill);
  }
  static LL_INLINE void storen(C* p, V a, int n) {
    LL_ASSERT(1 <= n && n <= W);
    Base::storen(p, a, n);
  }
  static LL_INLINE void stream(C* p, V a) {
    LL_ASSERT((std::uintptr_t)p % sizeof a == 0);
    Base::stream(p, a);
  }
};
