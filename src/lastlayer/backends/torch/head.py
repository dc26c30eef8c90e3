"""The linear head on tensors. In: what `linear_functional` was given. Out: tensors that autograd knows.

The ways to compute a call are in `head_call`; the choice among them is here. In CPU memory it is the loop
of `lastlayer.linear`, with PyTorch's products. Where gradients are asked for, it computes them with the loss,
and the first backward pass returns them: they are of the arguments' size, not of the logits'. Values of each
row are for `head_autograd`. A compiler sees one operation (`head_ops`) that returns both loss and gradients.
Everything else (gradients for weights or for targets, double backward, accelerators, transforms) is composed
of ``x @ weight.T`` and the functions of logits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lastlayer import problem, selection
from lastlayer.linear import run
from lastlayer.linear import top_k as linear_top_k
from lastlayer.options import Given, Options, has_defaults
from lastlayer.problem import Problem
from lastlayer.row_statistics import RowStats

from . import entry, head_autograd, head_small, kernels, number_options, shards
from . import head_ops as _ops  # noqa: F401 - registers the operations that a compiler sees
from .head_call import Call, HeadArrays, call_of, is_narrow
from .tensors import from_memory, in_memory, is_kept_elsewhere, tracks

__all__ = ["loss", "loss_and_gradients", "row_stats", "top_k", "validate"]


class _Loss(Function):
    """(x, weight, bias, call, problem, stats) -> loss.

    Where memory holds all tiles, the gradients are pending until the backward pass. Else they are computed
    with the loss: they are smaller than the logits.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        call: Call,
        checked: Problem,
        stats: list[RowStats] | None,
    ) -> Tensor:
        wanted, grads, ctx.pending = ctx.needs_input_grad[:3], None, None
        if is_narrow(x) or is_kept_elsewhere():
            value, _ = call.run(checked, (False, False, False), stats)
        elif stats is None:
            value, grads, ctx.pending = call.begin(checked, wanted)
        else:
            value, grads = call.run(checked, wanted, stats)
        ctx.grads = None if ctx.pending else grads
        ctx.scaled = ctx.grads is None  # by grad, before they are rounded
        ctx.save_for_backward(x, weight, bias, *call.target)  # type: ignore[misc]
        ctx.call = call.without_tensors()
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        wanted, saved = ctx.needs_input_grad[:3], ctx.saved_tensors  # which raises if they have changed
        if torch.is_grad_enabled():  # double backward
            found = head_autograd.composed_gradients(ctx.call.of(saved), {"loss": grad}, wanted)
            return *found, None, None, None
        grads, ctx.grads = ctx.grads, None  # returned once: their owner may write to them
        pending, ctx.pending = ctx.pending, None  # its tiles are used up
        batched = not in_memory(grad)
        factor = 1.0 if batched or not ctx.scaled else float(grad)
        if pending is not None and factor != 0.0:
            grads = pending.compute(factor)
        elif grads is None:
            call = ctx.call.of(saved)
            checked = call.checked()
            _, grads = call.run(checked._replace(scale=checked.scale * factor), wanted)
        if batched:
            return *(None if g is None else g * grad for g in grads), None, None, None
        if not ctx.scaled and grad != 1.0:
            grads = [None if g is None else g.mul_(grad) for g in grads]
        return *grads, None, None, None


# --- calls --------------------------------------------------------------------------------------------------


def loss(arrays: HeadArrays, given: Given, options: Options, with_stats: bool = False) -> Any:
    """``lastlayer.linear_cross_entropy``."""
    x, weight, bias, max_memory = arrays
    y, w, s = given
    ignore_index, reduction, shift = options.ignore_index, options.reduction, options.shift
    if (
        w is None
        and s is None
        and max_memory is None
        and not with_stats
        and has_defaults(options)
        and (found := head_small.usual_loss(x, weight, y, bias, ignore_index, reduction, shift)) is not None
    ):
        return found
    call = call_of(arrays, given, options)
    stats: list[RowStats] | None = [] if with_stats else None
    value = _value(call, stats)
    if not with_stats:
        return value
    return value, head_autograd.constant_stats(call, stats[0]) if stats else _composed_stats(call, True)


def validate(arrays: HeadArrays, given: Given, options: Options, class_offset: Any = None) -> None:
    """See `entry.validate`."""
    x, weight, *_ = arrays
    if not torch.compiler.is_compiling():
        _validate(arrays, given, options, class_offset)
    elif not (x.is_cpu and weight.is_cpu and selection.native_tensors):
        _validate_outside(arrays, given, options, class_offset)


