"""The losses in PyTorch's own operations: differentiable to any order, on every device. See `composed`.

In: tensors, and options in canonical form. Out: losses, gradients and double backward passes.
"""

from __future__ import annotations

from math import inf, nan

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import row_blocks, undifferentiated, undifferentiated_losses
from .composed import Form, Rows, back, canonical, rows, slope
from .number_options import Number, differs
from .row_blocks import Block
from .targets import Effective, Target, effective, scaled
from .tensors import is_transformed, wide
from .undifferentiated_losses import Kept

__all__ = [
    "cross_entropy",
    "cross_entropy_and_gradient",
    "cross_entropy_and_statistics",
    "double_backward",
    "gradient",
    "pick_double_backward",
    "pick_gradient",
    "pick_loss",
    "ranks",
    "row_factor",
    "statistics",
]


def _inactive(z: Tensor, e: Effective, z_loss: Number = 0.0) -> Tensor | None:
    """Rows to leave out: ignored ones, inactive ones with infinite or NaN scores, all if the total is 0."""
    inactive = e.ignored
    weightless = None if e.s is None else e.s == 0
    if e.all_zero is not None and (isinstance(z_loss, Tensor) or not z_loss):
        all_zero = e.all_zero & (z_loss == 0)
        weightless = all_zero if weightless is None else weightless | all_zero
    if weightless is not None:
        not_finite = weightless & ~torch.isfinite(z.detach()).all(-1, keepdim=True)
        inactive = not_finite if inactive is None else inactive | not_finite
    no_weight = e.total == 0
    if isinstance(no_weight, Tensor):
        inactive = no_weight.expand(z.shape[:-1]).unsqueeze(-1) if inactive is None else inactive | no_weight
    elif no_weight:
        inactive = torch.ones((*z.shape[:-1], 1), dtype=torch.bool, device=z.device)
    return inactive


def _state(x: Tensor, target: Target, form: Form) -> tuple[Effective, Rows, Tensor | None]:
    """The targets, the statistics of the rows, and the rows to leave out."""
    e = effective(x, target, form)
    z = canonical(x, form)
    inactive = _inactive(z, e, form.z_loss)
    if inactive is not None and form.softcap is None:
        z = torch.where(inactive, 0.0, z)
    elif inactive is not None:  # before the softcap, since its derivative at NaN is NaN
        z = canonical(torch.where(inactive.movedim(-1, form.axis), 0.0, x), form)
    return _possible(e, z), rows(z), inactive


def _possible(e: Effective, z: Tensor) -> Effective:
    """The targets, with constants where t = 0 and z = -inf, so that their derivatives are 0 and not NaN."""
    learned = (t.requires_grad for t in (e.at, e.each) if t is not None)
    if not (is_transformed() or forward_ad._current_level >= 0 or any(learned)):
        return e
    _, at, each, mass, *_ = e
    gone = z.detach() == -inf
    if each is not None:
        constant = gone & (each == 0)
        mass = mass - torch.where(constant, each, 0.0).sum(-1, keepdim=True)
        each = torch.where(constant, 0.0, each)
    if at is not None and e.place is not None:
        constant = gone.gather(-1, e.place) & (at == 0)
        mass = mass - torch.where(constant, at, 0.0).sum(-1, keepdim=True)
        at = torch.where(constant, 0.0, at)
    return e._replace(at=at, each=each, mass=mass)


def _times(weight: Tensor, difference: Tensor) -> Tensor:
    """-weight * difference, with 0 where the weight is 0 and the difference infinite or NaN."""
    difference = torch.where((weight == 0) & ~difference.detach().isfinite(), 0.0, difference)
    return -weight * difference


def cross_entropy(x: Tensor, target: Target, form: Form) -> Tensor:
    """loss = s (gap + mass log1p(rest) + z_loss lse^2), where gap = sum_j t_j (peak - z_j); reduced."""
    if _is_undifferentiated(x, target, form):
        return undifferentiated_losses.cross_entropy(x, target, form)[0]
    e, r, inactive = _state(x, target, form)
    losses = _gap(r.difference, e) + e.mass * r.log_norm
    if differs(form.z_loss, 0.0):
        losses = losses + form.z_loss * r.lse**2
    return _reduced(losses, e, inactive, form)


