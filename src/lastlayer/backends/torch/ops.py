"""Operations registered with PyTorch, ``torch.ops.lastlayer``, for compiled and exported graphs.

In: tensors and options that are plain numbers. Out: tensors. A compiler cannot trace the core, so each call
becomes one operation of the graph. A fake implementation gives the shape and dtype of its result; its
gradient is another operation. Errors in the arguments are raised when the operation runs.
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

__all__ = ["logsumexp", "loss", "loss_backward", "softmax"]

_TARGET = "Tensor y, Tensor? class_weight, Tensor? sample_weight, Tensor? probabilities, Tensor? rest"
_LOSS = f"Tensor x, {_TARGET}, {SCHEMA}"
_SOFTMAX = "Tensor? where, int axis, float temperature, bool log"


def _operation(name: str, schema: str, run: Callable[..., Tensor], fake: Callable[..., Tensor]) -> Any:
    """Register an operation; ``fake`` returns a tensor with the shape and dtype of its result."""
    operation = custom_op(f"lastlayer::{name}", run, mutates_args=(), schema=f"({schema}) -> Tensor")
    operation.register_fake(fake)
    return getattr(torch.ops.lastlayer, name).default


def _rows_of(x: Tensor, axis: int) -> Tensor:
    axis = axis % x.ndim
    return x.new_empty(x.shape[:axis] + x.shape[axis + 1 :], dtype=wide(x.dtype))


# --- softmax ------------------------------------------------------------------------------------------------

softmax = _operation(
    "softmax",
    f"Tensor x, {_SOFTMAX}",
    lambda x, *options: kernels.softmax(x, *options),
    lambda x, *_: torch.empty_like(x),
)
softmax_backward = _operation(
    "softmax_backward",
    f"Tensor grad, Tensor y, {_SOFTMAX}",
    kernels.softmax_backward,
    lambda _, y, *__: torch.empty_like(y),
)
logsumexp = _operation(
    "logsumexp",
    "Tensor x, Tensor? where, int axis",
    lambda x, where, axis: kernels.logsumexp(x, where, Form(axis)),
    lambda x, _, axis: _rows_of(x, axis),
)
logsumexp_backward = _operation(
    "logsumexp_backward",
    "Tensor grad, Tensor x, Tensor? where, int axis",
    lambda grad, x, where, axis: kernels.logsumexp_backward(grad, x, where, Form(axis)),
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


loss = _operation("loss", _LOSS, lambda x, *rest: kernels.loss(x, *_target(*rest)), _loss_fake)
loss_backward = _operation(
    "loss_backward",
    f"Tensor grad, {_LOSS}",
    lambda grad, x, *rest: kernels.loss_gradient(grad, x, *_target(*rest)),
    lambda _, x, *__: torch.empty_like(x),
)


def _loss_setup(ctx: Any, inputs: Any, output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[: 1 + _PARTS])
    ctx.options = inputs[1 + _PARTS :]


def _loss_grad(ctx: Any, grad: Tensor) -> Any:
    no_gradients = (None,) * (_PARTS + len(ctx.options))
    return loss_backward(grad, *ctx.saved_tensors, *ctx.options), *no_gradients


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
    (loss_backward, _loss_backward_grad, _loss_backward_setup),
):
    torch.library.register_autograd(_forward, _grad, setup_context=_setup)
