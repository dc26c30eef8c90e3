#include "job.hpp"

namespace lastlayer {

const Transform Absent::transform = {};
const EffectiveTarget Absent::target = {};
const Losses Absent::losses = {};
const RowResults Absent::results = {};
const TopK Absent::top = {};
const KnownRows Absent::known = {};

namespace {

const Operand* dense_of(const EffectiveTarget& t) { return t.kind == Target::dense ? t.dense : nullptr; }

[[maybe_unused]] bool is_complete(const EffectiveTarget& t) {
  switch (t.kind) {
    case Target::index: return t.index && (t.off == 0 || t.class_weight);
    case Target::dense: return t.dense && t.dense->data && t.class_weight;
    default: return true;
  }
}

}  // namespace

bool computes_in_double(Dtype scores, const Transform& transform) {
  if (scores == Dtype::f64) return true;
  return scores == Dtype::f32 && !transform.take_log &&
         (transform.temperature != 1 || transform.softcap != 0);
}

Job::Job(const Softmax& a)
    : op(a.log ? Op::log_softmax : Op::softmax),
      shape(a.shape),
      x(a.scores.x),
      out(&a.out),
      in_double(computes_in_double(x.dtype, a.scores.transform)),
      transform(a.scores.transform) {
  LL_ASSERT(out->dtype == x.dtype && !transform.take_log);
  LL_ASSERT(!transform.mask || transform.mask->dtype == Dtype::u8);
}

Job::Job(const SoftmaxBackward& a)
    : op(a.log ? Op::log_softmax_backward : Op::softmax_backward),
      shape(a.shape),
      x(a.y),
      second(&a.dy),
      out(&a.out),
      in_double(computes_in_double(x.dtype, Absent::transform)) {
  LL_ASSERT(out->dtype == x.dtype && second->dtype == x.dtype);
}

Job::Job(const RowStatistics& a)
    : op(Op::stats),
      shape(a.shape),
      x(a.scores.x),
      second(dense_of(a.target)),
      in_double(computes_in_double(x.dtype, a.scores.transform)),
      transform(a.scores.transform),
      target(a.target),
      losses(a.losses),
      results(a.results),
      top(a.top),
      z_loss(a.z_loss),
      target_score(a.target_score),
      skip_inactive(a.skip_inactive) {
  LL_ASSERT(!transform.take_log && is_complete(target));
  LL_ASSERT(!transform.mask || transform.mask->dtype == Dtype::u8);
  LL_ASSERT(!(losses.at || results.gap || results.mass) || target.kind != Target::none);
  LL_ASSERT(!results.rank || target.kind == Target::index);
  LL_ASSERT(top.k == 0 || (top.k <= shape.classes && top.label && top.probability));
}

Job::Job(const LossGradient& a)
    : op(Op::grad),
      shape(a.shape),
      x(a.scores.x),
      second(dense_of(a.target)),
      out(&a.out),
      in_double(computes_in_double(x.dtype, a.scores.transform)),
      transform(a.scores.transform),
      target(a.target),
      losses(a.losses),
      known(a.known),
      z_loss(a.z_loss),
      scale(a.scale),
      skip_inactive(true) {
  LL_ASSERT(!transform.take_log && target.kind != Target::none && is_complete(target));
  LL_ASSERT(!transform.mask || transform.mask->dtype == Dtype::u8);
  LL_ASSERT(out->dtype == x.dtype);
  LL_ASSERT(!known.peak == !known.rest && (!known.mass || known.rest) && (!known.tilt || known.mass));
}

Job::Job(const Pick& a)
    : op(Op::pick),
      shape(a.shape),
      x(a.scores.x),
      second(dense_of(a.target)),
      in_double(computes_in_double(x.dtype, a.scores.transform)),
      transform(a.scores.transform),
      target(a.target),
      losses(a.losses) {
  LL_ASSERT(!transform.mask && target.kind != Target::none && is_complete(target) && losses.at);
}

Job::Job(const PickGradient& a)
    : op(Op::pick_grad),
      shape(a.shape),
      x(a.scores.x),
      out(&a.out),
      in_double(computes_in_double(x.dtype, a.scores.transform)),
      transform(a.scores.transform),
      target(a.target),
      scale(a.scale) {
  LL_ASSERT(!transform.mask && target.kind == Target::index && is_complete(target) && target.off == 0);
  LL_ASSERT(out->dtype == x.dtype);
}

}  // namespace lastlayer
