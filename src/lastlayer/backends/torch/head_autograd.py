"""What the linear head says of each row, differentiable without its logits. In: a call. Out: tensors.

A row's loss, log-normaliser, entropy and confidence are known after one pass over the tiles. A few numbers a
row are kept of them. The backward pass computes the tiles again (`lastlayer.linear.row_gradients`). What it
cannot do, such as derivatives of derivatives, is composed of the logits.
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
        head, products = call.parts()
        heights = {name: memory(g.double().contiguous()).reshape(-1) for name, g in given.items()}
        checked, state = call.checked(), ctx.state
        if "confidence" in heights:  # exp(-loss) of the argmax for a target
            checked, state = _of_the_best(checked, state)
            heights = {"loss": -heights["confidence"] * np.asarray(state.confidence).reshape(-1)}
        elif "nll" in heights:
            heights["loss"] = heights.pop("nll")
        return *row_gradients(head, checked, state, heights, wanted, products), None, None, None


def _of_the_best(checked: Problem, state: RowStats) -> tuple[Problem, RowStats]:
    """The problem whose targets are the most probable classes, and the state of its rows."""
    best = np.asarray(state.argmax) - (state.classes[0][0] if state.classes else 0)  # of the head's own
    targets = Targets("index", best, 1.0, 0.0, None, None, None, 0.0)
    return checked._replace(targets=targets), replace(state, mass=np.ones(best.shape), dtype=np.float64)


def composed_gradients(call: Any, given: dict[str, Tensor], wanted: Any) -> Any:
    """The same by way of the logits, to be differentiated again; or of many numbers a row at once."""
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
    head, products = call.parts()
    if stats is None:
        fields = ("mass", "argmax") if products.half else ("mass",)
        value, _, state, *_ = loss_and_gradients(head, checked, products=products, fields=fields)
    else:
        value, _, state = with_row_stats(head, checked, products=products)
        stats.append(state)
    return _read(call, state, {"loss": value})[0]


def _read(call: Any, state: RowStats, values: dict[str, Any]) -> tuple[Tensor, ...]:
    return RowValues.apply(*call[:3], call, state, values)  # type: ignore[no-any-return, no-untyped-call]


# --- statistics ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class HeadRowStats(TensorRowStats):
    """Row statistics of a linear head, differentiable in its features, weight and bias."""

    made: Any = None  # lse and so on, as tensors that autograd knows
    call: Any = None

    def _read(self, name: str) -> Tensor:
        if name in self.made:
            return self.made[name]  # type: ignore[no-any-return]
        unchanged(self.call.options.function, self.versions, *self.call.tensors)
        if name == "confidence":
            return _read(self.call, self.state, {name: self.state.confidence})[0]
        return composed(self.call, (name,))[0]


def row_stats(call: Any, found: RowStats) -> HeadRowStats:
    """The statistics that the loop ``found``, as differentiable tensors."""
    names = [name for name in _READ if name != "nll" or found.gap is not None]
    values = _read(call, found, {name: getattr(found, name) for name in names})
    made = dict(zip(names, values, strict=True))
    kept = versions_of(*call.tensors)
    return HeadRowStats(**_fields(call, found), state=found, made=made, call=call, versions=kept)


def constant_stats(call: Any, found: RowStats) -> TensorRowStats:
    """The statistics that the loop ``found``, as tensors that have no gradient."""
    source = torch.empty(0), None, None, None
    return TensorRowStats(**_fields(call, found), source=source, state=found)


def _fields(call: Any, found: RowStats) -> dict[str, Any]:
    # Copies: what is written into a result must not reach what a backward pass starts from.
    return {**tensors_of(found, copy=True), "dtype": wide(call.x.dtype)}
