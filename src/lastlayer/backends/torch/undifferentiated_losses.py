"""Losses where autograd records nothing: few passes over the scores, little memory. See `undifferentiated`.

In: tensors, and options in canonical form (`Form`). Out: losses and gradients. The passes over float32
scores, without options:

    loss                   argmax, softmax, sum                                             3
    gradient               where, softmax, mul, with what the loss has kept of each row     3
    loss and gradient      where, argmax, softmax, sum, mul                                 5

A block of rows is computed from its scores to its gradient before the next one. What is kept for the gradient
has the class axis last.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from math import nan
from typing import NamedTuple

import torch
from torch import Tensor

from . import row_blocks
from .form import Form
from .number_options import Number, differs
from .row_blocks import Block
from .targets import Effective, Target, dense_total, effective, rows_of, scaled
from .tensors import wide
from .undifferentiated import canonical, from_room, log_norm_of, lse_of, room_for, steepness, without_top

__all__ = ["Kept", "cross_entropy", "cross_entropy_and_gradient", "gradient"]


class Kept(NamedTuple):
    """What the gradient needs of each row, class axis last."""

    top: Tensor  # the argmax
    others: Tensor  # the sum of all probabilities but that of the argmax


def cross_entropy(x: Tensor, target: Target, form: Form) -> tuple[Tensor, Kept]:
    """See `losses.cross_entropy`; and what `gradient` needs of each row."""
    division, total, parts = _divide(x, target, form)
    found = [_losses_and_kept(r, form) for r in parts]
    losses, *kept = (row_blocks.joined(list(each), division) for each in zip(*found, strict=True))
    return _reduced(losses, total, form), Kept(*kept)


def _losses_and_kept(r: _Part, form: Form) -> tuple[Tensor, Tensor, Tensor]:
    z = canonical(r.x, form)
    top = r.x.argmax(r.axis, keepdim=True)
    largest, others = without_top(torch.softmax(z, r.axis), top, r.axis)
    losses = _losses(r, z, z.gather(r.axis, top), log_norm_of(largest, others), form)
    return r.at_end(losses), r.at_end(top), r.at_end(others)


def gradient(grad: Tensor, x: Tensor, target: Target, form: Form, kept: Kept | None = None) -> Tensor:
    """See `losses.gradient`. ``kept``: from `cross_entropy`."""
    division, total, parts = _divide(x, target, form)
    factor = _factor(grad, total, x, form)
    dx = None if division is None else torch.empty_like(x)
    found = [_gradient_from(r, kept, factor, form, r.of_scores(dx)) for r in parts]
    return found[0] if dx is None else dx


def _gradient_from(r: _Part, kept: Kept | None, factor: Tensor, form: Form, out: Tensor | None) -> Tensor:
    z = canonical(r.x, form, r.inactive)
    p = torch.softmax(z, r.axis)
    if kept is None:
        top = r.x.argmax(r.axis, keepdim=True)
        largest, others = without_top(p, top, r.axis)
    else:
        top, others = (r.of_rows(t) for t in kept)
        largest = p.gather(r.axis, top)
    lse = None
    if differs(form.z_loss, 0.0):
        lse = lse_of(z.gather(r.axis, top), log_norm_of(largest, others))
    del z
    return _gradient(r, p, _Statistics(top, largest, others, lse), factor, form, out)


def cross_entropy_and_gradient(x: Tensor, target: Target, form: Form) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of the loss; for "none", that of the sum of the losses."""
    division, total, parts = _divide(x, target, form)
    factor = _factor(x.new_ones((), dtype=wide(x.dtype)), total, x, form)
    dx = None if division is None else torch.empty_like(x)
    found = [_losses_and_gradient(r, factor, form, r.of_scores(dx)) for r in parts]
    losses, slopes = zip(*found, strict=True)
    return _reduced(row_blocks.joined(list(losses), division), total, form), slopes[0] if dx is None else dx


