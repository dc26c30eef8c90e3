"""Operations registered with PyTorch, ``torch.ops.lastlayer``, for compiled and exported graphs.

In: tensors and options that are plain numbers. Out: tensors. A compiler cannot trace the core or the kernels,
so each call becomes one operation of the graph. A fake implementation gives shape, strides and dtype of its
result; its gradient is another operation. Errors in the arguments are raised when the operation runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from lastlayer.options import SCHEMA, Options

from . import composed, kernels
from .composed import Form
from .targets import Target
from .tensors import wide

__all__ = ["logsumexp", "loss", "loss_and_gradient", "loss_backward", "softmax"]

_TARGET = "Tensor y, Tensor? class_weight, Tensor? sample_weight, Tensor? probabilities, Tensor? rest"
_LOSS = f"Tensor x, {_TARGET}, {SCHEMA}"
_SOFTMAX = "Tensor? where, int axis, float temperature, bool log"


def _operation(
    name: str, schema: str, run: Callable[..., Any], fake: Callable[..., Any], result: str = "Tensor"
) -> Any:
    """Register an operation; ``fake`` returns a tensor with the shape, strides and dtype of its result."""
    operation = custom_op(f"lastlayer::{name}", run, mutates_args=(), schema=f"({schema}) -> {result}")
    operation.register_fake(fake)
    return getattr(torch.ops.lastlayer, name).default


def _in_layout(y: Tensor, x: Tensor) -> Tensor:
    """``y`` in the strides of ``torch.empty_like(x)``: a compiled graph relies on those."""
    if y.is_contiguous() and x.is_contiguous():
        return y
    strides = torch.empty_like(x, device="meta").stride()
    return (
        y
        if y.stride() == strides
        else torch.empty_strided(x.shape, strides, dtype=y.dtype, device=y.device).copy_(y)
    )


def _rows_of(x: Tensor, axis: int) -> Tensor:
    axis = axis % x.ndim
    return x.new_empty(x.shape[:axis] + x.shape[axis + 1 :], dtype=wide(x.dtype))


# --- softmax ------------------------------------------------------------------------------------------------

softmax = _operation(
    "softmax",
    f"Tensor x, {_SOFTMAX}",
    lambda x, *options: _in_layout(kernels.softmax(x, *options), x),
    lambda x, *_: torch.empty_like(x),
)
softmax_backward = _operation(
    "softmax_backward",
    f"Tensor grad, Tensor y, {_SOFTMAX}",
    lambda grad, y, *options: _in_layout(kernels.softmax_backward(grad, y, *options), y),
    lambda _, y, *__: torch.empty_like(y),
)
logsumexp = _operation(
    "logsumexp",
    "Tensor x, Tensor? where, int axis",
    lambda x, where, axis: kernels.logsumexp(x, where, Form(axis)).contiguous(),
    lambda x, _, axis: _rows_of(x, axis),
)
logsumexp_backward = _operation(
    "logsumexp_backward",
    "Tensor grad, Tensor x, Tensor? where, int axis",
    lambda grad, x, where, axis: _in_layout(kernels.logsumexp_backward(grad, x, where, Form(axis)), x),
    lambda _, x, *__: torch.empty_like(x),
)


def _softmax_setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.save_for_backward(output, inputs[1])
    ctx.options = inputs[2:]


def _softmax_grad(ctx: Any, grad: Tensor) -> Any:
    y, where = ctx.saved_tensors
    return softmax_backward(grad, y, where, *ctx.options), None, None, None, None


def _softmax_backward_setup(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:3])
    ctx.options = inputs[3:]


def _softmax_backward_grad(ctx: Any, u: Tensor) -> Any:
    return *composed.softmax_double_backward(u, *ctx.saved_tensors, *ctx.options), None, None, None, None


def _logsumexp_setup(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:2])
    ctx.axis = inputs[2]


def _logsumexp_grad(ctx: Any, grad: Tensor) -> Any:
    x, where = ctx.saved_tensors
    return logsumexp_backward(grad, x, where, ctx.axis), None, None


def _logsumexp_backward_setup(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:3])
    ctx.axis = inputs[3]


def _logsumexp_backward_grad(ctx: Any, u: Tensor) -> Any:
    grad, x, where = ctx.saved_tensors
    return *composed.logsumexp_double_backward(u, grad, x, where, Form(ctx.axis)), None, None


# --- losses -------------------------------------------------------------------------------------------------


_PARTS = len(Target._fields)


def _target(*arguments: Any) -> tuple[Target, Options]:
    return Target(*arguments[:_PARTS]), Options(*arguments[_PARTS:])


def _loss_fake(x: Tensor, *arguments: Any) -> Tensor:
    _, o = _target(*arguments)
    return _rows_of(x, o.axis) if o.reduction == "none" else x.new_empty((), dtype=wide(x.dtype))


def _loss_and_gradient(x: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    value, dx = kernels.loss_and_gradient(x, *_target(*arguments))
    return value, _in_layout(dx, x)


loss = _operation("loss", _LOSS, lambda x, *rest: kernels.loss(x, *_target(*rest)).contiguous(), _loss_fake)
loss_backward = _operation(
    "loss_backward",
    f"Tensor grad, {_LOSS}",
    lambda grad, x, *rest: _in_layout(kernels.loss_gradient(grad, x, *_target(*rest)), x),
    lambda _, x, *__: torch.empty_like(x),
)
# The mean or sum of a cross-entropy, with its gradient: for tensors that a kernel computes in one pass.
loss_and_gradient = _operation(
    "loss_and_gradient",
    _LOSS,
    _loss_and_gradient,
    lambda x, *rest: (_loss_fake(x, *rest), torch.empty_like(x)),
    "(Tensor loss, Tensor dx)",
)


def _loss_setup(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[: 1 + _PARTS])
    ctx.options = inputs[1 + _PARTS :]


def _loss_grad(ctx: Any, grad: Tensor) -> Any:
    no_gradients = (None,) * (_PARTS + len(ctx.options))
    return loss_backward(grad, *ctx.saved_tensors, *ctx.options), *no_gradients


def _loss_and_gradient_setup(ctx: Any, inputs: Any, output: Any) -> None:
    _, dx = output
    ctx.mark_non_differentiable(dx)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[: 1 + _PARTS], dx)
    ctx.options = inputs[1 + _PARTS :]


def _loss_and_gradient_grad(ctx: Any, grad: Tensor | None, _: Any) -> Any:
    *tensors, dx = ctx.saved_tensors
    no_gradients = (None,) * (_PARTS + len(ctx.options))
    if grad is None:
        return None, *no_gradients
    if torch.is_grad_enabled():  # double backward
        return loss_backward(grad, *tensors, *ctx.options), *no_gradients
    # Not an operation of its own, so that a compiler can write over dx, or merge it with what follows.
    return (dx.to(grad.dtype) * grad).to(dx.dtype), *no_gradients


def _loss_backward_setup(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[: 2 + _PARTS])
    ctx.options = inputs[2 + _PARTS :]


def _loss_backward_grad(ctx: Any, u: Tensor) -> Any:
    grad, x, *target = ctx.saved_tensors
    no_gradients = (None,) * (_PARTS + len(ctx.options))
    return *kernels.loss_double_backward(u, grad, x, Target(*target), Options(*ctx.options)), *no_gradients


for _forward, _grad, _setup in (
    (softmax, _softmax_grad, _softmax_setup),
    (softmax_backward, _softmax_backward_grad, _softmax_backward_setup),
    (logsumexp, _logsumexp_grad, _logsumexp_setup),
    (logsumexp_backward, _logsumexp_backward_grad, _logsumexp_backward_setup),
    (loss, _loss_grad, _loss_setup),
    (loss_and_gradient, _loss_and_gradient_grad, _loss_and_gradient_setup),
    (loss_backward, _loss_backward_grad, _loss_backward_setup),
):
    torch.library.register_autograd(_forward, _grad, setup_context=_setup)
