"""Row statistics of tensors. In: tensors. Out: `RowStats` of tensors, with differentiable results.

The fields come from the core, or from PyTorch's operations. The results (lse, nll, entropy, confidence,
sum_p2) get their values from the formulas of `RowStats`, and their gradients from a `Rule`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lastlayer.options import Options
from lastlayer.row_statistics import ARRAYS, RowStats

from . import canonical, composed, kernels, losses, number_options
from .choice import COMPOSED, CORE, TRITON, way_of
from .composed import Form
from .loss_rules import loss_gradient
from .rule import Rule, along_rows, call, ones_of_rows
from .softmax_rules import LogSumExpBackward
from .targets import Target
from .tensor_classes import mode_of
from .tensors import from_memory, tracks, unchanged, versions_of, wide

__all__ = ["TensorRowStats", "row_stats", "tensors_of"]

_LEARNED = ("mass", "weight", "target_weight")  # fields with a gradient where weights require one


@dataclass(frozen=True, slots=True, eq=False)
class TensorRowStats(RowStats):
    """Row statistics of tensors; the results are differentiable in the logits."""

    source: Any = None  # (x, target or None, options, form) of the call
    state: Any = None  # the same RowStats in NumPy arrays that share memory; None if the core did not run
    by_kernels: bool = False  # whether the kernels computed the fields
    versions: Any = None  # version counters of the source's tensors at the time of the call

    @property
    def lse(self) -> Tensor:
        return self._read("lse")

    @property
    def nll(self) -> Tensor:
        self._need("gap")
        found, missing = self._read("nll"), self._missing()
        return found if missing is None else found.masked_fill(missing, torch.nan)

    @property
    def mean_nll(self) -> Tensor:
        weight, total = self._need("weight"), self.nll.sum()
        divisor = (weight if self.target_weight is None else weight * self.target_weight).sum()
        is_zero = divisor == 0
        mean = self._result((total / divisor.masked_fill(is_zero, 1.0)).masked_fill(is_zero, 0.0))
        return mean if self.state is None else _with_value(self.state.mean_nll, mean)

    @property
    def accuracy(self) -> Tensor:
        return self._result(self._accuracy()).detach()

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
        if (self.state is None and not self.by_kernels) or tracks(*tensors):  # these will be read again
            unchanged(o.function, self.versions, *tensors)
        if self.state is not None:
            found = from_memory(getattr(self.state, name))
        elif self.by_kernels:
            found = self._result(getattr(self, f"_{name}")()).detach()
        else:
            with mode_of(x):
                return value(name, x, target, o, form)
        return call(RowValue, x, found, *(target or ()), name, o, form)  # type: ignore[no-any-return]

    def _xp(self) -> Any:
        return torch

    def _cast(self, value: Tensor, dtype: Any) -> Tensor:
        return value.detach().to(dtype)

    def _quiet(self) -> Any:
        return nullcontext()

    def _result(self, value: Tensor) -> Tensor:
        found: Tensor = value.to(self.dtype)
        return found

    def _merged(self, other: Any, ranges: Any) -> RowStats:
        if self.state is not None and other.state is not None:
            state = self.state._merged(other.state, ranges)
            return MergedRowStats(
                **tensors_of(state), dtype=self.dtype, classes=ranges, state=state, parts=(self, other)
            )
        found = RowStats._merged(self, other, ranges)
        fields = {name: getattr(found, name) for name in ARRAYS}
        return MergedRowStats(**fields, dtype=self.dtype, classes=ranges, parts=(self, other))

    def _concatenated(self, parts: list[Any]) -> RowStats:
        names = [name for name in ARRAYS if getattr(self, name) is not None]
        found: dict[str, Any] = {name: torch.cat([getattr(p, name) for p in parts]) for name in names}
        state = None
        if all(p.state is not None for p in parts):
            state = self.state._concatenated([p.state for p in parts])
        return ConcatenatedRowStats(
            **found, dtype=self.dtype, classes=self.classes, state=state, parts=tuple(parts)
        )

    def _received(self, arrays: dict[str, Any], classes: Any) -> RowStats:
        return ReceivedRowStats(**arrays, classes=classes, dtype=self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedRowStats(TensorRowStats):
    """Statistics from another process; they have no gradient."""

    def _read(self, name: str) -> Tensor:
        found: Tensor = self._result(getattr(self, f"_{name}")())
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ConcatenatedRowStats(TensorRowStats):
    """Blocks of rows, one after another."""

    parts: Any = ()

    def _read(self, name: str) -> Tensor:
        return torch.cat([part._read(name) for part in self.parts])


@dataclass(frozen=True, slots=True, eq=False)
class MergedRowStats(TensorRowStats):
    """Two merged shards of the classes: values from `row_law`, gradients through those of the parts."""

    parts: Any = ()

    def _read(self, name: str) -> Tensor:
        constant = self._result(getattr(self, f"_{name}")()).detach()
        a, b = self.parts
        if not (torch.is_grad_enabled() or tracks()):
            return constant
        return _with_value(constant, self._differentiable(name, a, b))

    def _differentiable(self, name: str, a: TensorRowStats, b: TensorRowStats) -> Tensor:
        """The result as a differentiable formula of the parts' results. Only its gradient is used."""
        lse = torch.logaddexp(a._read("lse"), b._read("lse"))
        if name == "lse":
            return lse
        own: list[Tensor] = []
        for part in (a, b):
            found, more = part._read(name), lse - part._read("lse")
            if name == "nll":
                mass = part._need("mass")
                found = found + mass * torch.where((mass == 0) & ~more.isfinite(), 0.0, more)
            elif name == "sum_p2":
                found = found * (-2 * more).exp()
            elif name == "confidence":
                found = torch.where(self._need("argmax") == part.argmax, found * (-more).exp(), 0.0)
            else:
                found = (found + more) * (-more).exp()
            own.append(found)
        return own[0] + own[1]


