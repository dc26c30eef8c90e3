"""The functions on CUDA tensors, by Triton kernels. In: tensors, options in canonical form. Out: tensors.

The only entrance to this package. Every function computes what the function of the same name in `composed` or
`losses` computes. None reads a number from the device: a call never waits for the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lastlayer.backends.torch import composed, losses
from lastlayer.backends.torch.composed import Form
from lastlayer.backends.torch.targets import Target

__all__ = [
    "cross_entropy",
    "cross_entropy_and_gradient",
    "cross_entropy_and_statistics",
    "gradient",
    "logsumexp",
    "logsumexp_backward",
    "predict",
    "scaled",
    "softmax",
    "softmax_backward",
    "statistics",
    "top_k",
    "why_not",
]


def why_not(x: Tensor) -> str | None:
    """None if the kernels can compute ``x``, otherwise the reason in words."""
    from .runtime import why_not

    return why_not(x)


def softmax(
    x: Tensor, where: Tensor | None, axis: int, temperature: float, log: bool, out: Tensor | None = None
) -> Tensor:
    """Softmax or log-softmax; ``out`` may be ``x``."""
    y = composed.softmax(x, axis, where, temperature, log)
    return y if out is None else out.copy_(y)


softmax_backward = composed.softmax_backward
logsumexp = composed.logsumexp
logsumexp_backward = composed.logsumexp_backward


def cross_entropy(x: Tensor, target: Target, form: Form) -> Tensor:
    """The loss."""
    return losses.cross_entropy(x, target, form)


def cross_entropy_and_gradient(x: Tensor, target: Target, form: Form) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of the loss (of its sum for "none")."""
    value = losses.cross_entropy(x, target, form)
    return value, losses.gradient(torch.ones_like(value), x, target, form)


def cross_entropy_and_statistics(x: Tensor, target: Target, form: Form) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and statistics of the rows from which `gradient` needs one visit less."""
    return losses.cross_entropy(x, target, form), ()


def gradient(
    grad: Tensor, x: Tensor, target: Target, form: Form, kept: tuple[Tensor, ...] | None = None
) -> Tensor:
    """d(grad . loss)/dx."""
    del kept
    return losses.gradient(grad, x, target, form)


def scaled(dx: Tensor, grad: Tensor, in_place: bool) -> Tensor:
    """``dx * grad``; ``grad`` has one number."""
    return dx.mul_(grad) if in_place else dx * grad.to(dx.dtype)


statistics = losses.statistics
predict = composed.predict
top_k = composed.top_k
