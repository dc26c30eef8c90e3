"""The linear head on few logits: they are computed as a whole. In: tensors. Out: the loss and its gradients.

For a small problem (`plan.is_small`) the overhead of the loop over tiles would exceed its work. The loss is
that of ``x @ weight.T + bias`` by the core, the backward pass three products. As in the loop, float16 is
multiplied as float32, inactive rows may hold infinities and NaN, and in float32 and float64 the targets'
entries of the logits' gradient are left out of the products and added last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lastlayer.linear import plan
from lastlayer.options import Options

from . import fast_path, head_autograd, kernels
from .choice import is_usual
from .head_call import Call, is_narrow
from .targets import Target
from .tensors import in_memory

__all__ = ["is_small", "loss", "loss_and_gradients", "usual_loss"]

_linear = torch.nn.functional.linear
_on_autocast = torch.is_autocast_enabled
_float16, _int64 = torch.float16, torch.int64
_records = torch.is_grad_enabled
_KINDS = (torch.Tensor, torch.nn.Parameter)


def is_small(call: Call) -> bool:
    """Whether the logits are computed as a whole; of top-k targets the loop adds the listed entries last."""
    x, target = call.x, call.target
    if target is None or target.is_top_k:
        return False
    return plan.planner.is_small(x.numel() // max(1, x.shape[-1]), call.weight.shape[0], call.memory)


# --- any options --------------------------------------------------------------------------------------------


class _Loss(Function):
    """(x, weight, bias, call) -> loss, or the loss of each row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: Call) -> Tensor:
        z = _logits(x, weight, bias)
        assert call.target is not None
        value = kernels.loss(z, call.target, call.options)
        ctx.save_for_backward(*call.tensors, z)
        ctx.call = call.without_tensors()
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        *tensors, z = ctx.saved_tensors
        call, wanted = ctx.call.of(tensors), ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or not in_memory(grad):  # double backward, or batched
            return *head_autograd.composed_gradients(call, {"loss": grad}, wanted), None
        g = kernels.loss_gradient(grad, z, call.target, call.options)
        return *_products(call, g, wanted), None


def loss(call: Call, tracked: bool) -> Tensor:
    """The loss of a small call."""
    if tracked:
        return _Loss.apply(*call[:3], call)  # type: ignore[no-any-return, no-untyped-call]
    assert call.target is not None
    return kernels.loss(_logits(*call[:3]), call.target, call.options)


def loss_and_gradients(call: Call, wanted: Any = (True, True, True)) -> tuple[Tensor, list[Tensor | None]]:
    """The loss of a small call, and those of its gradients in x, weight and bias that are wanted."""
    assert call.target is not None
    if not any(wanted):
        return loss(call, False), [None] * 3
    value, g = kernels.loss_and_gradient(_logits(*call[:3]), call.target, call.options)
    return value, _products(call, g, wanted)


