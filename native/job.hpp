// An operation as the kernels read it. In: one of the parameter structs of kernels.hpp. Out: a Job.
//
// All operations go through the same passes, so these read one struct. A Job refers to the parts of its
// operation, and to a constant for each part that the operation lacks.
#pragma once

#include "kernels.hpp"

namespace lastlayer {

enum class Op : std::int32_t {
  softmax,
  log_softmax,
  stats,
  grad,
  pick,
  pick_grad,
  softmax_backward,
  log_softmax_backward,
};

// What a Job refers to in the place of parts that its operation lacks.
struct Absent {
  static const Transform transform;
  static const EffectiveTarget target;
  static const Losses losses;
  static const RowResults results;
  static const TopK top;
  static const KnownRows known;
};

struct Job {
  const Op op;
  const Shape& shape;
  const Operand& x;                 // the matrix that is read first: the scores, or y of a backward operation
  const Operand* second = nullptr;  // the matrix that is read with it: dense targets, or dy
  const Operand* out = nullptr;     // the matrix that is written
  const bool in_double;             // the computing type

  const Transform& transform = Absent::transform;
  const EffectiveTarget& target = Absent::target;
  const Losses& losses = Absent::losses;
  const RowResults& results = Absent::results;
  const TopK& top = Absent::top;
  const KnownRows& known = Absent::known;
  double z_loss = 0.0, scale = 1.0;
  const double* target_score = nullptr;
  bool skip_inactive = false;

  // Each asserts what its operation requires. Defined in job.cpp: an inline function would be compiled for
  // every instruction set, and the linker would keep one of them.
  Job(const Softmax& a);
  Job(const SoftmaxBackward& a);
  Job(const RowStatistics& a);
  Job(const LossGradient& a);
  Job(const Pick& a);
  Job(const PickGradient& a);
};

}  // namespace lastlayer
