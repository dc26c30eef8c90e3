"""How each function is differentiated. In: tensors and options. Out: tensors that autograd knows.

A `Rule` says what a function computes, what its backward pass needs, and the derivatives of it. `call` runs
one the cheapest way that the moment allows: without autograd where nothing is to be differentiated, as a
plain ``autograd.Function`` for ``backward()``, and as one that `torch.func` can transform inside its
transforms, which costs several times as much.

Backward passes keep the inputs and recompute the rest from them (softmax keeps its own result): never a copy
of the logits' size. Each is itself a rule, so derivatives of derivatives are rules or PyTorch's operations.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lastlayer.options import Options

from . import composed, kernels
from .choice import on_core
from .composed import Form
from .losses import Target
from .tensors import in_memory, is_transformed, tracks, wide

__all__ = ["call"]


class Rule:
    """One function: subclasses give the static methods below; ``*args`` is always what ``run`` takes."""

    plain: type[Function]
    transformed: type[Function]

    run: Any  # (*args) -> Tensor
    composed: Any  # (*args) -> Tensor: the same in PyTorch's operations, for vmap
    saved: Any  # (args, output) -> tensors that backward and jvp need
    options: Any  # (args) -> what else they need
    backward: Any  # (ctx, grad) -> gradients of args
    jvp: Any  # (ctx, *tangents) -> tangent of the output

    @staticmethod
    def batched(size: int, in_dims: Any, args: Any) -> Any:  # noqa: ARG004
        """The output of a batch, along axis 0, without vmap; None: it has to be composed."""
        return None

    def __init_subclass__(cls) -> None:
        def keep(ctx: Any, inputs: Any, output: Any) -> None:
            tensors = cls.saved(inputs, output)
            ctx.save_for_backward(*tensors)
            if forward_ad._current_level >= 0 or is_transformed():
                ctx.save_for_forward(*tensors)
            ctx.options = cls.options(inputs)

        class Plain(Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                output = cls.run(*args)
                if forward_ad._current_level >= 0 and output._is_view():
                    output = output.clone()  # forward mode cannot tell whose view it is
                keep(ctx, args, output)
                return output

            backward = staticmethod(cls.backward)
            jvp = staticmethod(cls.jvp)

        class Transformed(Function):
            forward = staticmethod(cls.run)
            setup_context = staticmethod(keep)
            backward = staticmethod(cls.backward)
            jvp = staticmethod(cls.jvp)

            @staticmethod
            def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
                found = cls.batched(info.batch_size, in_dims, args)
                return (torch.vmap(cls.composed, in_dims=in_dims)(*args) if found is None else found), 0

        Plain.__name__ = Plain.__qualname__ = cls.__name__
        Transformed.__name__ = Transformed.__qualname__ = cls.__name__
        cls.plain, cls.transformed = Plain, Transformed


def call(rule: type[Rule], *args: Any) -> Any:
    """``rule.run(*args)``, differentiable where that is asked for."""
    if is_transformed():
        return rule.transformed.apply(*args)  # type: ignore[no-untyped-call]
    if tracks(*(x for x in args if isinstance(x, Tensor))):
        return rule.plain.apply(*args)  # type: ignore[no-untyped-call]
    return rule.run(*args)


# --- softmax ------------------------------------------------------------------------------------------------


class Softmax(Rule):
    """(x, where, axis, temperature, log) -> softmax or log-softmax."""

    @staticmethod
    def run(x: Tensor, where: Any, axis: int, temperature: float, log: bool) -> Tensor:
        return kernels.softmax(x, where, axis, temperature, log)

    @staticmethod
    def composed(x: Tensor, where: Any, axis: int, temperature: float, log: bool) -> Tensor:
        return composed.softmax(x, axis, where, temperature, log)

    @staticmethod
    def saved(args: Any, output: Tensor) -> Any:
        return output, args[1]

    @staticmethod
    def options(args: Any) -> Any:
        return args[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        y, where = ctx.saved_tensors
        return call(SoftmaxBackward, grad, y, where, *ctx.options), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:
        y, where = ctx.saved_tensors
        axis, temperature, log = ctx.options
        if not log:  # the Jacobian is symmetric
            return call(SoftmaxBackward, tangent, y, where, axis, temperature, log)
        p = torch.exp(y.to(wide(y.dtype)))
        along = (p * tangent).sum(axis, keepdim=True)
        slope = ((tangent - along) / temperature).to(y.dtype)
        return slope if where is None else torch.where(where, slope, 0.0)


class SoftmaxBackward(Rule):
    """(grad, y, where, axis, temperature, log) -> dx."""

    run = staticmethod(kernels.softmax_backward)
    composed = staticmethod(composed.softmax_backward)

    @staticmethod
    def saved(args: Any, _: Any) -> Any:
        return args[:3]

    @staticmethod
    def options(args: Any) -> Any:
        return args[3:]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        return *composed.softmax_curvature(u, *ctx.saved_tensors, *ctx.options), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, grad_t: Any, y_t: Any, *_: Any) -> Any:
        grad, y, where = ctx.saved_tensors
        axis, temperature, log = ctx.options
        total: Any = 0.0
        if grad_t is not None:
            total = call(SoftmaxBackward, grad_t, y, where, axis, temperature, log)
        if y_t is not None:
            g, v = grad.to(wide(y.dtype)), y_t.to(wide(y.dtype))
            p = y.to(wide(y.dtype))
            if log:
                g = g if where is None else torch.where(where, g, 0.0)
                along = -torch.exp(p) * v * g.sum(axis, keepdim=True)
            else:
                along = v * (g - (g * p).sum(axis, keepdim=True)) - p * (g * v).sum(axis, keepdim=True)
            total = total + (along / temperature).to(y.dtype)
        return total


class LogSumExp(Rule):
    """(x, where, form) -> lse, one number a row."""

    run = staticmethod(kernels.logsumexp)

    @staticmethod
    def composed(x: Tensor, where: Any, form: Form) -> Tensor:
        return composed.logsumexp(x, form, where)

    @staticmethod
    def saved(args: Any, _: Any) -> Any:
        return args[:2]

    @staticmethod
    def options(args: Any) -> Any:
        return args[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, where = ctx.saved_tensors
        return call(LogSumExpBackward, grad, x, where, ctx.options), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        x, where = ctx.saved_tensors
        return along_rows(
            call(LogSumExpBackward, ones_of_rows(x, ctx.options.axis), x, where, ctx.options),
            tangent,
            ctx.options.axis,
        )


class LogSumExpBackward(Rule):
    """(grad, x, where, form) -> dx."""

    run = staticmethod(kernels.logsumexp_backward)

    @staticmethod
    def composed(grad: Tensor, x: Tensor, where: Any, form: Form) -> Tensor:
        return composed.logsumexp_backward(grad, x, form, where)

    @staticmethod
    def saved(args: Any, _: Any) -> Any:
        return args[:3]

    @staticmethod
    def options(args: Any) -> Any:
        return args[3]

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        grad, x, where = ctx.saved_tensors
        form = ctx.options
        return *composed.logsumexp_curvature(u, grad, x, where, form), None, None

    @staticmethod
    def jvp(ctx: Any, grad_t: Any, x_t: Any, *_: Any) -> Any:
        grad, x, where = ctx.saved_tensors
        total: Any = 0.0
        if grad_t is not None:
            total = call(LogSumExpBackward, grad_t, x, where, ctx.options)
        if x_t is not None:  # the second derivative is symmetric
            total = total + composed.logsumexp_curvature(x_t, grad, x, where, ctx.options)[1]
        return total


# --- losses -------------------------------------------------------------------------------------------------


class _Batch(NamedTuple):
    """A batch of losses of class indices without weights, as the losses of all its rows."""

    x: Tensor  # batch first
    y: Tensor
    options: Options
    counts: Tensor | None  # of "mean": the rows of each member that are not ignored


def _batch_of(size: int, in_dims: Any, args: Any) -> _Batch | None:
    """``args``: x, a target, options. None where the core cannot compute it or a class is out of range."""
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
        return loss_gradient(grad, ctx.saved_tensors, ctx.options), *(None,) * len(ctx.saved_tensors)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        x, o = ctx.saved_tensors[0], ctx.options
        none = o.reduction == "none"
        ones = ones_of_rows(x, o.axis) if none else torch.ones((), dtype=wide(x.dtype), device=x.device)
        rows = along_rows(loss_gradient(ones, ctx.saved_tensors, o), tangent, o.axis)
        return rows if none else rows.sum()


def loss_gradient(grad: Tensor, tensors: Any, o: Options) -> Tensor:
    """d(grad . loss)/dx, differentiable; ``tensors``: x and a target's."""
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
        if found is None:  # to be differentiated again, many at once, or with infinite numbers
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
        nothing = (None,) * (len(target) + 1)
        if not (
            torch.is_grad_enabled() or ctx.needs_input_grad[0]
        ):  # the usual: only of the scores, and once
            second = kernels.loss_hessian(u, grad, x, Target(*target), ctx.options)
            if second is not None:
                return None, second, *nothing
        return *kernels.loss_curvature(u, grad, x, Target(*target), ctx.options), *nothing

    @staticmethod
    def jvp(ctx: Any, grad_t: Any, x_t: Any, *_: Any) -> Any:
        grad, x, *target = ctx.saved_tensors
        total: Any = 0.0
        if grad_t is not None:
            total = call(LossBackward, grad_t, x, *target, ctx.options)
        if x_t is not None:  # the second derivative is symmetric
            total = total + kernels.loss_curvature(x_t, grad, x, Target(*target), ctx.options)[1]
        return total


# --- rows ---------------------------------------------------------------------------------------------------


def ones_of_rows(x: Tensor, axis: int) -> Tensor:
    """One for each row."""
    axis = axis % x.ndim
    return torch.ones(x.shape[:axis] + x.shape[axis + 1 :], dtype=wide(x.dtype), device=x.device)


def along_rows(unit: Tensor, tangent: Tensor, axis: int) -> Tensor:
    """<unit, tangent> in each row; 0 times infinity is 0."""
    dtype = wide(unit.dtype)
    return (unit.to(dtype) * tangent.to(dtype)).sum(axis)