def _losses_and_gradient(r: _Part, factor: Tensor, form: Form, out: Tensor | None) -> tuple[Tensor, Tensor]:
    z = canonical(r.x, form, r.inactive)
    top = r.x.argmax(r.axis, keepdim=True)
    p = torch.softmax(z, r.axis)
    largest, others = without_top(p, top, r.axis)
    peak, log_norm = z.gather(r.axis, top), log_norm_of(largest, others)
    losses = _losses(r, z, peak, log_norm, form)
    del z
    lse = lse_of(peak, log_norm) if differs(form.z_loss, 0.0) else None
    statistics = _Statistics(top, largest, others, lse)
    return r.at_end(losses), _gradient(r, p, statistics, factor, form, out)


class _Part(NamedTuple):
    """Some of the rows. The targets have the class axis where the scores have it."""

    x: Tensor
    e: Effective
    inactive: Tensor | None  # rows whose loss and gradient are 0, whatever their scores
    axis: int
    block: Block | None

    def at_end(self, t: Tensor) -> Tensor:
        return t.movedim(self.axis, -1)

    def of_rows(self, t: Tensor) -> Tensor:
        """Its part of a tensor with numbers of rows, class axis last."""
        return (t if self.block is None else self.block.of_rows(t)).movedim(-1, self.axis)

    def of_scores(self, t: Tensor | None) -> Tensor | None:
        return t if self.block is None or t is None else self.block.of_scores(t)

    def of_each(self, classes: Tensor) -> Tensor:
        """``each`` of the classes at these places of each row."""
        each = self.e.each
        assert each is not None
        if each.shape[self.axis] == 1:
            return each
        return each.expand(self.x.shape).gather(self.axis, classes)


class _Statistics(NamedTuple):
    top: Tensor
    largest: Tensor
    others: Tensor
    lse: Tensor | None  # with a z-loss


def _divide(x: Tensor, target: Target, form: Form) -> tuple[list[Block] | None, Number, Iterator[_Part]]:
    """The blocks of a call, the divisor of its mean, and the rows of each block."""
    axis = form.axis % x.ndim
    division = row_blocks.blocks(x, axis)
    if division is None or not target.is_dense(x):
        e = effective(x, target, form)
        own = [None] if division is None else division
        parts = (_part_of(x, e, form, axis, block) for block in own)
        return division, e.total, parts
    total = dense_total(x, target, form)

    def of_dense() -> Iterator[_Part]:
        for block in division:
            some = block.of_scores(x)
            own = effective(some, target.of_block(x, block), form, total)
            part = _part_of(some, own, form, axis, None)._replace(block=block)
            del own
            yield part
            del part

    return division, total, of_dense()


def _part_of(x: Tensor, e: Effective, form: Form, axis: int, block: Block | None) -> _Part:
    """The block's rows of ``x`` and ``e``."""
    if block is not None:
        x, e = block.of_scores(x), e.of_rows(block)
    fields = e._asdict()
    for name, t in fields.items():
        if isinstance(t, Tensor) and t.ndim == x.ndim and name != "total":
            fields[name] = t.movedim(-1, axis)
    if e.each is not None and e.each.ndim == 1:
        fields["each"] = e.each.view([-1 if i == axis else 1 for i in range(x.ndim)])
    e = Effective(**fields)
    return _Part(x, e, _inactive(e, form.z_loss), axis, block)


def _inactive(e: Effective, z_loss: Number) -> Tensor | None:
    """Rows that are ignored or have no weight: with finite scores the formulas would give 0 too."""
    found = [] if e.ignored is None else [e.ignored]
    if e.s is not None:
        found.append(e.s == 0)
    if e.all_zero is not None and not differs(z_loss, 0.0):
        found.append(e.all_zero)
    elif e.all_zero is not None and isinstance(z_loss, Tensor):
        found.append(e.all_zero & (z_loss == 0))
    if isinstance(e.total, Tensor):
        found.append((e.total == 0).expand(e.mass.shape))
    elif not e.total:
        found.append(torch.ones_like(e.mass, dtype=torch.bool))
    return functools.reduce(torch.logical_or, found) if found else None


