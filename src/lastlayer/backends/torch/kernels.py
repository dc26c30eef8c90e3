"""Values and gradients without autograd. In: tensors and the options of a call. Out: tensors.

Tensors in CPU memory are computed by the core, without a copy; CUDA tensors by the kernels in Triton; all
others by `composed` and `losses`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lastlayer import problem
from lastlayer.backends.core import core, native
from lastlayer.options import Options
from lastlayer.row_statistics import RowStats

from . import choice, composed, losses, number_options
from .canonical import form_of, resolve, scores_form, scores_in_memory
from .choice import COMPOSED, CORE, TRITON, on_core, way_of
from .composed import Form
from .targets import Target
from .tensors import from_memory, in_memory, is_readable, memory, new_like, shape_of, wide

__all__ = [
    "can_be_read",
    "composed_gradient",
    "composed_loss",
    "in_range",
    "logsumexp",
    "logsumexp_backward",
    "loss",
    "loss_and_gradient",
    "loss_and_kept",
    "loss_double_backward",
    "loss_gradient",
    "loss_hessian_product",
    "predict",
    "ranks",
    "row_state",
    "soft_gradients",
    "softmax",
    "softmax_backward",
    "statistics",
    "top_k",
]


def _in_core(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, on the threads of PyTorch's OpenMP runtime, as many as PyTorch uses."""
    before = core.use_threads(torch.get_num_threads())
    try:
        return function(*arguments)
    finally:
        core.use_threads(before)


def ranks(x: Tensor, y: Tensor, target_logits: Tensor, o: Options) -> Tensor:
    """See `lastlayer.backends.reference.ranks`."""
    if not (on_core(x) and in_memory(y) and in_memory(target_logits) and number_options.are_read(o)):
        return losses.ranks(x, y, target_logits, scores_form(x, o))
    rows = memory(target_logits.double().expand(y.shape))
    return from_memory(_in_core(native.ranks, scores_in_memory(x, o), memory(y), rows))


def can_be_read(grad: Tensor, x: Tensor) -> bool:
    """Whether the kernel that computes ``x`` can read a gradient: neither batched nor lazy, on its device."""
    return is_readable(grad) and not grad.is_neg() and grad.device == x.device


def softmax(
    x: Tensor, where: Tensor | None, axis: int, temperature: float, log: bool, out: Tensor | None = None
) -> Tensor:
    """See `composed.softmax`."""
    if (way := way_of(x)) is not CORE:
        if way is TRITON:
            return choice.kernels.softmax(x, where, axis, temperature, log, out)  # type: ignore[no-any-return]
        y = composed.softmax(x, axis, where, temperature, log)
        return y if out is None else out.copy_(y)
    mask = None if where is None else memory(where)
    scores = problem.scores("softmax", memory(x), axis, mask, temperature)
    out = new_like(x) if out is None else out
    _in_core(native.softmax_into, scores, memory(out), log)
    return out


def softmax_backward(
    grad: Tensor, y: Tensor, where: Tensor | None, axis: int, temperature: float, log: bool
) -> Tensor:
    """See `composed.softmax_backward`."""
    if (way := way_of(y)) is not CORE or not in_memory(grad):
        kernel = way is TRITON and can_be_read(grad, y)
        run = choice.kernels.softmax_backward if kernel else composed.softmax_backward
        return run(grad, y, where, axis, temperature, log)
    if where is not None and log:
        grad = torch.where(where, grad, 0.0)
    dx, grad = new_like(y), grad.to(y.dtype)
    if y.numel() == 0:
        return dx
    half = y.dtype is torch.bfloat16
    g, p, d = (core.bits(memory(t)) for t in (grad, y, dx))
    core.softmax_backward(g, p, axis, d, log, half, torch.get_num_threads())
    return dx if temperature == 1.0 else dx.div_(temperature)


def logsumexp(x: Tensor, where: Tensor | None, form: Form) -> Tensor:
    """See `composed.logsumexp`."""
    if (way := way_of(x)) is not CORE:
        run = choice.kernels.logsumexp if way is TRITON else composed.logsumexp
        return run(x, form, where)
    mask = None if where is None else memory(where)
    options: Any = form.temperature, form.softcap  # numbers: calls with tensors for options are composed
    scores = problem.scores("logsumexp", memory(x), form.axis, mask, *options)
    return from_memory(_in_core(native.logsumexp, scores))


def logsumexp_backward(grad: Tensor, x: Tensor, where: Tensor | None, form: Form) -> Tensor:
    """See `composed.logsumexp_backward`."""
    if (way := way_of(x)) is not CORE or not in_memory(grad) or form.softcap is not None:
        kernel = way is TRITON and can_be_read(grad, x)
        run = choice.kernels.logsumexp_backward if kernel else composed.logsumexp_backward
        return run(grad, x, form, where)
    temperature: Any = form.temperature
    dx = softmax(x, where, form.axis, temperature, False)
    row_grads = grad.unsqueeze(form.axis)
    return dx.mul_(row_grads if temperature == 1.0 else row_grads / temperature)


