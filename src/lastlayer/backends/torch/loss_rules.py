"""How the losses are differentiated: a `Rule` for the loss, and one for its gradient. See `rule`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from lastlayer.options import Options

from . import kernels
from .choice import on_core
from .rule import Rule, along_rows, call, ones_of_rows
from .targets import Target
from .tensors import in_memory, wide

__all__ = ["Loss", "LossBackward", "SoftLoss", "loss_gradient"]


_TENSORS = 1 + len(Target._fields)  # the scores and the target


class _Batch(NamedTuple):
    """A batch of losses (under vmap) of class indices without weights, as one loss with more rows."""

    x: Tensor  # batch axis first
    y: Tensor
    options: Options
    counts: Tensor | None  # for "mean": how many rows of each loss are not ignored


def _batch_of(size: int, in_dims: Any, args: Any) -> _Batch | None:
    """``args``: x, target, options. None if the core cannot compute the batch or an index is out of range."""
    x, y, *others, o = args
    if any(t is not None for t in others) or o.denominator is not None or y.is_floating_point():
        return None
    x, y = (
        t.expand(size, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip((x, y), in_dims[:2], strict=True)
    )
    rows = o._replace(axis=o.axis % (x.ndim - 1) + 1, reduction="none")
    if y.ndim != x.ndim - 1 or not (on_core(x) and kernels.in_range(x, y, rows)):
        return None
    if o.reduction != "mean":
        return _Batch(x, y, rows, None)
    kept = torch.ones_like(y) if o.ignore_index is None else y != o.ignore_index
    return _Batch(x, y, rows, kept.reshape(size, -1).sum(1))


class Loss(Rule):
    """(x, *target, options) -> loss; differentiable in x."""

    @staticmethod
    def run(x: Tensor, *args: Any) -> Tensor:
        *target, o = args
        return kernels.loss(x, Target(*target), o)

    @staticmethod
    def run_and_keep(x: Tensor, *args: Any) -> Any:
        *target, o = args
        return kernels.loss_and_kept(x, Target(*target), o)

    @staticmethod
    def composed(x: Tensor, *args: Any) -> Tensor:
        *target, o = args
        return kernels.composed_loss(x, Target(*target), o)

    @staticmethod
    def batched(size: int, in_dims: Any, args: Any) -> Any:
        batch = _batch_of(size, in_dims, args)
        if batch is None:
            return None
        losses = call(Loss, batch.x, batch.y, *args[2:-1], batch.options)
        if args[-1].reduction == "none":
            return losses
        total = losses.reshape(size, -1).sum(1)
        return total if batch.counts is None else total / batch.counts.clamp(min=1)

    @staticmethod
    def saved(args: Any, _: Any) -> Any:
        return args[:-1]

    @staticmethod
    def options(args: Any) -> Any:
        return args[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        saved = ctx.saved_tensors  # read once: checkpointing refuses a second time
        tensors, kept = saved[:_TENSORS], saved[_TENSORS:]
        if kept and not torch.is_grad_enabled():
            x, *target = tensors
            dx = kernels.composed_gradient(grad, x, Target(*target), ctx.options, kept)
        else:
            dx = loss_gradient(grad, tensors, ctx.options)
        return dx, *(None,) * _TENSORS

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        x, o = ctx.saved_tensors[0], ctx.options
        per_row = o.reduction == "none"
        ones = ones_of_rows(x, o.axis) if per_row else torch.ones((), dtype=wide(x.dtype), device=x.device)
        rows = along_rows(loss_gradient(ones, ctx.saved_tensors, o), tangent, o.axis)
        return rows if per_row else rows.sum()


def loss_gradient(grad: Tensor, tensors: Any, o: Options) -> Tensor:
    """d(grad . loss)/dx, differentiable. ``tensors``: x and the tensors of a target."""
    return call(LossBackward, grad, *tensors, o)  # type: ignore[no-any-return]


class SoftLoss(Function):
    """(x, q, class_weight, sample_weight, options) -> loss of dense targets; differentiable in x and q."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, q: Tensor, w: Any, s: Any, o: Options) -> Tensor:
        ctx.save_for_backward(x, q, w, s)
        ctx.options = o
        return kernels.loss(x, Target(q, w, s), o)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, *target = ctx.saved_tensors
        t, o, wanted = Target(*target), ctx.options, ctx.needs_input_grad[:2]
        found = None
        if not torch.is_grad_enabled() and in_memory(grad):
            found = kernels.soft_gradients(grad, x, t, o, wanted)
        if found is None:  # double backward, batched gradients, or infinite log-probabilities
            graph = torch.is_grad_enabled()
            with torch.enable_grad():
                if not graph:
                    x, t = x.detach().requires_grad_(), t._replace(y=t.y.detach().requires_grad_())
                value = kernels.composed_loss(x, t, o)
                leaves = [leaf for leaf, want in zip((x, t.y), wanted, strict=True) if want]
                each = iter(torch.autograd.grad(value, leaves, grad, create_graph=graph))
            found = [next(each) if want else None for want in wanted]
        return *found, None, None, None


class LossBackward(Rule):
    """(grad, x, *target, options) -> dx."""

    @staticmethod
    def run(grad: Tensor, x: Tensor, *args: Any) -> Tensor:
        *target, o = args
        return kernels.loss_gradient(grad, x, Target(*target), o)

    @staticmethod
    def composed(grad: Tensor, x: Tensor, *args: Any) -> Tensor:
        *target, o = args
        return kernels.composed_gradient(grad, x, Target(*target), o)

    @staticmethod
    def batched(size: int, in_dims: Any, args: Any) -> Any:
        batch = _batch_of(size, in_dims[1:], args[1:])
        if batch is None:
            return None
        grad = args[0].expand(size, *args[0].shape) if in_dims[0] is None else args[0].movedim(in_dims[0], 0)
        if args[-1].reduction != "none":  # one for each row
            grad = grad if batch.counts is None else grad / batch.counts.clamp(min=1)
            grad = grad.reshape(size, *(1,) * (batch.y.ndim - 1)).expand(batch.y.shape)
        return call(LossBackward, grad, batch.x, batch.y, *args[3:-1], batch.options)

    @staticmethod
    def saved(args: Any, _: Any) -> Any:
        return args[:-1]

    @staticmethod
    def options(args: Any) -> Any:
        return args[-1]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        grad, x, *target = ctx.saved_tensors
        no_gradients = (None,) * (len(target) + 1)
        only_scores = not (torch.is_grad_enabled() or ctx.needs_input_grad[0])
        if only_scores:  # and no third derivative: the normal case
            second = kernels.loss_hessian_product(u, grad, x, Target(*target), ctx.options)
            if second is not None:
                return None, second, *no_gradients
        return *kernels.loss_double_backward(u, grad, x, Target(*target), ctx.options), *no_gradients

    @staticmethod
    def jvp(ctx: Any, grad_t: Any, x_t: Any, *_: Any) -> Any:
        grad, x, *target = ctx.saved_tensors
        total: Any = 0.0
        if grad_t is not None:
            total = call(LossBackward, grad_t, x, *target, ctx.options)
        if x_t is not None:  # the second derivative is symmetric
            total = total + kernels.loss_double_backward(x_t, grad, x, Target(*target), ctx.options)[1]
        return total
