"""What lies between a linear head's product and some logits. In: operations. Out: what they do to the rows.

Models reshape, select, convert, scale and cap their logits before the loss. None of this needs the logits: it
acts on the rows, which the features have too, or is a temperature or a softcap of the loss. `Step` describes
one such operation, and the operation that its backward pass consists of. What has no entry in `STEPS`
materializes the logits.

Gradients take the same way back: PyTorch's own node of an operation calls its backward operation on a lazy
gradient, and where that is the one the last step expects, the step is taken off.
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

__all__ = ["STEPS", "VIEWS", "Source", "Step", "Zeros", "canon_of", "digest", "pulled_back", "rows_of"]

_aten = torch.ops.aten
_CPU = torch.device("cpu")


# --- the product --------------------------------------------------------------------------------------------


def digest(t: Tensor | None) -> int:
    """A number of all bits of a tensor: another one after any write, whether or not a version counts it."""
    if t is None:
        return 0
    return core.digest(t.detach().resolve_neg())


class Source:
    """x, weight and bias of one call of a head, and what they were then: ``z = x @ weight.T + bias``.

    Their memory is held, not the parameters: a parameter whose ``data`` is set to another tensor, as by
    ``Module.to``, leaves it as it is.
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
        """x, weight and bias, if they are what they were bit for bit."""
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
    """One operation on logits; with those before it, the trail from the product to where they are now."""

    before: Step | None
    rows: Callable[[Tensor], Tensor]  # what it does to the features
    backward: tuple[Any, ...]  # its backward operation, by one of these names,
    fits: Callable[..., bool]  # if it has these arguments
    divisor: float = 1.0  # what it divides the logits by; 0 for tanh


# (rows, backward, fits, divisor) of a step; () of an operation that changes neither numbers nor rows.
Change = tuple[Any, ...]


def _all(trail: Step | None) -> list[Step]:
    """The steps of a trail, from the product on."""
    steps = []
    while trail is not None:
        steps.append(trail)
        trail = trail.before
    return steps[::-1]


def rows_of(trail: Step | None, x: Tensor) -> Tensor:
    """The features of the rows that logits have after these steps."""
    for step in _all(trail):
        x = step.rows(x)
    return x


def pulled_back(trail: Step | None, shape: Any, dx: Tensor) -> Tensor:
    """The gradient in features of this shape from that in their rows after these steps."""
    if trail is None:
        return dx
    with torch.enable_grad():
        x = dx.new_zeros(()).expand(shape).requires_grad_()  # its values do not matter
        rows = rows_of(trail, x)
    return torch.autograd.grad(rows, x, dx.reshape(rows.shape))[0].contiguous()


def canon_of(trail: Step | None) -> tuple[float, float | None]:
    """Temperature and softcap of a loss of the product that is one of the logits after these steps.

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


# --- what may come between the product and the loss ---------------------------------------------------------

VIEWS = _aten.view.default, _aten._reshape_alias.default, _aten._unsafe_view.default


class Zeros(LazyTensor):
    """Zeros that the backward pass of a selection by tensors puts its gradient into."""


def _nothing(z: LazyTensor, *_: Any, **__: Any) -> Change:  # noqa: ARG001
    return ()


def _clone(z: LazyTensor, *, memory_format: Any = None) -> Change | None:  # noqa: ARG001
    """``z.contiguous()``. A plain ``z.clone()`` asks for the numbers as they are now."""
    return None if memory_format is None else ()


def _view(z: LazyTensor, shape: Any, *_: Any) -> Change | None:
    """Another shape of the rows."""
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
    """An operation along one axis, which may be any but the last; ``key`` of its arguments: which rows."""

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
    """Rows chosen by tensors."""
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
    """The same numbers in float32, which is the least that their loss is computed in."""
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
    """Multiplied with, or divided by, a positive number."""

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

    def fits(_: Any, output: Any) -> bool:  # the one that this step has made: its function is of its own
        trail = getattr(output, "trail", None)
        return (
            isinstance(output, LazyTensor) and output.is_lazy() and trail is not None and trail.rows is rows
        )

    return rows, (_aten.tanh_backward.default,), fits, 0.0


STEPS: dict[Any, Callable[..., Change | None]] = {
    _aten.alias.default: _nothing,
    _aten.detach.default: _nothing,
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
