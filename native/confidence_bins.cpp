#include "confidence_bins.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace lastlayer {
namespace {

using Doubles = std::vector<double>;

// The edges between bins, in order: a caller's may be in none, and NaN.
Doubles inner(Edges given) {
  Doubles found;
  found.reserve((std::size_t)given.bins);
  for (std::int64_t i = 1; i < given.bins; ++i)
    if (given.at[i] == given.at[i]) found.push_back(given.at[i]);
  if (!std::is_sorted(found.begin(), found.end())) std::sort(found.begin(), found.end());
  return found;
}

// For each place how many of some edges lie below it.
std::vector<std::int32_t> below(const Doubles& places, const Doubles& some) {
  std::vector<std::int32_t> found(places.size());
  std::size_t n = 0;
  for (std::size_t k = 1; k < places.size(); ++k) {
    while (n < some.size() && some[n] <= places[k - 1]) ++n;
    found[k] = (std::int32_t)n;
  }
  return found;
}

// The least confidence with a guess, or a smaller number.
double least_of(std::int64_t guess) {
  if (guess < ConfidenceGuess::high) return ((double)guess - 0.5) / ConfidenceGuess::per_unit;
  const std::int64_t bits = (ConfidenceGuess::top - guess + 1) << ConfidenceGuess::shift;
  double q;
  std::memcpy(&q, &bits, sizeof q);
  return 1 - q;
}

}  // namespace

ConfidenceBins::ConfidenceBins(Edges equal, Edges fine) : first_((std::size_t)ConfidenceGuess::all) {
  given_.assign(equal.at, equal.at + equal.bins + 1);
  given_.insert(given_.end(), fine.at, fine.at + fine.bins + 1);
  const double* const copy = given_.data();  // the caller's may change meanwhile
  const Doubles a = inner({copy, equal.bins}), b = inner({copy + equal.bins + 1, fine.bins});
  edges_.resize(a.size() + b.size());
  std::merge(a.begin(), a.end(), b.begin(), b.end(), edges_.begin());
  edges_.erase(std::unique(edges_.begin(), edges_.end()), edges_.end());
  while (!edges_.empty() && edges_.back() == std::numeric_limits<double>::infinity()) edges_.pop_back();
  edges_.push_back(std::numeric_limits<double>::infinity());
  equal_ = below(edges_, a), fine_ = below(edges_, b);
  std::int32_t k = 0;
  for (std::int64_t guess = 0; guess < ConfidenceGuess::all; ++guess) {
    const double c = least_of(guess);
    while (edges_[(std::size_t)k] < c) ++k;
    first_[(std::size_t)guess] = k;
  }
}

bool ConfidenceBins::is_of(Edges equal, Edges fine) const {
  const std::size_t n = (std::size_t)equal.bins + 1, all = n + (std::size_t)fine.bins + 1;
  return given_.size() == all && std::memcmp(given_.data(), equal.at, n * sizeof(double)) == 0 &&
         std::memcmp(given_.data() + n, fine.at, (all - n) * sizeof(double)) == 0;
}

std::shared_ptr<const ConfidenceBins> ConfidenceBins::of(Edges equal, Edges fine) {
  thread_local std::shared_ptr<const ConfidenceBins> last;  // a lock might be held in the parent of a fork
  if (!last || !last->is_of(equal, fine)) last = std::make_shared<const ConfidenceBins>(equal, fine);
  return last;
}

}  // namespace lastlayer