def tensors_of(state: RowStats, copy: bool = False) -> dict[str, Any]:
    """The arrays of statistics as tensors, which share their memory unless ``copy``."""
    found = {name: v for name in ARRAYS if (v := getattr(state, name)) is not None}
    return {name: from_memory(np.array(v) if copy else v) for name, v in found.items()}


def _with_value(value: Any, gradient_of: Tensor) -> Tensor:
    """``value``, with the gradient of ``gradient_of``, which has the same value up to rounding."""
    value = value if isinstance(value, Tensor) else from_memory(value)
    return call(Value, gradient_of, value) if tracks(gradient_of) else value  # type: ignore[no-any-return]


class Value(Rule):
    """(source, value) -> value, with the gradient of the source."""

    @staticmethod
    def run(source: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.clone()

    composed = run

    @staticmethod
    def saved(args: Any, _: Any) -> Any:  # noqa: ARG004
        return ()

    @staticmethod
    def options(args: Any) -> Any:  # noqa: ARG004
        return None

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ARG004
        return grad, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:  # noqa: ARG004
        return tangent


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
        saved = ctx.saved_tensors  # read once: checkpointing refuses a second time
        return value_gradient(grad, saved, *ctx.options), *(None,) * (len(saved) + 3)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        x, form = ctx.saved_tensors[0], ctx.options[-1]
        unit = value_gradient(ones_of_rows(x, form.axis), ctx.saved_tensors, *ctx.options)
        return along_rows(unit, tangent, form.axis)


def value(name: str, x: Tensor, target: Target | None, o: Options, form: Form) -> Tensor:
    """One of the results of `RowStats`, by PyTorch's operations."""
    if name == "nll":
        assert target is not None
        return kernels.composed_loss(x, target, o)
    if name == "lse":
        return composed.logsumexp(x, form)
    r = composed.rows(composed.canonical(x, form))
    if name == "entropy":
        difference = torch.where(r.exp == 0, 0.0, r.difference)
        return (r.log_norm - (r.p * difference).sum(-1, keepdim=True)).squeeze(-1)
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
    """``lastlayer.row_stats``. ``composing``: whether more than the logits may require a gradient."""
    form = canonical.scores_form(x, o) if target is None else canonical.form_of(x, target, o)
    source = x, target, o, form
    way = way_of(x) if number_options.are_read(o) else COMPOSED
    state = kernels.row_state(x, target, o) if way is CORE else None
    if way is COMPOSED:
        found = {
            key: v if key in _LEARNED else v.detach()
            for key, v in losses.statistics(x.detach(), target, form).items()
        }
    else:
        found = tensors_of(state) if state is not None else kernels.statistics(x, target, form)
        if composing and target is not None:  # weights may require a gradient
            found |= {
                key: v for key, v in losses.statistics(x.detach(), target, form).items() if key in _LEARNED
            }
    return TensorRowStats(
        **found,
        dtype=wide(x.dtype),
        source=source,
        state=None if composing else state,
        by_kernels=way is TRITON and not composing,
        versions=versions_of(x, *(target or ())),
    )
