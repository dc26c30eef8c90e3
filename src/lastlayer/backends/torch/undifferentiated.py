"""The formulas of `composed` where autograd records nothing: few passes over the scores, little memory.

In: tensors, and options in canonical form (`Form`). Out: tensors. PyTorch's own operations, on every device.

An operation that reads or writes all of the scores is a pass over them, and passes are the cost of a call. In
float32, without options, softmax and its gradient take one pass each, logsumexp three (argmax, softmax, sum)
and its gradient two. 16-bit scores are converted in one more pass.

The sum of a row's probabilities without the largest is rest / (1 + rest). From both follows log1p(rest)
without cancellation. Large calls are computed in blocks of rows, so that memory is needed for the results and
at most two blocks in float32.

The class axis stays where it is. Numbers of a row have length 1 there.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import row_blocks
from .form import Form
from .number_options import Number, differs
from .row_blocks import Block
from .tensors import is_batched, is_traced, is_transformed, wide

__all__ = [
    "canonical",
    "from_room",
    "is_possible",
    "log_norm_of",
    "logsumexp",
    "logsumexp_backward",
    "lse_of",
    "predict",
    "room_for",
    "softmax",
    "softmax_backward",
    "steepness",
    "without_top",
]

_KINDS = (Tensor, torch.nn.Parameter)


def is_possible(x: Tensor, axis: int, *others: Any) -> bool:
    """Whether no derivative of a call is recorded, and its operations are not traced. ``x``: the scores."""
    if (
        torch.compiler.is_compiling()
        or is_transformed()
        or forward_ad._current_level >= 0
        or is_traced()
        or x.shape[axis] == 0
    ):
        return False
    records = torch.is_grad_enabled()
    return not any(
        isinstance(t, Tensor) and (type(t) not in _KINDS or is_batched(t) or (records and t.requires_grad))
        for t in (x, *others)
    )


# --- scores -------------------------------------------------------------------------------------------------


def canonical(x: Tensor, form: Form, inactive: Tensor | None = None, where: Tensor | None = None) -> Tensor:
    """z in the computing dtype: 0 in inactive rows, -inf where masked. It may be ``x``."""
    dtype = wide(x.dtype)
    z = x.to(dtype) if inactive is None or not _mixes(x) else x
    z = z if inactive is None else torch.where(inactive, _number(0.0, x), z)
    if form.softcap is not None:
        z = _divided(z, form.softcap, x).tanh_().mul_(form.softcap)
    if differs(form.temperature, 1.0):
        z = _divided(z, form.temperature, x)
    return z if where is None else torch.where(where, z, -torch.inf)


def _number(value: float, x: Tensor) -> Tensor:
    """A number in the computing dtype, to which it promotes."""
    return x.new_full((1,) * x.ndim, value, dtype=wide(x.dtype))


def _divided(z: Tensor, divisor: Number, x: Tensor) -> Tensor:
    """``z / divisor``, in place if ``z`` is not ``x``."""
    return z / divisor if z is x else z.div_(divisor)


def steepness(x: Tensor, form: Form, inactive: Tensor | None) -> Tensor:
    """cosh^2(x / softcap) = 1 / (temperature dz/dx)."""
    raw = canonical(x, Form(), inactive)
    assert form.softcap is not None
    return _divided(raw, form.softcap, x).cosh_().square_()


def without_top(p: Tensor, top: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The largest probability of each row, and the sum of all others. In ``p`` the largest becomes 0."""
    largest = p.gather(axis, top).to(wide(p.dtype))
    others = p.scatter_(axis, top, 0.0).sum(axis, keepdim=True, dtype=wide(p.dtype))
    return largest, others + 0 * largest  # NaN, if the row is NaN and has only one class


def log_norm_of(largest: Tensor, others: Tensor) -> Tensor:
    """log1p(rest), with rest = others / largest: an error in the divisor of the softmax cancels."""
    return torch.log1p(others / largest)


def lse_of(peak: Tensor, log_norm: Tensor) -> Tensor:
    """peak + log1p(rest); an infinite peak stays."""
    return torch.where(peak.isinf(), peak, peak + log_norm)


def _mixes(x: Tensor) -> bool:
    """Whether an operation on the device of ``x`` takes operands and results of several dtypes."""
    return x.device.type in ("cpu", "cuda", "xpu")


def room_for(p: Tensor, x: Tensor, out: Tensor | None) -> Tensor:
    """Where a result of the dtype and layout of ``x`` is written: ``out``, ``p`` itself, or new memory."""
    if p.dtype is not x.dtype and not _mixes(x):
        return p
    if out is not None:
        return out
    return p if p.dtype is x.dtype and p.stride() == x.stride() else torch.empty_like(x)


def from_room(room: Tensor, x: Tensor, out: Tensor | None) -> Tensor:
    """The result that was written there, in ``out`` if it is given."""
    if out is None:
        return room.to(x.dtype)
    return out if room is out else out.copy_(room)


