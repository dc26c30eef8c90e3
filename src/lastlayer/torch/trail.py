"""The operations between a linear head and the loss. In: operations. Out: steps, applied to features instead.

Models reshape, select, convert, scale and cap their logits before the loss. None of this needs the logits:
the operation applies to the rows of the features just as well, or is a temperature or softcap of the loss.
A `Step` describes one such operation and its backward operation. Steps form a linked list, the trail, from
the product on. Operations without an entry in `STEPS` materialize the logits.

In the backward pass, PyTorch's node of each operation calls its backward operation on the lazy gradient. If
that is the one which the last step expects, the result is a lazy gradient without that step.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lastlayer.backends.core import core
from lastlayer.backends.torch.lazy import LazyTensor
from lastlayer.problem import deferred_errors

__all__ = [
    "STEPS",
    "VIEWS",
    "Source",
    "Step",
    "Zeros",
    "canonical_options",
    "digest",
    "pulled_back",
    "rows_of",
]

_aten = torch.ops.aten
_CPU = torch.device("cpu")


# --- the product --------------------------------------------------------------------------------------------


def digest(t: Tensor | None) -> int:
    """A 64-bit digest of all bits of a tensor: it changes with any write, even if no version counter does."""
    if t is None:
        return 0
    return core.digest(t.detach().resolve_neg())


class Source:
    """x, weight and bias of one call of a head, with their digests: ``z = x @ weight.T + bias``.

    It holds the memory of the tensors, not the parameters: if a parameter's ``data`` is replaced, as
    ``Module.to`` does, the old memory is still there.
    """

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, max_memory: Any) -> None:
        self._parts = x.detach(), weight.detach(), None if bias is None else bias.detach()
        self.shape = x.shape
        self.digests = tuple(digest(t) for t in self._parts)
        self.max_memory = max_memory
        self.token = (
            self.digests,
            tuple(x.shape),
            tuple(weight.shape),
            x.dtype,
        )  # the same for the same product

    def parts(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """x, weight and bias; an error if any of their bits changed since the call of the head."""
        for name, t, noted in zip(("x", "weight", "bias"), self._parts, self.digests, strict=True):
            if t is not None and t.untyped_storage().nbytes() == 0 < t.numel():
                deferred_errors.freed(name)
            if digest(t) != noted:
                deferred_errors.written(name)
        return self._parts

    def product(self) -> Tensor:
        """The logits."""
        parts = self.parts()
        with torch.autocast("cpu", enabled=False):
            return torch.nn.functional.linear(*parts).contiguous()


# --- steps --------------------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One operation on deferred logits, and the step before it."""

    before: Step | None
    rows: Callable[[Tensor], Tensor]  # the same operation on the rows of the features
    backward: tuple[Any, ...]  # the operators that its backward pass may call
    fits: Callable[..., bool]  # whether a call of such an operator has the arguments of its backward pass
    divisor: float = 1.0  # the number by which it divides the logits; 0 marks a tanh


# (rows, backward, fits, divisor) of a step; () for an operation that changes neither numbers nor rows.
Change = tuple[Any, ...]


def _all(trail: Step | None) -> list[Step]:
    """The steps of a trail, the first one first."""
    steps = []
    while trail is not None:
        steps.append(trail)
        trail = trail.before
    return steps[::-1]


def rows_of(trail: Step | None, x: Tensor) -> Tensor:
    """The features, with the steps of a trail applied to their rows."""
    for step in _all(trail):
        x = step.rows(x)
    return x


def pulled_back(trail: Step | None, shape: Any, dx: Tensor) -> Tensor:
    """The gradient of features of this shape, from ``dx``, the gradient of ``rows_of(trail, features)``."""
    if trail is None:
        return dx
    with torch.enable_grad():
        x = dx.new_zeros(()).expand(shape).requires_grad_()  # steps are linear: the values do not matter
        rows = rows_of(trail, x)
    return torch.autograd.grad(rows, x, dx.reshape(rows.shape))[0].contiguous()


def canonical_options(trail: Step | None) -> tuple[float, float | None]:
    """Temperature and softcap that turn a loss of the product into a loss of the logits after these steps.

    ::

        z = raw / divisor                                   temperature = divisor
        z = tanh(raw / divisor) / after                     softcap = divisor, temperature = divisor after
    """
    divisor, after, capped = 1.0, 1.0, False
    for step in _all(trail):
        if step.divisor == 0:
            capped = True
        elif capped:
            after *= step.divisor
        else:
            divisor *= step.divisor
    return divisor * after, divisor if capped else None


# --- the operations that a trail may contain ----------------------------------------------------------------

VIEWS = _aten.view.default, _aten._reshape_alias.default, _aten._unsafe_view.default


class Zeros(LazyTensor):
    """Lazy zeros, into which the backward pass of indexing by tensors writes its gradient."""


def _no_change(z: LazyTensor, *_: Any, **__: Any) -> Change:  # noqa: ARG001
    return ()


