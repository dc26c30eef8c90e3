"""How softmax, log-softmax and logsumexp are differentiated: `Rule`s for them and for their gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import composed, kernels
from .composed import Form
from .rule import Rule, along_rows, call, ones_of_rows
from .tensors import wide

__all__ = ["LogSumExp", "LogSumExpBackward", "Softmax", "SoftmaxBackward"]


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
        return *composed.softmax_double_backward(u, *ctx.saved_tensors, *ctx.options), None, None, None, None

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
    """(x, where, form) -> lse, one number per row."""

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
        return *composed.logsumexp_double_backward(u, grad, x, where, form), None, None

    @staticmethod
    def jvp(ctx: Any, grad_t: Any, x_t: Any, *_: Any) -> Any:
        grad, x, where = ctx.saved_tensors
        total: Any = 0.0
        if grad_t is not None:
            total = call(LogSumExpBackward, grad_t, x, where, ctx.options)
        if x_t is not None:  # the second derivative is symmetric
            total = total + composed.logsumexp_double_backward(x_t, grad, x, where, ctx.options)[1]
        return total
