"""The usual calls by the shortest way: a matrix of logits and its class indices in CPU memory, no options.

In: tensors. Out: the result, or None where a call is not so usual, or wrong: then `calls` takes it, and
says what is wrong. For three logits the way of a call is all that it costs, so nothing is made here but the
result: the core reads the tensors themselves, and says by an exception that it cannot.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from .autograd import loss_gradient
from .kernels import Options
from .tensors import is_transformed

try:
    from lastlayer import _core
except ImportError:  # without the compiled core nothing is usual
    _core = None  # type: ignore[assignment]

__all__ = ["cross_entropy", "softmax"]

_KINDS = (Tensor, torch.nn.Parameter)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_compiling = torch.compiler.is_compiling
_watchers = torch._C._len_torch_dispatch_stack
_records = torch.is_grad_enabled
_threads = torch.get_num_threads
_float32, _float64 = torch.float32, torch.float64


def _is_usual(x: Any) -> bool:
    """Whether the core can read ``x`` now, and nobody but autograd's backward pass wants to know."""
    return (
        type(x) in _KINDS
        and x.is_cpu
        and x.dtype in _FLOATS
        and _core is not None
        and not _compiling()
        and not is_transformed()
        and forward_ad._current_level < 0
        and not _watchers()
    )


def cross_entropy(x: Tensor, y: Any, axis: Any, ignore_index: Any, reduction: Any) -> Tensor | None:
    """``lastlayer.cross_entropy`` of a matrix and one class index a row."""
    if (
        not (reduction == "mean" or reduction == "sum")
        or type(axis) is not int
        or not (axis == -1 or axis == 1)
        or type(y) is not Tensor
        or not _is_usual(x)
        or x.dim() != 2
        or y.dim() != 1
    ):
        return None
    if x.requires_grad and _records():
        try:
            return _apply(x, y, ignore_index, reduction)  # type: ignore[no-any-return, no-untyped-call]
        except UnusualError:
            return None
    found = _value(x, y, ignore_index, reduction)
    return None if found is None else found[0]


def _value(x: Tensor, y: Tensor, ignore_index: Any, reduction: Any) -> tuple[Tensor, float] | None:
    """The loss, and what the sum of the rows' losses was multiplied with."""
    try:
        bad, total = _core.target_totals(y, x.size(1), ignore_index, None, None)
        if bad >= 0:
            return None
        scale = 1.0 if reduction == "sum" else 1.0 / total if total else 0.0
        loss = _core.cross_entropy(
            x, 1, False, 1.0, 0.0, y, False, False, None, None, ignore_index, 1.0, 0.0, 0.0, scale,
            0, None, None, _threads(),
        )  # fmt: skip
    except (ValueError, TypeError, RuntimeError, BufferError):
        return None
    return torch.scalar_tensor(loss, dtype=_float64 if x.dtype is _float64 else _float32), scale


class UnusualError(Exception):
    """A call for `calls`."""


class CrossEntropy(Function):
    """(x, y, ignore_index, reduction) -> loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, ignore_index: Any, reduction: Any) -> Tensor:
        found = _value(x, y, ignore_index, reduction)
        if found is None:
            raise UnusualError
        ctx.save_for_backward(x, y)
        ctx.ignore_index, ctx.reduction, ctx.scale = ignore_index, reduction, found[1]
        return found[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        if _records() or not (type(grad) is Tensor and _is_usual(x) and not _is_batched(grad)):
            o = Options("cross_entropy", 1, ctx.ignore_index, reduction=ctx.reduction)
            return loss_gradient(grad, (x, y, None, None), o), None, None, None
        scale = ctx.scale * grad.item()
        if scale == 0.0:
            return torch.zeros_like(x), None, None, None
        dx = torch.empty_like(x)
        _core.cross_entropy(
            x, 1, False, 1.0, 0.0, y, False, False, None, None, ctx.ignore_index, 1.0, 0.0, 0.0, scale,
            1, None, dx, _threads(),
        )  # fmt: skip
        return dx, None, None, None


_is_batched = torch._C._functorch.is_legacy_batchedtensor
# Function.apply without what it does for torch.func, which is not at work here.
_apply = super(Function, CrossEntropy).apply


def softmax(x: Tensor, axis: Any, log: bool) -> Tensor | None:
    """``lastlayer.softmax`` or ``log_softmax`` along one axis, where no gradient is recorded."""
    if type(axis) is not int or not _is_usual(x) or (x.requires_grad and _records()):
        return None
    ndim = x.dim()
    if not -ndim <= axis < ndim:
        return None
    out = torch.empty_like(x)
    try:
        _core.softmax(x, axis % ndim, out, log, None, 1.0, 0.0, False, _threads())
    except (ValueError, TypeError, RuntimeError, BufferError):
        return None
    return out