def _is_undifferentiated(x: Tensor, target: Target, form: Form, grad: Tensor | None = None) -> bool:
    return undifferentiated.is_possible(x, form.axis, grad, *target, *form)


def cross_entropy_and_statistics(x: Tensor, target: Target, form: Form) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and what `gradient` can use of each row."""
    if _is_undifferentiated(x, target, form):
        return undifferentiated_losses.cross_entropy(x, target, form)
    return cross_entropy(x, target, form), ()


def cross_entropy_and_gradient(x: Tensor, target: Target, form: Form) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of the loss; for "none", that of the sum of the losses."""
    if _is_undifferentiated(x, target, form):
        return undifferentiated_losses.cross_entropy_and_gradient(x, target, form)
    value = cross_entropy(x, target, form)
    return value, gradient(torch.ones_like(value), x, target, form)


def pick_loss(x: Tensor, target: Target, form: Form, log: bool) -> Tensor:
    """loss = -sum_j t_j log p_j, from log-probabilities, or from probabilities (log=True).

    Where t = 0, p is not read: the term is 0 even if p is 0 or NaN.
    """
    e = effective(x, target, form)
    p = x.movedim(form.axis, -1).to(wide(x.dtype))
    inactive = _inactive(p, e)
    p = p if inactive is None else torch.where(inactive, 1.0, p)
    if e.at is not None and e.place is not None:
        picked = p.gather(-1, e.place)
        losses = _times(e.at, _log(picked, e.at) if log else picked)
        if e.each is not None:
            losses = losses + _times(e.each, _log(p, e.each) if log else p).sum(-1, keepdim=True)
    else:
        assert e.each is not None
        losses = _times(e.each, _log(p, e.each) if log else p).sum(-1, keepdim=True)
    return _reduced(losses, e, inactive, form)


def _log(p: Tensor, weight: Tensor) -> Tensor:
    """log p; where the weight is 0 and log p not finite, -inf with derivative 0."""
    unread = (weight == 0) & ~((p > 0) & (p < inf))
    return torch.where(unread, -inf, torch.log(torch.where(unread, 1.0, p)))


def _gap(difference: Tensor, e: Effective) -> Tensor:
    """sum_j t_j (peak - z_j) / s."""
    if e.place is None or e.at is None:
        assert e.each is not None
        return _times(e.each, difference).sum(-1, keepdim=True)
    gap = _times(e.at, difference.gather(-1, e.place)).sum(-1, keepdim=True)
    return gap if e.each is None else gap + _times(e.each, difference).sum(-1, keepdim=True)


def _reduced(losses: Tensor, e: Effective, inactive: Tensor | None, form: Form) -> Tensor:
    losses = losses if e.s is None else e.s * losses
    if inactive is not None:
        losses = torch.where(inactive, 0.0, losses)
    if e.wrong is not None:
        losses = torch.where(e.wrong, nan, losses)
    if form.reduction == "none":
        return losses.squeeze(-1)
    return scaled(losses.sum(), e.total)


def gradient(grad: Tensor, x: Tensor, target: Target, form: Form, kept: tuple[Tensor, ...] = ()) -> Tensor:
    """d(grad . loss)/dx = grad s scale dz/dx ((mass + 2 z_loss lse) p - t).

    ``kept``: from `cross_entropy_and_statistics`, to spare two passes.
    """
    if _is_undifferentiated(x, target, form, grad):
        return undifferentiated_losses.gradient(grad, x, target, form, Kept(*kept) if kept else None)
    e, r, inactive = _state(x, target, form)
    return back(_row_factor(grad, e, form) * _unit(r, e, form) * slope(x, form), x, form, inactive)


