"""The fast path for simple calls: scores and class indices in CPU memory, default options.

In: tensors. Out: the result, or None if a call is not simple or has an error; `entry` then computes it or
raises the error. For a few logits the overhead of a call is all of its cost, so as little as possible is done
in Python: the core reads the tensors directly, and raises an exception if it cannot.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lastlayer.backends.core import core
from lastlayer.options import Options

from . import kernel_rules
from .choice import is_usual, may_use_kernels
from .loss_rules import loss_gradient
from .rule import call
from .softmax_rules import SoftmaxBackward
from .tensors import is_kept_elsewhere, new_like

__all__ = [
    "apply_loss",
    "gradient_of",
    "is_plain",
    "loss",
    "loss_and_scale",
    "new_statistics",
    "softmax",
]

_records = torch.is_grad_enabled
_threads = torch.get_num_threads
_float32, _float64 = torch.float32, torch.float64
# From this number of classes on, the rows' peak and rest are saved for the backward pass. With fewer classes,
# computing them again costs no more than reading them from memory.
_SAVED_FROM = 65
# Up to this number of classes, the gradient is computed with the loss: that costs less than reading logits
# and targets again.
_WITH_LOSS_UP_TO = 4


class NotSimpleError(Exception):
    """The call is not simple: `entry` has to take it."""


_REFUSALS = (NotSimpleError, ValueError, TypeError, RuntimeError, BufferError)  # the last four are the core's


# --- losses -------------------------------------------------------------------------------------------------

# The constants of `core` for the loss and for its gradient, by function. Looked up once, here.
_GRADIENT, _GRADIENT_ONLY = core.GRADIENT, core.GRADIENT_ONLY
_LOSSES = {
    "cross_entropy": (core.LOSS, _GRADIENT_ONLY),
    "nll_loss": (core.PICK, core.PICK_GRADIENT),
    "log_loss": (core.PICK_LOG, core.PICK_LOG_GRADIENT),
}


def loss(function: str, x: Tensor, y: Any, axis: Any, ignore_index: Any, reduction: Any) -> Tensor | None:
    """``lastlayer.cross_entropy``, ``nll_loss`` or ``log_loss`` with one class index per row."""
    if (
        not (reduction == "mean" or reduction == "sum" or reduction == "none")
        or type(axis) is not int
        or type(y) is not Tensor
        or y.dtype is torch.bool
    ):
        return None
    usual = is_usual(x)
    if not usual and not may_use_kernels(x):
        return None
    ndim = x.dim()
    if ndim < 2 or not -ndim <= axis < ndim or y.dim() != ndim - 1:
        return None
    axis %= ndim
    if ndim > 2 and y.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        return None
    if not usual:
        return kernel_rules.loss(function, x, y, axis, ignore_index, reduction)
    try:
        if x.requires_grad and _records():
            return apply_loss(x, y, ignore_index, reduction, function, axis)  # type: ignore[no-any-return]
        return loss_and_scale(x, y, ignore_index, reduction, _NOT_SAVED, function, axis)[0]
    except _REFUSALS:
        return None


_NOT_SAVED = (None, None)  # peak and rest are not wanted


def loss_and_scale(
    x: Tensor, y: Tensor, ignore_index: Any, reduction: Any, statistics: Any = _NOT_SAVED,
    function: str = "cross_entropy", axis: int = 1, gradient: Tensor | None = None,
) -> tuple[Tensor, float]:  # fmt: skip
    """The loss, and the scale by which the sum of the rows' losses was multiplied.

    Also fills ``statistics`` (peak and rest of each row) or the ``gradient`` of a cross-entropy, if given.
    """
    bad, total = core.target_totals(y, x.size(axis), ignore_index, None, None)
    if bad >= 0:
        raise NotSimpleError
    scale = 1.0 if reduction != "mean" else 1.0 / total if total else 0.0
    peak, rest = statistics  # no *: a call that unpacks takes a third longer
    wide = _float64 if x.dtype is _float64 else _float32
    losses = torch.empty(y.shape, dtype=wide) if reduction == "none" else None
    loss = core.cross_entropy(
        x, axis, False, 1.0, 0.0, y, False, False, None, None, ignore_index, 1.0, 0.0, 0.0, scale,
        _LOSSES[function][0] if gradient is None else _GRADIENT, losses, gradient, _threads(),
        peak, rest,
    )  # fmt: skip
    return torch.scalar_tensor(loss, dtype=wide) if losses is None else losses, scale


def count_rows(y: Tensor, classes: int, ignore_index: Any) -> float:
    """How many rows are not ignored; -1 if a class index is out of range."""
    bad, total = core.target_totals(y, classes, ignore_index, None, None)
    return float(total) if bad < 0 else -1.0


def new_statistics(x: Tensor, axis: int = 1) -> Any:
    """Memory for each row's peak and rest, with which the backward pass needs only one pass over a row."""
    if x.size(axis) < _SAVED_FROM:
        return None, None
    rows = x.numel() // x.size(axis)
    peak = torch.empty(rows, dtype=_float64 if x.dtype is _float64 else _float32)
    return peak, torch.empty(rows, dtype=_float64)


