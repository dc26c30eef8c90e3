// Sums outside of the kernels. In: n numbers, as a function of their position. Out: their sum, in a fixed
// order and with an error that does not grow with n.
#pragma once

#include <cstdint>

namespace lastlayer {

// f(0) + ... + f(n - 1). Blocks of 128 are summed in eight lanes and added as an unevaluated pair.
template <class F>
double sum_of(std::int64_t n, F&& f) {
  double hi = 0, lo = 0;
  for (std::int64_t i = 0, end; i < n; i = end) {
    end = n - i < 128 ? n : i + 128;
    double part[8] = {};
    std::int64_t j = i;
    for (; j + 8 <= end; j += 8)
      for (int l = 0; l < 8; ++l) part[l] += f(j + l);
    for (; j < end; ++j) part[j & 7] += f(j);
    const double a =
        ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
    const double sum = hi + a, t = sum - hi;
    lo += (hi - (sum - t)) + (a - t);
    hi = sum;
  }
  return hi - hi == 0 ? hi + lo : hi;
}

}  // namespace lastlayer
