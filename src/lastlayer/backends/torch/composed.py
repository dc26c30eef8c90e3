"""The formulas of `reference` in PyTorch's own operations: differentiable to any order, on every device.

In: tensors, and options in canonical form (`Form`). Out: tensors. Used where the core cannot compute: for
tensors outside CPU memory, second derivatives, `torch.func`, and gradients in weights and dense targets.
Computed in float32, or float64 for float64, with the class axis last.

Infinite scores and inactive rows are replaced *before* an operation that would turn them into NaN, not
after: the backward pass of `torch.where` multiplies by 0, and 0 times infinity is NaN.
"""

from __future__ import annotations

from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor

from . import row_blocks, undifferentiated
from .form import Form
from .number_options import Number, differs
from .tensors import wide

__all__ = [
    "Form",
    "Rows",
    "back",
    "canonical",
    "logsumexp",
    "logsumexp_backward",
    "logsumexp_double_backward",
    "predict",
    "rows",
    "slope",
    "softmax",
    "softmax_backward",
    "softmax_double_backward",
    "top_k",
    "value_backward",
]


class Rows(NamedTuple):
    """Canonical scores, class axis last; in ``top``, ``peak`` and ``rest`` that axis has length 1."""

    z: Tensor
    top: Tensor  # the argmax
    peak: Tensor
    difference: Tensor  # z - peak
    exp: Tensor  # exp(difference)
    rest: Tensor  # the sum of exp over all classes but the argmax

    @property
    def p(self) -> Tensor:
        return self.exp / (1 + self.rest)

    @property
    def log_norm(self) -> Tensor:
        """lse - peak."""
        return torch.log1p(self.rest)

    @property
    def lse(self) -> Tensor:
        infinite = self.peak.detach().isinf()  # lse is infinite too, and rest has no meaning
        return self.peak + torch.where(infinite, 0.0, self.log_norm)


