"""Effective targets in PyTorch's own operations. In: the tensors of a target. Out: `Effective`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer import problem

from .composed import Form
from .number_options import Number, differs
from .tensors import wide

__all__ = [
    "Effective",
    "Target",
    "effective",
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


class Effective(NamedTuple):
    """t_j = s (sum_k at_k [j = place_k] + each_j), class axis last; ``each`` may be one row for all."""

    place: Tensor | None  # class indices, last axis 1 (index targets) or K (top-k); 0 if ignored or wrong
    at: Tensor | None  # the terms of t / s that belong to the classes in ``place``
    each: Tensor | None  # the terms of t / s of all classes: a dense row per row, or (V,); None: 0
    mass: Tensor  # sum of t / s
    s: Tensor | None  # sample weights
    ignored: Tensor | None  # rows whose class index is ignore_index: bool
    all_zero: Tensor | None  # rows whose t is 0 throughout: bool; None: there can be none
    wrong: Tensor | None  # rows with an index out of range, or integers that are not one-hot: bool
    total: Tensor | float  # the divisor of a mean; 1 without a mean


def effective(x: Tensor, target: Target, form: Form) -> Effective:
    """The effective targets. All fields but ``each`` and ``total`` have the rows' shape and one more axis."""
    y, w, s, *_ = target
    axis = form.axis % x.ndim
    dtype, classes = wide(x.dtype), x.shape[axis]
    shape = x.shape[:axis] + x.shape[axis + 1 :]
    ones = torch.ones((*shape, 1), dtype=dtype, device=x.device)
    w = None if w is None else w.to(dtype)
    s = None if s is None else s.to(dtype).expand(shape).unsqueeze(-1)
    if target.is_top_k:
        return _listed(
            target, form, ones.squeeze(-1), x.new_ones(classes, dtype=dtype) if w is None else w, s
        )
    if y.shape == x.shape:
        q = y.movedim(axis, -1).to(dtype)
        dense = form.on * q + form.off
        dense = dense if w is None else dense * w
        not_one_hot = None if y.is_floating_point() else _not_one_hot(q, s)
        total, mass = (ones if s is None else s).sum(), dense.sum(-1, keepdim=True)
        all_zero = (dense == 0).all(-1, keepdim=True)
        return Effective(None, None, dense, mass, s, None, all_zero, not_one_hot, _total(form, total))
    y = signed(y).unsqueeze(-1)
    ignored = torch.zeros_like(y, dtype=torch.bool) if form.ignore_index is None else y == form.ignore_index
    wrong = ((y < 0) | (y >= classes)) & ~ignored
    index = torch.where(ignored | wrong, 0, y)
    weight = ones if w is None else w[index]
    each: Tensor | None = None
    mass = form.on * weight
    if differs(form.off, 0.0):
        each = form.off * (torch.ones(classes, dtype=dtype, device=x.device) if w is None else w)
        mass = mass + each.sum()
    total = torch.where(ignored, 0.0, weight if s is None else weight * s).sum()
    weightless = None if w is None else mass == 0
    return Effective(index, form.on * weight, each, mass, s, ignored, weightless, wrong, _total(form, total))


def _not_one_hot(q: Tensor, s: Tensor | None) -> Tensor:
    """Rows that are not one-hot and whose sample weight is not 0."""
    wrong = (q.sum(-1, keepdim=True) != 1) | ((q != 0) & (q != 1)).any(-1, keepdim=True)
    return wrong if s is None else wrong & (s != 0)


def _listed(target: Target, form: Form, ones: Tensor, w: Tensor, s: Tensor | None) -> Effective:
    """The effective targets of top-k targets."""
    assert target.probabilities is not None
    y, classes = signed(target.y), w.shape[0]
    ignored = torch.zeros_like(y, dtype=torch.bool) if form.ignore_index is None else y == form.ignore_index
    wrong = ((y < 0) | (y >= classes)) & ~ignored
    place = torch.where(ignored | wrong, 0, y)
    p = torch.where(ignored, 0.0, target.probabilities.to(w.dtype))
    at = form.on * w[place] * p
    mass, each = at.sum(-1, keepdim=True), None
    if target.rest is not None:
        rest = target.rest.to(w.dtype).expand(ones.shape).unsqueeze(-1)
        rest = torch.where((rest < 0) & (rest >= -problem.ROUNDED), 0.0, rest)
        each = (form.on / classes * rest + form.off) * w
    elif differs(form.off, 0.0):
        each = form.off * w
    mass = mass if each is None else mass + each.sum(-1, keepdim=True)
    total = (ones if s is None else s).sum()
    wrong = wrong.any(-1, keepdim=True)
    return Effective(place, at, each, mass, s, None, mass == 0, wrong, _total(form, total))


def signed(y: Tensor) -> Tensor:
    """Class indices as int64; a uint64 index above its range becomes the largest int64, which is no class."""
    if y.dtype is not torch.uint64:
        return y.long()
    signed = y.view(torch.int64)
    return torch.where(signed < 0, torch.iinfo(torch.int64).max, signed)


def _total(form: Form, total: Tensor) -> Number:
    if form.reduction != "mean":
        return 1.0
    return total if form.denominator is None else form.denominator