# --- softmax ------------------------------------------------------------------------------------------------


def softmax(x: Tensor, axis: int, where: Tensor | None, temperature: Number, log: bool) -> Tensor:
    """See `composed.softmax`."""
    form = Form(axis, temperature)
    if where is None and not differs(temperature, 1.0):
        y = torch.log_softmax(x, axis) if log else torch.softmax(x, axis)
        return _with_exact_peak(y, x, axis) if log else y

    def part(x: Tensor, where: Tensor | None) -> Tensor:
        z = canonical(x, form, None, where)
        y = _with_exact_peak(torch.log_softmax(z, axis), z, axis) if log else torch.softmax(z, axis)
        return y if where is None else torch.where(where, y, -torch.inf if log else 0.0)

    return _by_blocks(x, axis, part, where)


def _by_blocks(x: Tensor, axis: int, part: Any, *others: Tensor | None) -> Tensor:
    """``part(x, *others)`` in the layout and dtype of ``x``, a block of rows after the other."""
    division = row_blocks.blocks(x, axis)
    if division is None:
        return part(x, *others).to(x.dtype)  # type: ignore[no-any-return]
    y = torch.empty_like(x)
    for block in division:
        some = (None if t is None else block.of_scores(t) for t in others)
        block.of_scores(y).copy_(part(block.of_scores(x), *some))
    return y


def _with_exact_peak(y: Tensor, x: Tensor, axis: int) -> Tensor:
    """Log-softmax ``y`` of ``x``, with -log1p(rest) at the argmax: the log of a sum loses a small rest."""
    dtype, parts = None, 1
    if x.dtype is torch.float16:  # its smallest probabilities would become 0
        dtype, parts = torch.float32, 2
    for block in row_blocks.blocks(x, axis, parts) or (None,):
        z, part = (x, y) if block is None else (block.of_scores(x), block.of_scores(y))
        top = z.argmax(axis, keepdim=True)
        log_norm = log_norm_of(*without_top(torch.softmax(z, axis, dtype=dtype), top, axis))
        part.scatter_(axis, top, -log_norm.to(y.dtype))
    return y


def softmax_backward(
    grad: Tensor, y: Tensor, where: Tensor | None, axis: int, temperature: Number, log: bool
) -> Tensor:
    """See `composed.softmax_backward`. PyTorch's own gradient, in one pass."""
    if where is not None and log:
        grad = torch.where(where, grad, 0.0)
    backward = torch._log_softmax_backward_data if log else torch._softmax_backward_data
    dx = backward(grad.to(y.dtype), y, axis, y.dtype)
    return dx.div_(temperature) if differs(temperature, 1.0) else dx


def logsumexp(x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """See `composed.logsumexp`."""
    axis = form.axis % x.ndim
    division, found = row_blocks.blocks(x, axis), []
    for block in division or (None,):
        some, mask = _part(block, x), None if where is None else _part(block, where)
        z = canonical(some, form, None, mask)
        top = (some if mask is None else z).argmax(axis, keepdim=True)
        log_norm = log_norm_of(*without_top(torch.softmax(z, axis), top, axis))
        found.append(lse_of(z.gather(axis, top), log_norm).squeeze(axis))
    return row_blocks.joined(found, division)


def _part(block: Block | None, x: Tensor) -> Tensor:
    return x if block is None else block.of_scores(x)


def predict(x: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """See `composed.predict`."""
    axis = form.axis % x.ndim
    division = row_blocks.blocks(x, axis)
    labels, probabilities = [], []
    for block in division or (None,):
        z = canonical(_part(block, x), form)
        top = z.argmax(axis, keepdim=True)
        labels.append(torch.where(z.gather(axis, top).isnan(), -1, top).squeeze(axis))
        probabilities.append(torch.softmax(z, axis).gather(axis, top).squeeze(axis))
    return row_blocks.joined(labels, division), row_blocks.joined(probabilities, division)


def logsumexp_backward(grad: Tensor, x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """See `composed.logsumexp_backward`."""
    axis = form.axis % x.ndim
    factor = (grad.to(wide(x.dtype)) / form.temperature).unsqueeze(-1)

    def part(x: Tensor, where: Tensor | None, factor: Tensor, out: Tensor | None) -> Tensor:
        p = torch.softmax(canonical(x, form, None, where), axis)
        if where is not None:
            p = torch.where(where, p, 0.0)
        if form.softcap is not None:
            p.div_(steepness(x, form, None))
        return from_room(torch.mul(p, factor.movedim(-1, axis), out=room_for(p, x, out)), x, out)

    division = row_blocks.blocks(x, axis)
    if division is None:
        return part(x, where, factor, None)
    dx = torch.empty_like(x)
    for block in division:
        mask = None if where is None else block.of_scores(where)
        part(block.of_scores(x), mask, block.of_rows(factor), block.of_scores(dx))
    return dx