def canonical(x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """z: class axis last, softcap and temperature applied, -inf where masked."""
    z = x.movedim(form.axis, -1).to(wide(x.dtype))
    if form.softcap is not None:
        z = form.softcap * torch.tanh(z / form.softcap)
    if differs(form.temperature, 1.0):
        z = z / form.temperature
    return z if where is None else torch.where(where.movedim(form.axis, -1), z, -inf)


def slope(x: Tensor, form: Form) -> Tensor | float:
    """dz/dx = (1 - tanh^2(x / softcap)) / temperature."""
    if form.softcap is None:
        return 1 / form.temperature
    raw = x.movedim(form.axis, -1).to(wide(x.dtype))
    return 1 / torch.cosh(raw / form.softcap) ** 2 / form.temperature


def rows(z: Tensor) -> Rows:
    """The statistics of every row."""
    if z.shape[-1] == 0:  # no class: the sum of exponentials is 0
        peak = z.new_full((*z.shape[:-1], 1), -inf)
        return Rows(z, torch.zeros_like(peak, dtype=torch.int64), peak, z, z, torch.zeros_like(peak))
    top = z.detach().argmax(-1, keepdim=True)
    peak = z.gather(-1, top)
    difference = z - peak
    exp = torch.exp(difference)
    rest = exp.scatter(-1, top, 0.0).sum(-1, keepdim=True)
    rest = torch.where(peak.detach().abs() < inf, rest, nan)  # probabilities are not defined
    return Rows(z, top, peak, difference, exp, rest)


# --- softmax ------------------------------------------------------------------------------------------------


def softmax(x: Tensor, axis: int, where: Tensor | None, temperature: Number, log: bool) -> Tensor:
    """p = exp(z - peak) / (1 + rest), or its logarithm; 0 or -inf where masked."""
    if undifferentiated.is_possible(x, axis, where, temperature):
        return undifferentiated.softmax(x, axis, where, temperature, log)
    form = Form(axis, temperature)
    if where is None:
        r = rows(canonical(x, form))
        y = r.difference - r.log_norm if log else r.p
        return y.to(x.dtype).movedim(-1, axis)
    possible = where.movedim(axis, -1)
    anything = possible.any(-1, keepdim=True)
    r = rows(torch.where(anything, canonical(x, form, where), 0.0))
    kept = r.difference.masked_fill(~possible, 0.0) - r.log_norm if log else r.p
    y = torch.where(possible, kept, -inf if log else 0.0)
    return y.to(x.dtype).movedim(-1, axis)


def softmax_backward(
    grad: Tensor, y: Tensor, where: Tensor | None, axis: int, temperature: float, log: bool
) -> Tensor:
    """dx from the output y of softmax, or of log_softmax.

    dx = y (grad - sum_j grad_j y_j) / temperature, or (grad - exp(y) sum_j grad_j) / temperature.
    """
    if undifferentiated.is_possible(y, axis, grad, where, temperature):
        return undifferentiated.softmax_backward(grad, y, where, axis, temperature, log)
    g, p = grad.to(wide(y.dtype)), y.to(wide(y.dtype))
    if not log:
        return (p * (g - (g * p).sum(axis, keepdim=True)) / temperature).to(y.dtype)
    if where is not None:
        g = torch.where(where, g, 0.0)
    return ((g - torch.exp(p) * g.sum(axis, keepdim=True)) / temperature).to(y.dtype)


def softmax_double_backward(
    direction: Tensor,
    grad: Tensor,
    y: Tensor,
    where: Tensor | None,
    axis: int,
    temperature: float,
    log: bool,
) -> tuple[Tensor, Tensor]:
    """The gradients of <direction, `softmax_backward`> in ``grad`` and ``y``."""
    u, g, p = (t.to(wide(y.dtype)) for t in (direction, grad, y))
    if log:
        p, g = torch.exp(p), g if where is None else torch.where(where, g, 0.0)
        in_grad = u - (u * p).sum(axis, keepdim=True)
        in_grad = in_grad if where is None else torch.where(where, in_grad, 0.0)
        in_y = -u * p * g.sum(axis, keepdim=True)
    else:
        along_u, along_g = (u * p).sum(axis, keepdim=True), (g * p).sum(axis, keepdim=True)
        in_grad, in_y = p * (u - along_u), u * (g - along_g) - g * along_u
    return (in_grad / temperature).to(grad.dtype), (in_y / temperature).to(y.dtype)


def logsumexp(x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """lse = peak + log1p(rest)."""
    if undifferentiated.is_possible(x, form.axis, where, *form):
        return undifferentiated.logsumexp(x, form, where)
    if where is None:
        return rows(canonical(x, form)).lse.squeeze(-1)
    anything = where.movedim(form.axis, -1).any(-1, keepdim=True)
    r = rows(torch.where(anything, canonical(x, form, where), 0.0))
    return torch.where(anything, r.lse, -inf).squeeze(-1)


def logsumexp_backward(grad: Tensor, x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """dx = grad p dz/dx."""
    if undifferentiated.is_possible(x, form.axis, grad, where, *form):
        return undifferentiated.logsumexp_backward(grad, x, form, where)
    p = probabilities(x, form, where)
    return back(grad.unsqueeze(-1).to(p.dtype) * p * slope(x, form), x, form)


def logsumexp_double_backward(
    direction: Tensor, grad: Tensor, x: Tensor, where: Tensor | None, form: Form
) -> tuple[Tensor, Tensor]:
    """The gradients of <direction, `logsumexp_backward`> in ``grad`` and ``x``.

    With u the direction, a = dz/dx, v = u a::

        d/dgrad = <p, v>
        d/dx    = grad a p (v - <p, v>) + grad u p da/dx
    """
    p, a = probabilities(x, form, where), slope(x, form)
    v = direction.movedim(form.axis, -1).to(p.dtype) * a
    mean = (p * v).sum(-1, keepdim=True)
    second = a * p * (v - mean)
    if form.softcap is not None:
        raw = x.movedim(form.axis, -1).to(p.dtype)
        second = second - v * p * (2 / form.softcap) * torch.tanh(raw / form.softcap)
    return mean.squeeze(-1).to(grad.dtype), back(grad.unsqueeze(-1).to(p.dtype) * second, x, form)


def probabilities(x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """Softmax of canonical scores, class axis last, in the computing dtype."""
    z = canonical(x, form, where)
    if where is None:
        return rows(z).p
    anything = where.movedim(form.axis, -1).any(-1, keepdim=True)
    return torch.where(anything, rows(torch.where(anything, z, 0.0)).p, 0.0)


def back(y: Tensor, x: Tensor, form: Form, inactive: Tensor | None = None) -> Tensor:
    """``y`` with the class axis and the dtype of ``x``; 0 in ``inactive`` rows."""
    y = y if inactive is None else torch.where(inactive, 0.0, y)
    return y.to(x.dtype).movedim(-1, form.axis)


# --- rows ---------------------------------------------------------------------------------------------------


def value_backward(name: str, grad: Tensor, x: Tensor, form: Form) -> Tensor:
    """The gradient of entropy, confidence or sum_p2 of each row; 0 for a class of probability 0.

    ::

        dentropy/dz = -p (log p + entropy)       dsum_p2/dz = 2 p (p - sum_p2)
        dconfidence/dz = c ([j = argmax] - p)    c = max p
    """
    r = rows(canonical(x, form))
    p = r.p
    if name == "entropy":
        log_p = torch.where(r.exp == 0, 0.0, r.difference) - r.log_norm
        unit = -p * (log_p - (p * log_p).sum(-1, keepdim=True))
    elif name == "confidence":
        confidence = 1 / (1 + r.rest)
        unit = confidence * (-p).scatter(-1, r.top, r.rest * confidence)
    else:
        unit = 2 * p * (p - (p * p).sum(-1, keepdim=True))
    return back(grad.unsqueeze(-1) * unit * slope(x, form), x, form)


def top_k(x: Tensor, k: int, form: Form) -> tuple[Tensor, Tensor]:
    """The k classes of largest z and their probabilities; ties by class index; -1 and NaN in a NaN row."""
    if undifferentiated.is_possible(x, form.axis, *form) and (division := row_blocks.blocks(x, form.axis)):
        found = zip(*(_top_k(block.of_scores(x), k, form) for block in division), strict=True)
        labels, probabilities = (row_blocks.joined(list(parts), division) for parts in found)
        return labels, probabilities
    return _top_k(x, k, form)


def _top_k(x: Tensor, k: int, form: Form) -> tuple[Tensor, Tensor]:
    r = rows(canonical(x, form))
    order = r.z.sort(stable=True, dim=-1, descending=True).indices[..., :k]
    return torch.where(r.peak.isnan(), -1, order), r.p.gather(-1, order)


def predict(x: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """The class of largest z and its probability; the lowest of equal ones; -1 and NaN in a NaN row."""
    if undifferentiated.is_possible(x, form.axis, *form):
        return undifferentiated.predict(x, form)
    r = rows(canonical(x, form))
    return torch.where(r.peak.isnan(), -1, r.top).squeeze(-1), (1 / (1 + r.rest)).squeeze(-1)
