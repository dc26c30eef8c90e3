"""The statistics of each row. In: tensors. Out: tensors.

`RowStats` of tensors holds what the core found; the numbers read from it (lse, nll, entropy, confidence,
sum_p2) are made by the law in `row_stats`, and know their gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from lastlayer.row_stats import RowStats

from . import composed, kernels, losses, numbers
from .autograd import LogSumExpBackward, Rule, along_rows, call, loss_gradient, ones_of_rows
from .composed import Form
from .kernels import Options
from .losses import Target
from .tensors import from_memory, tracks, unchanged, versions_of, wide

__all__ = ["TensorRowStats", "row_stats"]

_STATE = tuple(f.name for f in fields(RowStats) if f.name != "dtype")


@dataclass(frozen=True, slots=True, eq=False)
class TensorRowStats(RowStats):
    """Row statistics of tensors, whose results are differentiable in the logits."""

    source: Any = None  # (x, target or None, options, form): what they were made from
    state: Any = None  # the same state in NumPy arrays that share its memory; None where the core did not run
    versions: Any = None  # of the tensors of the source, when the state was found

    @property
    def lse(self) -> Tensor:
        return self._read("lse")

    @property
    def nll(self) -> Tensor:
        self._need("gap")
        return self._read("nll")

    @property
    def entropy(self) -> Tensor:
        self._need("spread")
        return self._read("entropy")

    @property
    def confidence(self) -> Tensor:
        return self._read("confidence")

    @property
    def sum_p2(self) -> Tensor:
        self._need("square")
        return self._read("sum_p2")

    def _read(self, name: str) -> Tensor:
        x, target, o, form = self.source
        tensors = x, *(target or ())
        if self.state is None or tracks(*tensors):  # they are read again
            unchanged(o.function, self.versions, *tensors)
        if self.state is None:
            return value(name, x, target, o, form)
        found = from_memory(getattr(self.state, name))
        return call(RowValue, x, found, *(target or ()), name, o, form)  # type: ignore[no-any-return]


class RowValue(Rule):
    """(x, found, *target, name, options, form) -> found, differentiable in x."""

    @staticmethod
    def run(x: Tensor, found: Tensor, *_: Any) -> Tensor:  # noqa: ARG004
        return found.clone()

    @staticmethod
    def saved(args: Any, _: Any) -> Any:
        return args[0], *args[2:-3]

    @staticmethod
    def options(args: Any) -> Any:
        return args[-3:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return value_gradient(grad, ctx.saved_tensors, *ctx.options), *(None,) * (len(ctx.saved_tensors) + 3)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        x, form = ctx.saved_tensors[0], ctx.options[-1]
        unit = value_gradient(ones_of_rows(x, form.axis), ctx.saved_tensors, *ctx.options)
        return along_rows(unit, tangent, form.axis)


def value(name: str, x: Tensor, target: Target | None, o: Options, form: Form) -> Tensor:
    """One of the results of `RowStats`, in PyTorch's operations."""
    if name == "nll":
        assert target is not None
        return kernels.composed_loss(x, target, o)
    if name == "lse":
        return composed.logsumexp(x, form)
    r = composed.rows(composed.canonical(x, form))
    if name == "entropy":
        return (r.log_norm - (r.p * torch.where(r.exp == 0, 0.0, r.fall)).sum(-1, keepdim=True)).squeeze(-1)
    if name == "confidence":
        return (1 / (1 + r.rest)).squeeze(-1)
    return (r.p * r.p).sum(-1)


def value_gradient(grad: Tensor, tensors: Any, name: str, o: Options, form: Form) -> Tensor:
    """d(grad . value)/dx."""
    x = tensors[0]
    if name == "nll":
        return loss_gradient(grad, tensors, o)
    if name == "lse":
        return call(LogSumExpBackward, grad, x, None, form)  # type: ignore[no-any-return]
    return composed.value_backward(name, grad, x, form)


def row_stats(x: Tensor, target: Target | None, o: Options, composing: bool) -> TensorRowStats:
    """``lastlayer.row_stats``; ``composing``: where more than the logits may have to be differentiated."""
    form = kernels.scores_form(x, o) if target is None else kernels.form_of(x, target, o)
    source = x, target, o, form
    state = kernels.row_state(x, target, o) if kernels.on_core(x) and numbers.are_read(o) else None
    if state is None:
        found = {key: v.detach() for key, v in losses.statistics(x, target, form).items()}
    else:
        found = {key: from_memory(v) for key in _STATE if (v := getattr(state, key)) is not None}
    kept = versions_of(x, *(target or ()))
    state = None if composing else state
    return TensorRowStats(**found, dtype=wide(x.dtype), source=source, state=state, versions=kept)
