"""The functions on CUDA tensors, by Triton kernels. In: tensors, options in canonical form. Out: tensors.

The only entrance to this package. Every function computes what the function of the same name in `composed` or
`losses` computes. None reads a number from the device: a call never waits for the GPU.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lastlayer.backends.torch.form import Form
from lastlayer.backends.torch.targets import Target

from . import fast, general, images, quick, runtime

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
    return runtime.why_not(x)


def softmax(
    x: Tensor, where: Tensor | None, axis: int, temperature: float, log: bool, out: Tensor | None = None
) -> Tensor:
    """Softmax or log-softmax; ``out`` may be ``x``."""
    if where is None and temperature == 1.0:
        last = axis == x.dim() - 1 or axis == -1
        if out is None and last and (quickly := quick.softmax(x, log)) is not None:
            return quickly
        found = fast.softmax(x, axis, log, out)
        if found is not None and out is None and last:
            quick.prepare_softmax(x, log)
        if found is None:
            found = images.softmax(x, axis, log, out)
        if found is not None:
            return found
    return general.softmax(x, where, axis, temperature, log, out)


softmax_backward = general.softmax_backward
logsumexp_backward = general.logsumexp_backward


def logsumexp(x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """One number a row."""
    if where is None and form.temperature == 1.0 and form.softcap is None:
        found = fast.logsumexp(x, form.axis)
        if found is None:
            found = images.logsumexp(x, form.axis)
        if found is not None:
            return found
    return general.logsumexp(x, form, where)


def _is_plain(x: Tensor, target: Target, form: Form) -> bool:
    """Whether a loss is one of index targets, without options."""
    y, *others = target
    return not (
        y.dim() == x.dim()
        or others != _NOTHING
        or form.off != 0.0
        or form.on != 1.0
        or form.temperature != 1.0
        or form.softcap is not None
        or form.z_loss != 0.0
        or isinstance(form.denominator, Tensor)
    )


def _usual(x: Tensor, target: Target, form: Form) -> fast.Usual | None:
    """The loss, if the fast kernels can compute it."""
    if not _is_plain(x, target, form):
        return None
    total: Any = form.denominator
    return fast.usual(x, target.y, form.axis, form.ignore_index, form.reduction, total)


def _labels(x: Tensor, target: Target, form: Form) -> images.Labels | None:
    """The targets, if the kernels for images can compute the loss."""
    if form.axis % x.dim() == x.dim() - 1 or not _is_plain(x, target, form):
        return None
    total: Any = form.denominator
    return images.labels(target.y, form.ignore_index, form.reduction, total)


_NOTHING = [None, None, None, None]
_NONE = (None, None, None, None)


def cross_entropy(x: Tensor, target: Target, form: Form) -> Tensor:
    """The loss."""
    if target[1:] == _NONE and (quickly := quick.loss(x, target.y, form)) is not None:
        return quickly
    usual = _usual(x, target, form)
    if usual is not None:
        loss = fast.cross_entropy(x, usual, False)[0]
        quick.prepare_loss(x, target.y.shape, usual, form, False)
        return loss
    labels = _labels(x, target, form)
    if labels is not None and (found := images.cross_entropy(x, labels, form.axis)) is not None:
        return found
    return general.cross_entropy(x, target, form)


def cross_entropy_and_gradient(x: Tensor, target: Target, form: Form) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of the loss (of its sum for "none")."""
    if target[1:] == _NONE and (quickly := quick.gradient(x, target.y, form)) is not None:
        return quickly
    usual = _usual(x, target, form)
    if usual is not None and (found := fast.cross_entropy_and_gradient(x, usual)) is not None:
        quick.prepare_loss(x, target.y.shape, usual, form, True)
        return found
    labels = _labels(x, target, form)
    if labels is not None:
        found = images.cross_entropy_and_gradient(x, labels, form.axis)
        if found is not None:
            return found
    return general.cross_entropy_and_gradient(x, target, form)


def cross_entropy_and_statistics(x: Tensor, target: Target, form: Form) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and statistics of the rows from which `gradient` needs one visit less."""
    usual = _usual(x, target, form)
    if usual is not None:
        return fast.cross_entropy(x, usual, True)
    return general.cross_entropy_and_statistics(x, target, form)


def gradient(
    grad: Tensor, x: Tensor, target: Target, form: Form, kept: tuple[Tensor, ...] | None = None
) -> Tensor:
    """d(grad . loss)/dx."""
    usual = _usual(x, target, form)
    if usual is not None:
        kept = kept or fast.cross_entropy(x, usual, True)[1]
        found = fast.gradient(grad, x, usual, kept)
        if found is not None:
            return found
        kept = ()
    return general.gradient(grad, x, target, form, kept)


def scaled(dx: Tensor, grad: Tensor, in_place: bool) -> Tensor:
    """``dx * grad``; ``grad`` has one number."""
    if dx.is_contiguous():
        return fast.scaled(dx, grad, in_place)
    return dx.mul_(grad) if in_place else dx * grad.to(dx.dtype)


statistics = general.statistics
predict = general.predict
top_k = general.top_k