def double_backward(
    direction: Tensor, grad: Tensor, x: Tensor, target: Target, form: Form
) -> tuple[Tensor, Tensor]:
    """The gradients of <direction, `gradient`> in ``grad`` and ``x``.

    With u the direction, G = c p - t, c = mass + 2 z_loss lse, a = dz/dx, h = grad s scale::

        d/dgrad = s scale sum_j u_j a_j G_j
        d/dx    = h a (c p (v - <p, v>) + 2 z_loss p <p, v>) + h u G da/dx          v = u a
    """
    e, r, inactive = _state(x, target, form)
    z = r.z
    u, a, unit, p = direction.movedim(form.axis, -1).to(z.dtype), slope(x, form), _unit(r, e, form), r.p
    v = u * a
    mean = (p * v).sum(-1, keepdim=True)
    c = e.mass + 2 * form.z_loss * r.lse if differs(form.z_loss, 0.0) else e.mass
    second = c * p * (v - mean)
    if differs(form.z_loss, 0.0):
        second = second + 2 * form.z_loss * p * mean
    second = second * a
    if form.softcap is not None:
        raw = x.movedim(form.axis, -1).to(z.dtype)
        second = second - v * unit * (2 / form.softcap) * torch.tanh(raw / form.softcap)
    along = (v * unit).sum(-1, keepdim=True) * _row_factor(torch.ones_like(grad), e, form)
    along = along if inactive is None else torch.where(inactive, 0.0, along)
    along = along.squeeze(-1) if form.reduction == "none" else along.sum()
    return along.to(grad.dtype), back(_row_factor(grad, e, form) * second, x, form, inactive)


def row_factor(grad: Tensor, x: Tensor, target: Target, form: Form) -> Tensor:
    """grad s scale mass of each row: the factor of softmax's derivative in the Hessian; 0 if ignored.

    For index targets.
    """
    e = effective(x, target, form)
    found = _row_factor(grad, e, form) * e.mass
    found = found if e.ignored is None else torch.where(e.ignored, 0.0, found)
    return found if e.wrong is None else torch.where(e.wrong, nan, found)


def _row_factor(grad: Tensor, e: Effective, form: Form) -> Tensor:
    """grad s scale: the factor of each row's gradient."""
    row_factor = grad.unsqueeze(-1) if form.reduction == "none" else scaled(grad, e.total)
    row_factor = row_factor.to(e.mass.dtype)
    return row_factor if e.s is None else row_factor * e.s


def _unit(r: Rows, e: Effective, form: Form) -> Tensor:
    """c p - t, without the factor s; at the peak (c - t) - c rest / (1 + rest), to avoid cancellation."""
    c = e.mass + 2 * form.z_loss * r.lse if differs(form.z_loss, 0.0) else e.mass
    at_peak = -c * (r.rest / (1 + r.rest))
    unit = c * r.p
    if e.each is None:
        left = c
    else:
        unit = unit - e.each
        left = c - e.each.expand(unit.shape).gather(-1, r.top)
    if e.place is not None and e.at is not None:
        unit = unit.scatter_add(-1, e.place, -e.at)
        left = left - torch.where(e.place == r.top, e.at, 0.0).sum(-1, keepdim=True)
    unit = unit.scatter(-1, r.top, left + at_peak)
    return unit if e.wrong is None else torch.where(e.wrong, nan, unit)


def pick_gradient(grad: Tensor, x: Tensor, target: Target, form: Form, log: bool) -> Tensor:
    """d(grad . loss)/dx = -grad s scale t; divided by p if log=True."""
    e = effective(x, target, form)
    p = x.movedim(form.axis, -1).to(wide(x.dtype))
    inactive = _inactive(p, e)
    row_factor = -_row_factor(grad, e, form)
    if inactive is not None:
        row_factor = torch.where(inactive, 0.0, row_factor)
    if e.wrong is not None:
        row_factor = torch.where(e.wrong, nan, row_factor)
    if e.place is None or e.at is None:
        assert e.each is not None
        result = _over(row_factor * e.each, p) if log else row_factor * e.each
    elif e.each is None:
        at = row_factor * e.at
        at = _over(at, p.gather(-1, e.place)) if log else at
        result = torch.zeros_like(p).scatter(-1, e.place, at)
    else:
        t = e.each.expand(p.shape).scatter_add(-1, e.place, e.at)
        result = _over(row_factor * t, p) if log else row_factor * t
    return back(result, x, form)


