// The digest. In: arrays before and after a change. Out: another digest after any flipped bit; the sanitizers
// check that only the array is read.
#include "digest.hpp"

#include <memory>
#include <utility>

#include "problem.hpp"

namespace lastlayer {
namespace tests {
namespace {

std::uint64_t of(const char* data, std::int64_t bytes) {
  const std::int64_t step = 1;
  return digest(data, 1, 1, &bytes, &step);
}

}  // namespace

void test_digest() {
  for (const std::int64_t bytes : {1, 7, 8, 63, 64, 65, 127, 500, 4096, 16383, 16384, 16385, 20011, 70000}) {
    const std::unique_ptr<char[]> p(new char[(std::size_t)bytes]);  // its end is the allocation's
    for (std::int64_t i = 0; i < bytes; ++i) p[(std::size_t)i] = (char)(i * 37 + i / 256);
    const std::uint64_t before = of(p.get(), bytes);
    const long long length = bytes;
    CHECK(before == of(p.get(), bytes), "the same twice, of %lld bytes", length);
    for (std::int64_t i = 0; i < bytes; i += 1 + bytes / 97) {
      const int bit = (int)(i % 8);
      p[(std::size_t)i] = (char)(p[(std::size_t)i] ^ 1 << bit);
      CHECK(before != of(p.get(), bytes), "a flipped bit in byte %lld of %lld", (long long)i, length);
      p[(std::size_t)i] = (char)(p[(std::size_t)i] ^ 1 << bit);
    }
  }
  // Rows of 3 floats in a matrix of 5: what is between them does not count, and the order of rows does.
  float a[4][5] = {{1, 2, 3, 9, 9}, {4, 5, 6, 9, 9}, {7, 8, 9, 9, 9}, {1, 1, 2, 9, 9}};
  const std::int64_t shape[] = {4, 3}, strides[] = {20, 4};
  const std::uint64_t before = digest((const char*)a, 4, 2, shape, strides);
  a[1][4] = 0;
  CHECK(before == digest((const char*)a, 4, 2, shape, strides), "memory between the rows does not count");
  for (int j = 0; j < 3; ++j) std::swap(a[0][j], a[1][j]);
  CHECK(before != digest((const char*)a, 4, 2, shape, strides), "swapped rows");
  for (int j = 0; j < 3; ++j) std::swap(a[0][j], a[1][j]);
  a[0][0] = -a[0][0], a[2][0] = -a[2][0];
  CHECK(before != digest((const char*)a, 4, 2, shape, strides), "two flipped signs");
}

}  // namespace tests
}  // namespace lastlayer
