"""How losses and softmax of the kernels in Triton are differentiated, and their fast path.

In: tensors that the kernels can compute. Out: differentiable tensors.

The gradient of a mean or sum is computed with the loss, in one pass over the logits; the backward pass
multiplies it by grad_output, which the kernel reads on the device. Where that is not possible (see
`_with_gradient`), statistics of the rows are saved, and the backward pass computes the gradient from them.
Second derivatives and batched gradients are left to `loss_rules` and `softmax_rules`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lastlayer.options import Options

from . import choice
from .choice import has_address, is_usual_for_kernels, may_use_kernels
from .composed import Form
from .loss_rules import loss_gradient
from .rule import call
from .softmax_rules import SoftmaxBackward
from .targets import Target
from .tensors import is_autocast, is_kept_elsewhere, is_transformed

__all__ = ["differentiable_loss", "loss", "softmax", "tracks_only_backward", "with_gradient_in_graph"]

_records = torch.is_grad_enabled
_compiling = torch.compiler.is_compiling
_watchers = torch._C._len_torch_dispatch_stack
# Whether the graph of the backward pass that is running is kept; True outside of one.
_keeps_graph = torch._C._autograd._get_current_graph_task_keep_graph
_float16, _HALVES = torch.float16, (torch.float16, torch.bfloat16)
_INDICES = frozenset(getattr(torch, f"{u}int{n}") for u in ("", "u") for n in (64, 32, 16, 8))
_new = tuple.__new__
_PARTS = len(Target._fields)
_MOST = 1 << 63


# --- losses -------------------------------------------------------------------------------------------------


def tracks_only_backward(x: Tensor) -> bool:
    """Whether autograd records operations on ``x`` for a backward pass, and for nothing else."""
    return x.requires_grad and _records() and forward_ad._current_level < 0 and not is_transformed()


def differentiable_loss(x: Tensor, target: Target, form: Form, o: Options | None = None) -> Tensor:
    """The cross-entropy, differentiable in ``x`` only."""
    return _apply_loss(x, target, form, o)  # type: ignore[no-any-return]


_forms: dict[tuple[int, int | None, str], Form] = {}


def loss(function: str, x: Tensor, y: Tensor, axis: int, ignore_index: Any, reduction: str) -> Tensor | None:
    """``lastlayer.cross_entropy`` with one class index per row; None if a call is not simple.

    `fast_path.loss` has checked the types and the axis, and the shape of more than one axis of rows.
    """
    if not is_usual_for_kernels(x) or function != "cross_entropy":
        return None
    shape = x.shape
    if shape[axis] == 0 or (len(shape) == 2 and shape[1 - axis] != y.shape[0]):
        return None
    if y.dtype not in _INDICES or y.get_device() != x.get_device() or not has_address(y):
        return None
    form = _forms.get((axis, ignore_index, reduction))
    if form is None or type(ignore_index) is not type(form.ignore_index):
        if not (ignore_index is None or (type(ignore_index) is int and -_MOST <= ignore_index < _MOST)):
            return None
        form = Form(axis, ignore_index=ignore_index, reduction=reduction)
        _forms[axis, ignore_index, reduction] = form
    target = _new(Target, (y, None, None, None, None))
    if x.requires_grad and _records():
        return _apply_loss(x, target, form, None)  # type: ignore[no-any-return]
    return choice.kernels.cross_entropy(x, target, form)  # type: ignore[no-any-return]


class KernelLoss(Function):
    """(x, target, form, options) -> loss, differentiable in x.

    Options None: all defaults but those in the form, and a target without weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Target, form: Form, o: Options | None) -> Tensor:
        tensors = (x, target[0]) if o is None else (x, *target)
        dx = None
        if _with_gradient(x, form):
            loss, dx = choice.kernels.cross_entropy_and_gradient(x, target, form)
            ctx.save_for_backward(*tensors)
        else:
            loss, kept = choice.kernels.cross_entropy_and_statistics(x, target, form)
            ctx.save_for_backward(*tensors, *kept)
        ctx.call = form, o, dx
        return loss  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        saved = ctx.saved_tensors  # raises if one of them was written to
        form, o, dx = ctx.call
        if _is_plain(grad) and dx is not None:
            once = not _keeps_graph()
            if once:  # else another backward pass may follow, which needs the same numbers
                ctx.call = form, o, None
            return choice.kernels.scaled(dx, grad, once), None, None, None
        count = 1 if o is None else _PARTS
        x, target, kept = saved[0], Target(*saved[1 : 1 + count]), saved[1 + count :]
        if _is_plain(grad):
            return choice.kernels.gradient(grad, x, target, form, kept or None), None, None, None
        o = o or Options("cross_entropy", form.axis, form.ignore_index, reduction=form.reduction)
        return loss_gradient(grad, (x, *target), o), None, None, None


def _with_gradient(x: Tensor, form: Form) -> bool:
    """Whether the gradient is computed with the loss.

    Not for the losses of rows, whose grad_output is not one number; not in float16, where gradients underflow
    unless they are scaled before they are rounded; and not under hooks on saved tensors.
    """
    return form.reduction != "none" and x.dtype is not _float16 and not is_kept_elsewhere()


def with_gradient_in_graph(x: Tensor, o: Options) -> bool:
    """Whether an operation of a compiled graph computes the gradient with the loss, as `_with_gradient`.

    Not in an exported program: few of these are trained.
    """
    return (
        o.function == "cross_entropy"
        and (o.reduction == "mean" or o.reduction == "sum")
        and may_use_kernels(x)
        and x.requires_grad
        and _records()
        and (x.dtype is torch.float32 or x.dtype is torch.bfloat16)
        and _compiling()
        and not torch.compiler.is_exporting()
    )


def _is_plain(grad: Tensor) -> bool:
    """Whether a backward pass is the usual one, and a kernel can read its grad_output."""
    return (
        not _records()
        and type(grad) is Tensor
        and not _compiling()
        and not _watchers()
        and forward_ad._current_level < 0
        and not is_transformed()
        and not grad.is_neg()
        and has_address(grad)
    )


# --- softmax ------------------------------------------------------------------------------------------------


def softmax(x: Tensor, axis: int, log: bool) -> Tensor | None:
    """``lastlayer.softmax`` or ``log_softmax``; None if a call is not simple. ``axis`` is not negative."""
    if not is_usual_for_kernels(x) or (x.dtype in _HALVES and not x.is_cpu and is_autocast(x)):
        return None
    if x.requires_grad and _records():
        return _apply_softmax(x, axis, log)  # type: ignore[no-any-return]
    return choice.kernels.softmax(x, None, axis, 1.0, log)  # type: ignore[no-any-return]


class KernelSoftmax(Function):
    """(x, axis, log) -> softmax or log-softmax."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, log: bool) -> Tensor:
        y = choice.kernels.softmax(x, None, axis, 1.0, log)
        ctx.save_for_backward(y)
        ctx.axis, ctx.log = axis, log
        return y  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        if not _is_plain(grad):
            return call(SoftmaxBackward, grad, y, None, ctx.axis, 1.0, ctx.log), None, None
        return choice.kernels.softmax_backward(grad, y, None, ctx.axis, 1.0, ctx.log), None, None


# The base class's `apply`: it skips the support for torch.func, which is not active on this path.
_apply_loss: Any = super(Function, KernelLoss).apply
_apply_softmax: Any = super(Function, KernelSoftmax).apply
