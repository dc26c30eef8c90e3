"""Effective targets in PyTorch's own operations. In: the tensors of a target. Out: `Effective`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer import problem

from .form import Form
from .number_options import Number, differs, over
from .row_blocks import Block
from .tensors import wide

__all__ = [
    "Effective",
    "Target",
    "dense_total",
    "effective",
    "rows_of",
    "scaled",
    "signed",
]


class Target(NamedTuple):
    """The targets of a loss, as passed: index, dense or top-k targets, and the weights."""

    y: Tensor  # index or dense targets; for top-k targets their indices
    class_weight: Tensor | None = None
    sample_weight: Tensor | None = None
    probabilities: Tensor | None = None  # top-k targets only
    rest: Tensor | None = None  # top-k targets only

    @property
    def is_top_k(self) -> bool:
        return self.probabilities is not None

    def is_dense(self, x: Tensor) -> bool:
        """Whether it has a number for each of the scores ``x``."""
        return not self.is_top_k and self.y.shape == x.shape

    def of_block(self, x: Tensor, block: Block) -> Target:
        """The targets of some rows of the scores ``x``."""
        rows = rows_of(x, block.class_axis)
        s, rest = (
            None if t is None else block.of_rows(t.expand(rows)) for t in (self.sample_weight, self.rest)
        )
        y = block.of_scores(self.y) if self.is_dense(x) else block.of_rows(self.y)
        p = None if self.probabilities is None else block.of_rows(self.probabilities)
        return Target(y, self.class_weight, s, p, rest)


class Effective(NamedTuple):
    """t_j = s (sum_k at_k [j = place_k] + each_j), class axis last; ``each`` is broadcast."""

    place: Tensor | None  # class indices, last axis 1 (index targets) or K (top-k); 0 if ignored or wrong
    at: Tensor | None  # the terms of t / s that belong to the classes in ``place``
    each: Tensor | None  # the terms of t / s of all classes: of each row, or (V,), or one number; None: 0
    mass: Tensor  # sum of t / s
    s: Tensor | None  # sample weights
    ignored: Tensor | None  # rows whose class index is ignore_index: bool
    all_zero: Tensor | None  # rows whose t is 0 throughout: bool; None: there can be none
    wrong: Tensor | None  # rows with an index out of range, or integers that are not one-hot: bool
    total: Tensor | float  # the divisor of a mean; 1 without a mean

    def of_rows(self, block: Block) -> Effective:
        """Some of the rows. Not of dense targets, which are divided before they are read."""
        rows = {
            name: block.of_rows(t)
            for name, t in self._asdict().items()
            if isinstance(t, Tensor) and t.ndim == self.mass.ndim
        }
        return self._replace(**rows)


def effective(x: Tensor, target: Target, form: Form, total: Number | None = None) -> Effective:
    """The effective targets. All fields but ``each`` and ``total`` have the rows' shape and one more axis.

    ``total``: the divisor of a mean, if ``x`` and ``target`` are only some of its rows.
    """
    y, w, s, *_ = target
    axis = form.axis % x.ndim
    dtype, classes = wide(x.dtype), x.shape[axis]
    shape = rows_of(x, axis)
    w = None if w is None else w.to(dtype)
    s = None if s is None else s.to(dtype).expand(shape).unsqueeze(-1)
    if target.is_top_k:
        found = _listed(x, target, form, shape, w, s)
    elif target.is_dense(x):
        q = y.movedim(axis, -1).to(dtype)
        dense = form.on * q + form.off if differs(form.on, 1.0) or differs(form.off, 0.0) else q
        dense = dense if w is None else dense * w
        not_one_hot = None if y.is_floating_point() else _not_one_hot(q, s)
        mass = dense.sum(-1, keepdim=True)
        found = Effective(None, None, dense, mass, s, None, mass == 0, not_one_hot, 1.0)
    else:
        found = _of_index(x, target, form, classes, w, s)
    return found._replace(total=_total(x, shape, found, w, form) if total is None else total)


def _of_index(
    x: Tensor, target: Target, form: Form, classes: int, w: Tensor | None, s: Tensor | None
) -> Effective:
    """The effective targets of class indices."""
    dtype = wide(x.dtype)
    y = signed(target.y).unsqueeze(-1)
    ignored = torch.zeros_like(y, dtype=torch.bool) if form.ignore_index is None else y == form.ignore_index
    wrong = ((y < 0) | (y >= classes)) & ~ignored
    index = torch.where(ignored | wrong, 0, y)
    weight = torch.ones_like(y, dtype=dtype) if w is None else w[index]
    each: Tensor | None = None
    mass = form.on * weight
    if differs(form.off, 0.0):
        each = form.off * (torch.ones(1, dtype=dtype, device=x.device) if w is None else w)
        mass = mass + (form.off * classes if w is None else each.sum())
    weightless = None if w is None else mass == 0
    return Effective(index, form.on * weight, each, mass, s, ignored, weightless, wrong, 1.0)


def _not_one_hot(q: Tensor, s: Tensor | None) -> Tensor:
    """Rows that are not one-hot and whose sample weight is not 0."""
    wrong = (q.sum(-1, keepdim=True) != 1) | ((q != 0) & (q != 1)).any(-1, keepdim=True)
    return wrong if s is None else wrong & (s != 0)


def _listed(
    x: Tensor, target: Target, form: Form, shape: torch.Size, w: Tensor | None, s: Tensor | None
) -> Effective:
    """The effective targets of top-k targets."""
    assert target.probabilities is not None
    dtype, classes = wide(x.dtype), x.shape[form.axis]
    y = signed(target.y)
    ignored = torch.zeros_like(y, dtype=torch.bool) if form.ignore_index is None else y == form.ignore_index
    wrong = ((y < 0) | (y >= classes)) & ~ignored
    place = torch.where(ignored | wrong, 0, y)
    p = form.on * torch.where(ignored, 0.0, target.probabilities.to(dtype))
    at = p if w is None else w[place] * p
    mass = at.sum(-1, keepdim=True)
    each: Tensor | None = None
    if target.rest is not None:
        rest = target.rest.to(dtype).expand(shape).unsqueeze(-1)
        rest = torch.where((rest < 0) & (rest >= -problem.ROUNDED), 0.0, rest)
        each = form.on / classes * rest + form.off
    elif differs(form.off, 0.0):
        each = form.off * torch.ones(1, dtype=dtype, device=x.device)
    if each is not None:
        each = each if w is None else each * w
        mass = mass + (classes * each if w is None else each.sum(-1, keepdim=True))
    return Effective(place, at, each, mass, s, None, mass == 0, wrong.any(-1, keepdim=True), 1.0)


def signed(y: Tensor) -> Tensor:
    """Class indices as int64; a uint64 index above its range becomes the largest int64, which is no class."""
    if y.dtype is not torch.uint64:
        return y.long()
    signed = y.view(torch.int64)
    return torch.where(signed < 0, torch.iinfo(torch.int64).max, signed)


def dense_total(x: Tensor, target: Target, form: Form) -> Number:
    """The divisor of a mean of dense targets, which are not read for it."""
    if form.reduction != "mean":
        return 1.0
    if form.denominator is not None:
        return form.denominator
    rows, dtype, s = rows_of(x, form.axis % x.ndim), wide(x.dtype), target.sample_weight
    return (
        torch.ones(rows, dtype=dtype, device=x.device).sum() if s is None else s.to(dtype).expand(rows).sum()
    )


def rows_of(x: Tensor, axis: int) -> torch.Size:
    """The shape of the rows of ``x``; ``axis`` is not negative."""
    return x.shape[:axis] + x.shape[axis + 1 :]


def scaled(x: Tensor, total: Number) -> Tensor:
    """``x`` divided by the total of a mean; 0 if the total is 0."""
    if isinstance(total, Tensor):
        return over(x, total)
    if total == 1.0:
        return x
    return x * x.new_full((), 1 / total if total else 0.0)  # a tensor of the dtype of x


def _total(x: Tensor, shape: torch.Size, e: Effective, w: Tensor | None, form: Form) -> Number:
    """The divisor of a mean: the sum of the rows' weights, unless it was given."""
    if form.reduction != "mean":
        return 1.0
    if form.denominator is not None:
        return form.denominator
    ones = torch.ones((*shape, 1), dtype=e.mass.dtype, device=x.device)
    weights = ones if e.s is None else e.s
    if e.ignored is None:
        return weights.sum()
    if w is not None and e.place is not None:
        weights = weights * w[e.place]
    return torch.where(e.ignored, 0.0, weights).sum()