class Loss(Function):
    """(x, y, ignore_index, reduction, function, axis) -> loss."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, ignore_index: Any, reduction: Any, function: str, axis: int
    ) -> Tensor:
        peak = rest = ctx.found = None
        if function == "cross_entropy":
            if x.size(axis) <= _WITH_LOSS_UP_TO and reduction != "none" and not is_kept_elsewhere():
                ctx.found = new_like(x)
            else:
                peak, rest = new_statistics(x, axis)
        loss, ctx.scale = loss_and_scale(
            x, y, ignore_index, reduction, (peak, rest), function, axis, ctx.found
        )
        ctx.save_for_backward(x, y, peak, rest)
        ctx.ignore_index, ctx.reduction = ignore_index, reduction
        ctx.of = function, axis
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y, peak, rest = ctx.saved_tensors
        if _records() or not is_usual(x) or not is_plain(grad):
            function, axis = ctx.of
            o = Options(function, axis, ctx.ignore_index, reduction=ctx.reduction)
            return loss_gradient(grad, (x, y, None, None), o), None, None, None, None, None
        found, ctx.found = ctx.found, None
        if found is None or grad.item() != 1.0:  # not the first backward, or to be scaled before rounding
            found = gradient_of(ctx, grad, x, y, peak, rest, *ctx.of)
        return found, None, None, None, None, None


def gradient_of(
    ctx: Any, grad: Tensor, x: Tensor, y: Tensor, peak: Any, rest: Any,
    function: str = "cross_entropy", axis: int = 1,
) -> Tensor:  # fmt: skip
    """d(grad . loss)/dx. ``ctx`` has ignore_index, reduction and the scale from `loss_and_scale`."""
    scale, row_factors, kind = ctx.scale, None, _LOSSES[function][1]
    if kind == _GRADIENT_ONLY and x.size(axis) <= _WITH_LOSS_UP_TO and ctx.reduction != "none":
        kind = _GRADIENT  # the same bits as from the forward pass
    if ctx.reduction == "none":
        row_factors = grad.double().contiguous()  # passed to the core as sample weights
    else:
        scale *= grad.item()
        if scale == 0.0:
            return torch.zeros_like(x)
    dx = new_like(x)
    core.cross_entropy(
        x, axis, False, 1.0, 0.0, y, False, False, None, row_factors, ctx.ignore_index, 1.0, 0.0, 0.0, scale,
        kind, None, dx, _threads(), peak, rest,
    )  # fmt: skip
    return dx


# --- softmax ------------------------------------------------------------------------------------------------


def softmax(x: Tensor, axis: Any, log: bool) -> Tensor | None:
    """``lastlayer.softmax`` or ``log_softmax`` along one axis."""
    if type(axis) is not int:
        return None
    usual = is_usual(x)
    if not usual and not may_use_kernels(x):
        return None
    ndim = x.dim()
    if not -ndim <= axis < ndim:
        return None
    if not usual:
        return kernel_rules.softmax(x, axis % ndim, log)
    try:
        if x.requires_grad and _records():
            return _apply_softmax(x, axis % ndim, log)  # type: ignore[no-any-return]
        return _softmax(x, axis % ndim, log)
    except _REFUSALS:
        return None


def _softmax(x: Tensor, axis: int, log: bool) -> Tensor:
    out = new_like(x)
    core.softmax(x, axis, out, log, None, 1.0, 0.0, False, _threads())
    return out


class Softmax(Function):
    """(x, axis, log) -> softmax or log-softmax."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, log: bool) -> Tensor:
        y = _softmax(x, axis, log)
        ctx.save_for_backward(y)
        ctx.axis, ctx.log = axis, log
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if _records() or not is_usual(y) or not is_plain(grad):
            return call(SoftmaxBackward, grad, y, None, ctx.axis, 1.0, ctx.log), None, None
        dx = new_like(y)
        core.softmax_backward(grad, y, ctx.axis, dx, ctx.log, False, _threads())
        return dx, None, None


def is_plain(grad: Tensor) -> bool:
    """Whether the core can read a gradient directly: not batched, in CPU memory, not a negative view."""
    if type(grad) is not Tensor or not grad.is_cpu or _is_batched(grad):
        return False
    return not grad.is_neg() and not grad._is_zerotensor()


_is_batched = torch._C._functorch.is_legacy_batchedtensor
# The base class's `apply`: it skips the support for torch.func, which is not active on this path.
apply_loss: Any = super(Function, Loss).apply
_apply_softmax: Any = super(Function, Softmax).apply
