// The bins of a confidence, of two kinds, found at once. In: the edges of both. Out: the place of a
// confidence among all edges together, and the two bins of each place.
//
// A kernel gives a first guess, from some bits of the confidence c (algo/metrics.hpp): of c <= 1/2 the
// nearest multiple of 1/2048, above the leading bits of 1 - c. The edges beside it decide: seldom more than
// one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "metrics.hpp"

namespace lastlayer {

// Bin i holds edges[i] < c <= edges[i + 1]; what is beyond the last edges counts in the last bin.
struct Edges {
  const double* at;
  std::int64_t bins;
};

class ConfidenceBins {
 public:
  // A thread keeps the last ones for its next call.
  static std::shared_ptr<const ConfidenceBins> of(Edges equal, Edges fine);

  ConfidenceBins(Edges equal, Edges fine);
  std::size_t places() const { return edges_.size(); }
  std::int64_t equal(std::size_t place) const { return equal_[place]; }
  std::int64_t fine(std::size_t place) const { return fine_[place]; }
  // How many inner edges are below c, for c <= 1 and its guess.
  std::size_t place(std::int64_t guess, double c) const {
    std::size_t k = (std::size_t)first_[(std::size_t)guess];
    k += c > edges_[k];
    while (c > edges_[k]) ++k;
    return k;
  }

 private:
  bool is_of(Edges equal, Edges fine) const;

  std::vector<double> given_;                       // all edges as they were given
  std::vector<double> edges_;                       // the inner ones in order, then infinity
  std::vector<std::int32_t> first_, equal_, fine_;  // the first place of each guess; the bins of each place
};

}  // namespace lastlayer