def pick_double_backward(
    direction: Tensor, grad: Tensor, x: Tensor, target: Target, form: Form, log: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of <direction, `pick_gradient`> in ``grad`` and ``x``."""
    unit = pick_gradient(torch.ones_like(grad), x, target, form, log)
    along = (direction * unit).movedim(form.axis, -1).sum(-1)
    in_grad = (along if form.reduction == "none" else along.sum()).to(grad.dtype)
    if not log:
        always = torch.ones((), dtype=torch.bool, device=x.device)
        return in_grad, torch.where(always, 0.0, x)  # zeros that depend on x, so that they have a derivative
    first = pick_gradient(grad, x, target, form, log)
    return in_grad, -direction * _over(first, x)


def _over(t: Tensor, p: Tensor) -> Tensor:
    """t / p, with 0 where t is 0."""
    return t / torch.where(t == 0, 1.0, p)


def ranks(x: Tensor, y: Tensor, target_logits: Tensor, form: Form) -> Tensor:
    """How many of these classes rank above class y of each row, given its logit: see `reference.ranks`."""
    z = canonical(x, form)
    z_y = canonical(target_logits.expand(y.shape).unsqueeze(-1).to(z.dtype), form._replace(axis=-1))
    j, y = torch.arange(z.shape[-1], device=x.device), y.unsqueeze(-1)
    return (((z > z_y) | ((z == z_y) & (j < y))) & (j != y)).sum(-1)


def statistics(x: Tensor, target: Target | None, form: Form) -> dict[str, Tensor]:
    """The fields of `RowStats`."""
    others = (None,) * len(Target._fields) if target is None else target
    if undifferentiated.is_possible(x, form.axis, *others, *form):
        division = row_blocks.blocks(x, form.axis)
        parts = [_statistics(*_some(x, target, block), form) for block in division or (None,)]
        return {name: row_blocks.joined([part[name] for part in parts], division) for name in parts[0]}
    return _statistics(x, target, form)


def _some(x: Tensor, target: Target | None, block: Block | None) -> tuple[Tensor, Target | None]:
    """The scores and targets of a block of rows."""
    if block is None:
        return x, target
    return block.of_scores(x), None if target is None else target.of_block(x, block)


def _statistics(x: Tensor, target: Target | None, form: Form) -> dict[str, Tensor]:
    r = rows(canonical(x, form))
    unknown = r.peak.isnan()
    infinite = r.peak.isinf()
    found = {
        "peak": r.peak,
        "rest": torch.where(infinite, torch.where(r.peak < 0, 0.0, nan), r.rest),
        "argmax": torch.where(unknown, -1, r.top),
        "spread": (r.exp * torch.where(r.exp == 0, 0.0, -r.difference)).sum(-1, keepdim=True),
        "square": (r.exp * r.exp).scatter(-1, r.top, 0.0).sum(-1, keepdim=True),
    }
    if target is not None:
        e = effective(x, target, form)
        s = 1.0 if e.s is None else e.s
        ignored = torch.zeros_like(unknown) if e.ignored is None else e.ignored
        ignored = ignored if e.s is None else ignored | (e.s == 0)
        found["gap"] = torch.where(ignored, 0.0, s * _gap(r.difference, e))
        if e.wrong is not None:
            found["gap"] = torch.where(e.wrong, nan, found["gap"])
        found["mass"] = s * e.mass if e.ignored is None else torch.where(e.ignored, 0.0, s * e.mass)
        weight = torch.ones_like(e.mass) if e.s is None else e.s
        found["weight"] = weight if e.ignored is None else torch.where(e.ignored, 0.0, weight)
        if e.place is not None and not target.is_top_k:
            w = None if target.class_weight is None else target.class_weight.to(e.mass.dtype)
            found["target_weight"] = torch.where(e.ignored, 0.0, 1.0 if w is None else w[e.place])  # type: ignore[arg-type]
            at = r.z.gather(-1, e.place)
            j = torch.arange(r.z.shape[-1], device=x.device)
            rank = ((r.z > at) | ((r.z == at) & (j < e.place))).sum(-1, keepdim=True)
            unranked = unknown | ignored if e.wrong is None else unknown | ignored | e.wrong
            found["rank"] = torch.where(unranked, -1, rank)
    return {key: v.squeeze(-1) for key, v in found.items()}