def _logits(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if is_narrow(x):
        return _linear(x.float(), weight.float(), None if bias is None else bias.float())
    return _linear(x, weight, bias)


def _products(call: Call, g: Tensor, wanted: Any) -> list[Tensor | None]:
    """dx, dweight and dbias from the gradient of the logits."""
    x, weight, bias = (None if t is None else t.detach() for t in call[:3])
    assert x is not None
    call = call.aligned()  # each target at its row's own position
    assert call.target is not None
    y = call.target.y.reshape(-1) if call.target.y.ndim < x.ndim else None
    rows = g.reshape(-1, g.shape[-1])
    found = _three(rows, x.reshape(rows.shape[0], x.shape[-1]), weight, bias, wanted, y, True)
    if found[0] is not None:
        found[0] = found[0].reshape(x.shape)
    return found


def _three(
    g: Tensor, x: Any, weight: Any, bias: Tensor | None, wanted: Any, y: Any, check: bool
) -> list[Tensor | None]:
    """The three gradients; ``g`` is overwritten. ``check``: there may be inactive rows."""
    v, dtype = weight.shape[0], x.dtype
    active: Any = None
    if check and not (active := (g != 0).any(1, keepdim=True)).all():  # others may hold infinities
        x = torch.where(active, x, 0.0)
    else:
        active = None
    if dtype is not g.dtype:
        x, weight = x.to(g.dtype), weight.to(g.dtype)
    db = g.sum(0).to(dtype) if wanted[2] and bias is not None else None
    entry: Any = None
    if y is not None and v > plan.FEW and g.dtype is not torch.bfloat16:
        y = y.long().clamp(0, v - 1)  # of ignored rows any: their entries are 0
        entry = g.gather(1, y.unsqueeze(1))
        g.scatter_(1, y.unsqueeze(1), 0.0)
    dx = dw = None
    if wanted[0]:
        dx = g @ weight
        if entry is not None:
            dx.addcmul_(weight.index_select(0, y), entry)
        dx = (dx if active is None else torch.where(active, dx, 0.0)).to(dtype)
    if wanted[1]:
        dw = g.T @ x
        if entry is not None:
            dw.index_add_(0, y, x * entry)
        dw = dw.to(dtype)
    return [dx, dw, db]


# --- calls without options ----------------------------------------------------------------------------------


def usual_loss(
    x: Any, weight: Any, y: Any, bias: Any, ignore_index: Any, reduction: Any, shift: Any
) -> Tensor | None:
    """The loss of a matrix and one class index a row, without options; None for every other call."""
    if (
        not (reduction == "mean" or reduction == "sum" or reduction == "none")
        or type(shift) is not int
        or shift != 0
        or type(y) is not Tensor
        or y.dtype is not _int64
        or not is_usual(x)
        or x.dtype is _float16
        or type(weight) not in _KINDS
        or weight.dtype is not x.dtype
        or not (in_memory(x) and in_memory(weight))
        or not (x.dim() == weight.dim() == 2 and y.dim() == 1)
        or not plan.planner.is_small(n := x.size(0), v := weight.size(0), None)
        or not (bias is None or _is_bias(bias, weight))
        or _on_autocast("cpu")
    ):
        return None
    try:
        if _records() and (
            x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
        ):
            if v <= plan.FEW and fast_path.count_rows(y, v, ignore_index) == n:  # autograd's own products
                z = _linear(x, weight, bias)
                return fast_path.apply_loss(z, y, ignore_index, reduction, "cross_entropy", 1)  # type: ignore[no-any-return]
            return _apply_usual(x, weight, bias, y, ignore_index, reduction)  # type: ignore[no-any-return]
        return fast_path.loss_and_scale(_linear(x, weight, bias), y, ignore_index, reduction)[0]
    except fast_path._REFUSALS:
        return None


def _is_bias(bias: Any, weight: Tensor) -> bool:
    return type(bias) in _KINDS and bias.dtype is weight.dtype and in_memory(bias) and bias.dim() == 1


class _UsualLoss(Function):
    """(x, weight, bias, y, ignore_index, reduction) -> loss."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, ignore_index: Any, reduction: Any
    ) -> Tensor:
        z = _linear(x, weight, bias)
        peak, rest = fast_path.new_statistics(z)
        value, ctx.scale = fast_path.loss_and_scale(z, y, ignore_index, reduction, (peak, rest))
        ctx.save_for_backward(x, weight, bias, y, z, peak, rest)
        ctx.ignore_index, ctx.reduction = ignore_index, reduction
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight, bias, y, z, peak, rest = ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if _records() or not is_usual(x) or not fast_path.is_plain(grad):
            o = Options("linear_cross_entropy", -1, ctx.ignore_index, reduction=ctx.reduction)
            call = Call(x, weight, bias, Target(y), o, None)
            return *head_autograd.composed_gradients(call, {"loss": grad}, wanted), None, None, None
        g = fast_path.gradient_of(ctx, grad, z, y, peak, rest)
        full = ctx.reduction == "mean" and ctx.scale == 1.0 / x.size(0)  # no row is ignored
        return *_three(g, x, weight, bias, wanted, y, not full), None, None, None


_apply_usual: Any = super(Function, _UsualLoss).apply
