// Calls from Python. In: Python objects. Out: filled arrays, from an operation of kernels.hpp. Arrays and
// tensors are held for the length of the call, and checked for memory safety: shape, dtype, writability. The
// Python package checks everything else; an error raised here is a mistake of the package.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "array.hpp"
#include "dispatch.hpp"
#include "kernels.hpp"

namespace lastlayer {

// The arguments that functions have in common, as they come from Python. An absent one is None.
struct ScoreArguments {
  nanobind::handle array;
  int axis;
  bool bfloat;  // a buffer of uint16 holds bfloat16
  double temperature = 1.0, softcap = 0.0;
};
struct TargetArguments {
  nanobind::handle array;
  bool dense, bfloat;
  nanobind::handle class_weight, sample_weight, ignore_index;
  double on, off;
};
struct LossArguments {
  int kind;  // LossKind
  double z_loss, scale;
  nanobind::handle losses, grad;
  nanobind::handle peak, rest, mass, tilt;  // one number a row
};
struct StatsArguments {
  nanobind::handle where;
  nanobind::dict into;
  std::int64_t k;
  bool shard;
  nanobind::handle threshold;
};

// 0 to 6 in Python. `grad_alone`: without the losses; nll: of log-probabilities, log_loss: of probabilities.
enum class LossKind { loss, loss_and_grad, nll, log_loss, grad_alone, nll_grad, log_loss_grad };

// Sets the number of threads of this thread's calls, in place of the process's; 0: the process's. Returns the
// previous number.
int use_threads(int n);
// The threads of a call from this thread; `threads`: asked for by the call, 0: not.
Runner runner_of_call(int threads);

void softmax(const ScoreArguments& scores, nanobind::handle out, bool log, nanobind::handle where,
             int threads);
void softmax_backward(const ScoreArguments& y, nanobind::handle grad, nanobind::handle out, bool log,
                      int threads);
void row_stats(const ScoreArguments& scores, const TargetArguments& targets, const StatsArguments& stats,
               int threads);
// The rows' losses into `losses` if given; else their sum times `scale` as the result.
double cross_entropy(const ScoreArguments& scores, const TargetArguments& targets, const LossArguments& loss,
                     int threads);

// An array of `n` float64, contiguous; misaligned ones are copied.
const double* doubles_of(Array& array, nanobind::handle object, std::int64_t n, const char* name);

}  // namespace lastlayer