def _validate(arrays: HeadArrays, given: Given, options: Options, class_offset: Any) -> None:
    call = call_of(arrays, given, options)
    first = None if class_offset is None else problem.class_offset(options.function, class_offset)
    o = number_options.as_passed(call.options, options)
    entry.validate_arguments(call.like_logits, call.target, o, first)


_validate_outside = entry.outside_graphs(_validate)


def _value(call: Call, stats: list[RowStats] | None) -> Tensor:
    """The loss; if the loop finds the rows' statistics too, they are put into the list."""
    assert call.target is not None
    total = call.options.denominator
    if isinstance(total, Tensor) and call.options.reduction == "mean":
        return number_options.over(_value(call._replace(options=entry.summed(call.options)), stats), total)
    if not entry.only_scores_learn(*call.target):
        return call.composed()
    if call.in_program():
        return call.operation()
    if not call.in_loop():
        return call.composed()
    tracked = tracks(call.x, call.weight, call.bias)
    if tracked and forward_ad._current_level >= 0:
        return call.composed()
    if stats is None and head_small.is_small(call):
        return head_small.loss(call, tracked)
    if not tracked:
        return call.run(call.checked(), (False, False, False), stats)[0]
    if call.options.reduction == "none":
        return head_autograd.losses(call, call.checked(), stats)
    return _Loss.apply(call.x, call.weight, call.bias, call, call.checked(), stats)  # type: ignore[no-any-return, no-untyped-call]


def loss_and_gradients(arrays: HeadArrays, given: Given, options: Options, with_stats: bool = False) -> Any:
    """``lastlayer.linear_cross_entropy_grad``."""
    call = call_of(arrays, given, options)
    assert call.target is not None
    if call.in_loop() and not tracks(call.x, call.weight, call.bias, *call.target):
        if not with_stats and head_small.is_small(call):
            value, grads = head_small.loss_and_gradients(call)
            return value, tuple(grads)
        stats: list[RowStats] | None = [] if with_stats else None
        value, grads = call.run(call.checked(), (True, True, True), stats)
        return (value, tuple(grads), *(head_autograd.constant_stats(call, found) for found in stats or ()))
    value, grads = call.with_logits((True, True, True))
    return (value, tuple(grads), *((_composed_stats(call, True),) if with_stats else ()))


def row_stats(arrays: HeadArrays, given: Given, options: Options, class_offset: Any = None) -> RowStats:
    """``lastlayer.linear_row_stats``."""
    call = call_of(arrays, given, options)
    if class_offset is not None:
        first, z, own = problem.class_offset(options.function, class_offset), call.like_logits, call.target
        if own is not None:
            own = shards.own_targets(z, own, call.options._replace(shift=0), first)
        call = call._replace(target=own, options=shards.own_options(own, z, call.options))
        return shards.placed(_row_stats(call), call.aligned().target, first, z)
    return _row_stats(call)


def _row_stats(call: Call) -> RowStats:
    """The statistics of a call."""
    if not call.in_loop() or tracks(*(call.target or ())) or forward_ad._current_level >= 0:
        return _composed_stats(call)
    head, backend = call.parts()
    found = run.row_stats(head, call.checked(), backend)
    if tracks(call.x, call.weight, call.bias):
        return head_autograd.row_stats(call, found)
    return head_autograd.constant_stats(call, found)


def _composed_stats(call: Call, constant: bool = False) -> RowStats:
    """The statistics of each row, from the logits."""
    call = call.aligned()
    o = call.options._replace(z_loss=0.0, reduction="none", denominator=None)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not constant):
        return entry.row_stats_of(call.logits(), call.target, o)


def top_k(arrays: HeadArrays, k: Any, options: Options) -> tuple[Tensor, Tensor]:
    """``lastlayer.linear_top_k``."""
    *tensors, max_memory = arrays
    x, weight, bias = (t.detach() if isinstance(t, Tensor) else t for t in tensors)
    with torch.no_grad():
        call = call_of((x, weight, bias, max_memory), (None, None, None), options)
        if not call.in_loop():
            return kernels.top_k(call.logits(), k, call.options)
    head, backend = call.parts()
    checked = call.checked()
    k = problem.top(checked.scores, k)
    labels, probabilities = linear_top_k.top_k(head, checked, k, backend)
    return from_memory(labels), from_memory(probabilities)