def _losses(r: _Part, z: Tensor, peak: Tensor, log_norm: Tensor, form: Form) -> Tensor:
    """The loss of each row. ``z`` is overwritten, unless it is the scores themselves."""
    e, axis = r.e, r.axis
    losses = e.mass * log_norm
    if e.place is not None and e.at is not None:
        losses = losses + _gap(z.gather(axis, e.place) - peak, e.at).sum(axis, keepdim=True)
    if e.each is not None:
        difference = z - peak if z is r.x else z.sub_(peak)
        if e.each.shape[axis] == 1:
            weighted = difference.mul_(e.each).sum(axis, keepdim=True)  # unweighted, the sum could overflow
            losses = losses - torch.where(e.each == 0, 0.0, weighted)
        else:
            weighted = difference.mul_(e.each).masked_fill_(e.each == 0, 0.0)
            losses = losses - weighted.sum(axis, keepdim=True)
    if differs(form.z_loss, 0.0):
        losses = losses + form.z_loss * lse_of(peak, log_norm) ** 2
    losses = losses if e.s is None else e.s * losses
    losses = losses if r.inactive is None else torch.where(r.inactive, 0.0, losses)
    return losses if e.wrong is None else torch.where(e.wrong, nan, losses)


def _gap(difference: Tensor, weight: Tensor) -> Tensor:
    """-weight * difference, with 0 where the weight is 0."""
    return torch.where(weight == 0, 0.0, -weight * difference)


def _reduced(losses: Tensor, total: Number, form: Form) -> Tensor:
    return losses.squeeze(-1) if form.reduction == "none" else scaled(losses.sum(), total)


def _factor(grad: Tensor, total: Number, x: Tensor, form: Form) -> Tensor:
    """The factor of each row's gradient, class axis last: grad and the scale of the reduction."""
    factor = grad.to(wide(x.dtype)) if form.reduction == "none" else scaled(grad.to(wide(x.dtype)), total)
    rows = rows_of(x, form.axis % x.ndim)
    return factor.expand(rows).unsqueeze(-1)


def _gradient(
    r: _Part, p: Tensor, known: _Statistics, factor: Tensor, form: Form, out: Tensor | None
) -> Tensor:
    """h dz/dx (c p - t) of some rows, with h = grad s scale. ``p`` is overwritten.

    At the argmax, where c p - t would cancel, it is (c - t) - c (1 - p) if p is above 1/2.
    """
    e, axis, top = r.e, r.axis, known.top
    c = e.mass
    if known.lse is not None:
        lse = known.lse if r.inactive is None else torch.where(r.inactive, 0.0, known.lse)
        c = c + 2 * form.z_loss * lse
    h = _height(r, factor, form)
    t = 0.0 if e.each is None else r.of_each(top)
    if e.place is not None and e.at is not None:
        t = t + torch.where(e.place == top, e.at, 0.0).sum(axis, keepdim=True)
    at_top = torch.where(known.others < 0.5, (c - t) - c * known.others, c * known.largest - t)
    entries = [(top, h * at_top)]
    rate = h * c
    if e.place is not None and e.at is not None and e.place.shape[axis] == 1:
        at_place = rate * p.gather(axis, e.place) - h * e.at
        at_place = at_place if e.each is None else at_place - h * r.of_each(e.place)
        entries.insert(0, (e.place, at_place))  # the argmax last: it may be the same class
    elif e.place is not None and e.at is not None:  # classes may be listed more than once
        p.mul_(rate).scatter_add_(axis, e.place, -h * e.at)
        rate = torch.ones_like(rate)
    room = room_for(p, r.x, out) if form.softcap is None else p
    if e.each is None:
        torch.mul(p, rate, out=room)
    elif e.each.shape[axis] == 1:
        torch.addcmul(-h * e.each, p, rate, out=room)
    else:
        torch.addcmul(p.mul_(rate), e.each, -h, out=room)
    for place, values in entries:
        room.scatter_(axis, place, values.to(room.dtype))
    if form.softcap is not None:
        room = torch.div(p, steepness(r.x, form, r.inactive), out=room_for(p, r.x, out))
    return from_room(room, r.x, out)


def _height(r: _Part, factor: Tensor, form: Form) -> Tensor:
    """grad s scale / temperature of each row: 0 if it is inactive, NaN if its target is wrong."""
    e = r.e
    h = r.of_rows(factor)
    h = h if e.s is None else h * e.s
    h = h / form.temperature if differs(form.temperature, 1.0) else h
    h = h if r.inactive is None else torch.where(r.inactive, 0.0, h)
    if e.wrong is None:
        return h
    wrong = e.wrong & (e.total != 0) if isinstance(e.total, Tensor) else e.wrong
    return torch.where(wrong, nan, h)