def loss(x: Tensor, target: Target, o: Options) -> Tensor:
    """The loss that ``o.function`` names."""
    if (way := way_of(x)) is not CORE:
        if way is TRITON and o.function not in _PICKS:
            return choice.kernels.cross_entropy(x, target, form_of(x, target, o))  # type: ignore[no-any-return]
        return composed_loss(x, target, o)
    checked = resolve(x, target, o)
    if o.function in _PICKS:
        value = _in_core(native.pick_loss, checked, _PICKS[o.function])
    else:
        value = _in_core(native.cross_entropy, checked)
    return from_memory(value)


def loss_and_kept(x: Tensor, target: Target, o: Options) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and numbers of the rows for `composed_gradient`; none where the core computes."""
    if o.function in _PICKS or way_of(x) is not COMPOSED:
        return loss(x, target, o), ()
    return losses.cross_entropy_and_statistics(x, target, form_of(x, target, o))


_PICKS = {"nll_loss": False, "log_loss": True}


def composed_loss(x: Tensor, target: Target, o: Options) -> Tensor:
    """The loss, by PyTorch's operations."""
    form = form_of(x, target, o)
    if o.function in _PICKS:
        return losses.pick_loss(x, target, form, _PICKS[o.function])
    return losses.cross_entropy(x, target, form)


def loss_gradient(grad: Tensor, x: Tensor, target: Target, o: Options) -> Tensor:
    """d(grad . loss)/dx, computed from the logits again."""
    if (way := way_of(x)) is not CORE or not in_memory(grad):
        if way is TRITON and o.function not in _PICKS and can_be_read(grad, x):
            return choice.kernels.gradient(grad, x, target, form_of(x, target, o))  # type: ignore[no-any-return]
        return composed_gradient(grad, x, target, o)
    checked = resolve(x, target, o)
    if o.function not in _PICKS:
        return _gradient(grad, x, checked, core.GRADIENT_ONLY)[1]
    t = checked.targets
    if t is None or t.kind != "index" or t.off:  # an elementwise product: the core would not be faster
        return composed_gradient(grad, x, target, o)
    log = _PICKS[o.function]
    return _gradient(grad, x, checked, core.PICK_LOG_GRADIENT if log else core.PICK_GRADIENT)[1]


def composed_gradient(
    grad: Tensor, x: Tensor, target: Target, o: Options, kept: tuple[Tensor, ...] = ()
) -> Tensor:
    """d(grad . loss)/dx, by PyTorch's operations. ``kept``: from `loss_and_kept`."""
    form = form_of(x, target, o)
    if o.function in _PICKS:
        return losses.pick_gradient(grad, x, target, form, _PICKS[o.function])
    return losses.gradient(grad, x, target, form, kept)


def loss_double_backward(
    direction: Tensor, grad: Tensor, x: Tensor, target: Target, o: Options
) -> tuple[Tensor, Tensor]:
    """The gradients of <direction, `loss_gradient`> in ``grad`` and ``x``, by PyTorch's operations."""
    form = form_of(x, target, o)
    if o.function in _PICKS:
        return losses.pick_double_backward(direction, grad, x, target, form, _PICKS[o.function])
    return losses.double_backward(direction, grad, x, target, form)


def soft_gradients(
    grad: Tensor, x: Tensor, target: Target, o: Options, wanted: Any
) -> list[Tensor | None] | None:
    """d(grad . loss)/dx and d(grad . loss)/dq of dense targets q; None if a log-probability is infinite.

    By the core, with dloss_i/dq_ij = -s_i w_j on log p_ij.
    """
    _, w, s, *_ = target
    form = form_of(x, target, o)
    dq = None
    if wanted[1]:
        dq = softmax(x, None, form.axis, form.temperature, True)  # type: ignore[arg-type]
        if dq.numel() and not dq.amin().isfinite():
            return None
        rows = grad.to(dq.dtype).unsqueeze(form.axis) if o.reduction == "none" else grad.to(dq.dtype)
        rows = rows * (-form.on * resolve(x, target, o).scale)
        if s is not None:
            rows = rows * s.to(dq.dtype).expand(_rows_of(x, form.axis)).unsqueeze(form.axis)
        dq.mul_(rows)
        if w is not None:
            dq.mul_(w.to(dq.dtype).view([-1 if i == form.axis else 1 for i in range(x.ndim)]))
    dx = loss_gradient(grad, x, target, o) if wanted[0] else None
    return [dx, dq]


