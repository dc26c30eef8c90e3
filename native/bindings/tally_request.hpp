// The tally's operations for Python: see request.hpp.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

namespace lastlayer {

// Counts rows of logits into the arrays of the dict `tables`; with weights, if they are not None. Returns how
// many rows were counted, how many were ignored, the numbers of the rows that were left out as bytes of
// int64, and the hardest rows.
nanobind::tuple tally_rows(nanobind::handle scores, bool bfloat, nanobind::handle targets,
                           nanobind::handle ignore_index, double temperature, nanobind::dict tables,
                           nanobind::handle numbers, double floor, nanobind::handle weights);

// The numbers that are counted of each row, from the arrays of the dict `stats`, into those of `into`.
void row_metrics(nanobind::dict stats, nanobind::dict into);

}  // namespace lastlayer
