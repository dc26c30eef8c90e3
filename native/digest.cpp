#include "digest.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "kernels.hpp"

namespace lastlayer {
namespace {

constexpr int lanes = 8;
constexpr int streams = 4;
constexpr std::int64_t ahead = 1024;       // bytes; the processor's own prefetching ends with each page
constexpr std::int64_t least_part = 4096;  // bytes of a stream, where several are read at once
constexpr std::uint64_t factor = 0x9E3779B97F4A7C15;  // odd, its bits without a pattern

inline std::uint64_t rotated(std::uint64_t v, int by) { return v << by | v >> (64 - by); }

// Exclusive or and rotation do not commute with the product: two flipped signs do not cancel.
inline void take(std::uint64_t& lane, std::uint64_t word) { lane = rotated(lane ^ word, 27) * factor; }

struct State {
  std::uint64_t lane[streams][lanes];

  State() {
    for (int s = 0; s < streams; ++s)
      for (int l = 0; l < lanes; ++l) lane[s][l] = (std::uint64_t)(s * lanes + l + 1);
  }

  void run(const char* p, std::int64_t bytes) {
    constexpr std::int64_t line = 8 * lanes;
    // Long runs are read at several places at once: a single stream would wait for memory.
    const std::int64_t part = bytes / streams / line * line;
    if (part >= least_part) {
      std::uint64_t local[streams][lanes];
      std::memcpy(local, lane, sizeof(lane));
      for (std::int64_t i = 0; i < part; i += line)
        for (int s = 0; s < streams; ++s) take_line(local[s], p + s * part + i);
      std::memcpy(lane, local, sizeof(lane));
      p += streams * part, bytes -= streams * part;
    }
    std::int64_t i = 0;
    for (; i + line <= bytes; i += line) take_line(lane[0], p + i);
    for (int l = 0; i < bytes; i += 8, ++l) {
      std::uint64_t word = 0;
      std::memcpy(&word, p + i, (std::size_t)std::min<std::int64_t>(8, bytes - i));
      take(lane[0][l], word);
    }
  }

  static void take_line(std::uint64_t* into, const char* p) {
    __builtin_prefetch(p + ahead);
    std::uint64_t words[lanes];
    std::memcpy(words, p, sizeof(words));
    for (int l = 0; l < lanes; ++l) take(into[l], words[l]);
  }

  std::uint64_t end() const {
    std::uint64_t h = 0;
    for (const auto& stream : lane)
      for (const std::uint64_t l : stream) {
        take(h, l);
        h ^= h >> 32;
      }
    return h;
  }
};

struct Axis {
  std::int64_t extent, stride;
};

}  // namespace

std::uint64_t digest(const char* data, int item_size, int axes, const std::int64_t* shape,
                     const std::int64_t* strides) {
  Axis axis[max_axes];
  int n = 0;
  for (int d = 0; d < axes; ++d) {
    if (shape[d] == 0) return 0;
    if (shape[d] > 1 && strides[d] != 0) axis[n++] = {shape[d], strides[d]};
  }
  std::stable_sort(axis, axis + n,
                   [](const Axis& a, const Axis& b) { return std::llabs(a.stride) > std::llabs(b.stride); });
  std::int64_t bytes = item_size;  // of a contiguous run
  while (n > 0 && axis[n - 1].stride == bytes) bytes *= axis[--n].extent;

  State state;
  std::int64_t at[max_axes] = {};
  for (;;) {
    state.run(data, bytes);
    int d = n - 1;
    for (; d >= 0; --d) {
      data += axis[d].stride;
      if (++at[d] < axis[d].extent) break;
      data -= axis[d].stride * axis[d].extent;
      at[d] = 0;
    }
    if (d < 0) return state.end();
  }
}

}  // namespace lastlayer