def loss_hessian_product(
    direction: Tensor, grad: Tensor, x: Tensor, target: Target, o: Options
) -> Tensor | None:
    """The gradient of <direction, `loss_gradient`> in ``x``: a Hessian-vector product; None if not possible.

    By the core, for index targets: p (u - <p, u>) times `losses.row_factor`.
    """
    if (
        o.function != "cross_entropy"
        or x.dtype not in (torch.float32, torch.float64)
        or target.is_top_k
        or target.sample_weight is not None
        or target.y.ndim != x.ndim - 1
        or o.softcap is not None
        or o.z_loss
        or not (on_core(x) and in_memory(direction) and in_memory(grad))
    ):
        return None
    form = form_of(x, target, o)
    p = softmax(x, None, form.axis, form.temperature, False)  # type: ignore[arg-type]
    second = softmax_backward(direction, p, None, form.axis, form.temperature, False)  # type: ignore[arg-type]
    row_factor = losses.row_factor(grad, x, target, form) / form.temperature
    second.mul_(row_factor.movedim(-1, form.axis))
    inactive = row_factor.movedim(-1, form.axis) == 0
    return torch.where(inactive, 0.0, second) if inactive.any() else second


def _rows_of(x: Tensor, axis: int) -> torch.Size:
    axis %= x.ndim
    return x.shape[:axis] + x.shape[axis + 1 :]


def in_range(x: Tensor, y: Tensor, o: Options) -> bool:
    """Whether all class indices are in range or ignored; False if they cannot be read."""
    if not in_memory(y):
        return False
    bad, _ = core.target_totals(y.contiguous(), x.shape[o.axis], o.ignore_index, None, None)
    return bool(bad < 0)


def _gradient(grad: Tensor | None, x: Tensor, checked: problem.Problem, kind: int) -> tuple[Any, Tensor]:
    """The loss, and d(grad . loss)/dx.

    ``kind``: which of `core`'s constants to compute; with one for a gradient only, the loss is meaningless.
    """
    if grad is not None and checked.reduction == "none":
        targets = checked.targets
        assert targets is not None
        s, row_grads = targets.sample_weight, memory(grad.double())
        weights = row_grads if s is None else s * row_grads
        checked = checked._replace(targets=targets._replace(sample_weight=weights), reduction="sum")
    elif grad is not None:
        checked = checked._replace(scale=checked.scale * float(grad))
    if checked.scale == 0.0:
        return 0.0, torch.zeros_like(x)
    dx = new_like(x)
    return _in_core(native.losses_of, checked, kind, memory(dx)), dx


def loss_and_gradient(x: Tensor, target: Target, o: Options) -> tuple[Tensor, Tensor]:
    """The loss and its gradient, in one call of the core or of a kernel."""
    if (way := way_of(x)) is not CORE:
        form = form_of(x, target, o)
        if way is TRITON:
            return choice.kernels.cross_entropy_and_gradient(x, target, form)  # type: ignore[no-any-return]
        return losses.cross_entropy_and_gradient(x, target, form)
    checked = resolve(x, target, o)
    value, dx = _gradient(None, x, checked, core.GRADIENT)
    if type(value) is float:  # scale is 0: `_gradient` returned 0.0. NumPy's float64 is a subclass
        return torch.zeros((), dtype=wide(x.dtype)), dx
    return from_memory(value), dx


_ARGMAX = frozenset({"argmax"})
_ALL = frozenset({"argmax", "nll", "rank", "spread", "square"})


def row_state(x: Tensor, target: Target | None, o: Options) -> RowStats:
    """The statistics of every row, in NumPy arrays."""
    checked = problem.without_targets(scores_in_memory(x, o)) if target is None else resolve(x, target, o)
    found: RowStats = _in_core(native.row_stats, checked, _ALL)
    return found


def statistics(x: Tensor, target: Target | None, form: Form) -> dict[str, Tensor]:
    """The fields of `RowStats`, by the kernels in Triton; without derivatives."""
    with torch.no_grad():
        return choice.kernels.statistics(x, target, form)  # type: ignore[no-any-return]


def predict(x: Tensor, o: Options) -> tuple[Tensor, Tensor]:
    """The most probable class of each row, and its probability."""
    if (way := way_of(x)) is not CORE or not number_options.are_read(o):
        kernel = way is TRITON and number_options.are_read(o)
        run = choice.kernels.predict if kernel else composed.predict
        return run(x, scores_form(x, o))
    checked = problem.without_targets(scores_in_memory(x, o))
    stats = _in_core(native.row_stats, checked, _ARGMAX)
    return from_memory(stats.argmax), from_memory(stats.confidence)


def top_k(x: Tensor, k: Any, o: Options) -> tuple[Tensor, Tensor]:
    """The k most probable classes of each row, and their probabilities."""
    if (way := way_of(x)) is not CORE or not number_options.are_read(o):
        form = scores_form(x, o)
        if not torch.compiler.is_compiling():
            k = problem.top(problem.scores(o.function, shape_of(x), form.axis), k)
        kernel = way is TRITON and number_options.are_read(o)
        run = choice.kernels.top_k if kernel else composed.top_k
        return run(x, k, form)
    scores = scores_in_memory(x, o)
    count = problem.top(scores, k)
    labels, probabilities = _in_core(native.top_k, scores, count)
    return from_memory(labels), from_memory(probabilities)
