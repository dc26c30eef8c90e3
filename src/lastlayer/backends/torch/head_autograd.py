"""The linear head's values of each row, differentiable without materialized logits. In: a call. Out: tensors.

A row's loss, log-normaliser, entropy and confidence are known after one pass over the tiles. A few numbers a
row are kept of them. The backward pass computes the tiles again (`lastlayer.linear.row_gradients`). Double
backward and batched gradients are composed of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from lastlayer.linear.row_gradients import row_gradients
from lastlayer.linear.run import loss_and_gradients, with_row_stats
from lastlayer.linear.tile import NO_GRADIENTS
from lastlayer.problem import Problem, Targets
from lastlayer.row_statistics import RowStats

from . import canonical, entry
from .row_stats import TensorRowStats, tensors_of, value
from .tensors import from_memory, in_memory, memory, unchanged, versions_of, wide

__all__ = ["HeadRowStats", "composed_gradients", "constant_stats", "losses", "row_stats"]

_READ = ("lse", "nll", "entropy")


class RowValues(Function):
    """(x, weight, bias, call, state, values) -> these values of each row, by their names."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        call: Any,
        state: RowStats,
        values: dict[str, Any],
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight, bias, *(call.target or ()))
        ctx.call, ctx.state, ctx.names = call.without_tensors(), state, tuple(values)
        return tuple(from_memory(v) for v in values.values())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        wanted = ctx.needs_input_grad[:3]
        given = {name: g for name, g in zip(ctx.names, grads, strict=True) if g is not None}
        if not given:
            return (None,) * 6
        call = ctx.call.of(ctx.saved_tensors)  # which raises if they have changed
        if torch.is_grad_enabled() or not all(in_memory(g) for g in given.values()):
            return *composed_gradients(call, given, wanted), None, None, None
        head, backend = call.parts()
        upstream = {name: memory(g.double().contiguous()).reshape(-1) for name, g in given.items()}
        checked, state = call.checked(), ctx.state
        if "confidence" in upstream:  # exp(-loss) with the argmax for a target
            checked, state = _with_argmax_targets(checked, state)
            upstream = {"loss": -upstream["confidence"] * np.asarray(state.confidence).reshape(-1)}
        elif "nll" in upstream:
            upstream["loss"] = upstream.pop("nll")
        return *row_gradients(head, checked, state, upstream, wanted, backend), None, None, None


def _with_argmax_targets(checked: Problem, state: RowStats) -> tuple[Problem, RowStats]:
    """The problem whose targets are the most probable classes, and the state of its rows."""
    argmax = np.asarray(state.argmax) - (state.classes[0][0] if state.classes else 0)  # of the head's classes
    targets = Targets("index", argmax, 1.0, 0.0, None, None, None, 0.0)
    return checked._replace(targets=targets), replace(state, mass=np.ones(argmax.shape), dtype=np.float64)


def composed_gradients(call: Any, given: dict[str, Tensor], wanted: Any) -> Any:
    """The same gradients from the logits, for double backward, or batched."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        x, weight, bias = (
            None if t is None else t.view_as(t) if again else t.detach().requires_grad_(on)
            for t, on in zip(call[:3], wanted, strict=True)
        )
        found = composed(call._replace(x=x, weight=weight, bias=bias), tuple(given))
        asked = [t for t, on in zip((x, weight, bias), wanted, strict=True) if on and t is not None]
        grads = iter(torch.autograd.grad(found, asked, tuple(given.values()), create_graph=again))
    return [next(grads) if on else None for on in wanted]


def composed(call: Any, names: tuple[str, ...]) -> tuple[Tensor, ...]:
    """These values of each row, from the logits."""
    call = call.aligned()
    z, target, o = call.logits(), call.target, call.options
    if names == ("loss",):
        return (entry.loss_of(z, target, o),)
    form = canonical.scores_form(z, o) if target is None else canonical.form_of(z, target, o)
    return tuple(value(name, z, target, o, form) for name in names)


def losses(call: Any, checked: Problem, stats: list[RowStats] | None) -> Tensor:
    """The loss of each row; the rows' statistics into a list if given."""
    head, backend = call.parts()
    if stats is None:
        fields = ("mass", "argmax") if backend.arrays.half else ("mass",)
        value, _, state, *_ = loss_and_gradients(head, checked, NO_GRADIENTS, backend, fields)
    else:
        value, _, state = with_row_stats(head, checked, NO_GRADIENTS, backend)
        stats.append(state)
    return _read(call, state, {"loss": value})[0]


def _read(call: Any, state: RowStats, values: dict[str, Any]) -> tuple[Tensor, ...]:
    return RowValues.apply(*call[:3], call, state, values)  # type: ignore[no-any-return, no-untyped-call]


# --- statistics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class HeadRowStats(TensorRowStats):
    """Row statistics of a linear head, differentiable in its features, weight and bias."""

    values: Any = None  # lse, nll and entropy, as tensors that autograd knows
    call: Any = None

    def _read(self, name: str) -> Tensor:
        if name in self.values:
            return self.values[name]  # type: ignore[no-any-return]
        unchanged(self.call.options.function, self.versions, *self.call.tensors)
        if name == "confidence":
            return _read(self.call, self.state, {name: self.state.confidence})[0]
        return composed(self.call, (name,))[0]


def row_stats(call: Any, found: RowStats) -> HeadRowStats:
    """The statistics of a call as differentiable tensors; ``found`` by the loop."""
    names = [name for name in _READ if name != "nll" or found.gap is not None]
    tensors = _read(call, found, {name: getattr(found, name) for name in names})
    values, versions = dict(zip(names, tensors, strict=True)), versions_of(*call.tensors)
    return HeadRowStats(**_fields(call, found), state=found, values=values, call=call, versions=versions)


def constant_stats(call: Any, found: RowStats) -> TensorRowStats:
    """The statistics of a call as tensors without a gradient; ``found`` by the loop."""
    source = torch.empty(0), None, None, None
    return TensorRowStats(**_fields(call, found), source=source, state=found)


def _fields(call: Any, found: RowStats) -> dict[str, Any]:
    # Copies: the user may write into results, and the backward pass reads the statistics.
    return {**tensors_of(found, copy=True), "dtype": wide(call.x.dtype)}