def _clone(z: LazyTensor, *, memory_format: Any = None) -> Change | None:  # noqa: ARG001
    """``z.contiguous()``. A plain ``z.clone()`` is a copy of the current numbers, and materializes them."""
    return None if memory_format is None else ()


def _view(z: LazyTensor, shape: Any, *_: Any) -> Change | None:
    """A view with another shape of the rows."""
    before, to = z.shape, z.like().view(shape).shape
    if to == before:
        return ()
    if not to or to[-1] != before[-1]:
        return None

    def rows(x: Tensor) -> Tensor:
        return x.reshape(*to[:-1], x.shape[-1])

    def fits(_: Any, shape: Any, *__: Any) -> bool:
        return tuple(shape) == before

    return rows, VIEWS, fits


def _along(func: Any, backward: Any, key: Callable[..., Any]) -> Callable[..., Change | None]:
    """A selection along any axis but the last; ``key(n, *arguments)`` tells which positions it selects."""

    def change(z: LazyTensor, dim: int = 0, *rest: Any) -> Change | None:
        before, axis, n = z.shape, dim % z.ndim, z.shape[dim]
        if axis == z.ndim - 1:
            return None

        def rows(x: Tensor) -> Tensor:
            return func(x, axis, *rest)  # type: ignore[no-any-return]

        def fits(_: Any, size: Any, dim: int, *arguments: Any) -> bool:
            same = tuple(size) == before and dim % len(before) == axis
            return same and key(n, *arguments) == key(n, *rest)

        return rows, (backward,), fits

    return change


def _positions(n: int, start: Any = None, end: Any = None, step: Any = 1) -> tuple[int, int, int]:
    return slice(start, end, step).indices(n)


def _position(n: int, index: int) -> int:
    return index % n


def _index(z: LazyTensor, indices: Any) -> Change | None:
    """Indexing of rows by tensors."""
    before = z.shape
    axes = sum(i.ndim if i is not None and i.dtype is torch.bool else 1 for i in indices)
    if axes >= z.ndim:
        return None
    key = tuple(slice(None) if i is None else i.clone() for i in indices)

    def rows(x: Tensor) -> Tensor:
        return x[key]

    def fits(into: Any, given: Any, _: Any, accumulate: bool = False) -> bool:
        if not (type(into) is Zeros and accumulate and into.shape == before and len(given) == len(key)):
            return False
        pairs = zip(given, key, strict=True)
        return all(i is None if isinstance(k, slice) else torch.equal(i, k) for i, k in pairs)

    return rows, (_aten.index_put.default,), fits


def _same(x: Tensor) -> Tensor:
    return x


def _to_copy(z: LazyTensor, *, dtype: Any = None, device: Any = _CPU, **others: Any) -> Change | None:
    """A conversion to float32, in which the loss is computed anyway."""
    before = z.dtype
    if (
        device != _CPU
        or before is dtype
        or dtype is not torch.float32
        or others.get("layout") not in _STRIDED
    ):
        return None

    def fits(_: Any, dtype: Any = None, **__: Any) -> bool:
        return dtype is before

    return _same, (_aten._to_copy.default,), fits


_STRIDED = None, torch.strided


def _scale(func: Any, divisor_of: Callable[[float], float]) -> Callable[..., Change | None]:
    """A multiplication with, or division by, a positive number."""

    def change(_: LazyTensor, number: Any) -> Change | None:
        if type(number) not in (int, float) or not 0 < number < inf:
            return None
        divisor = divisor_of(number)

        def fits(_: Any, other: Any) -> bool:
            return not getattr(other, "ndim", 0) and float(other) == number

        return (_same, (func,), fits, divisor) if 0 < divisor < inf else None

    return change


def _inverse(number: float) -> float:
    return 1.0 / number


def _tanh(z: Any) -> Change | None:
    if any(step.divisor == 0 for step in _all(z.trail)):
        return None

    def rows(x: Tensor) -> Tensor:
        return x

    def fits(_: Any, output: Any) -> bool:  # `output` is this step's result: its `rows` is this function
        trail = getattr(output, "trail", None)
        return (
            isinstance(output, LazyTensor) and output.is_lazy() and trail is not None and trail.rows is rows
        )

    return rows, (_aten.tanh_backward.default,), fits, 0.0


STEPS: dict[Any, Callable[..., Change | None]] = {
    _aten.alias.default: _no_change,
    _aten.detach.default: _no_change,
    _aten.clone.default: _clone,
    **dict.fromkeys(VIEWS, _view),
    _aten.slice.Tensor: _along(_aten.slice.Tensor, _aten.slice_backward.default, _positions),
    _aten.select.int: _along(_aten.select.int, _aten.select_backward.default, _position),
    _aten.index.Tensor: _index,
    _aten._to_copy.default: _to_copy,
    _aten.mul.Tensor: _scale(_aten.mul.Tensor, _inverse),
    _aten.div.Tensor: _scale(_aten.div.Tensor, float),
    _aten.tanh.default: _tanh,
}
