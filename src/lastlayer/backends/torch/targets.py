"""Targets of tensors, and their canonical form in PyTorch's own operations. In: tensors. Out: `Effective`."""

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
    """What a loss is taken against: index, dense or top-k targets, and their weights."""

    y: Tensor  # of top-k targets the indices
    class_weight: Tensor | None = None
    sample_weight: Tensor | None = None
    probabilities: Tensor | None = None  # of top-k targets
    rest: Tensor | None = None  # the same

    @property
    def is_top_k(self) -> bool:
        return self.probabilities is not None


class Effective(NamedTuple):
    """t_j = s (sum_k at_k [j = place_k] + each_j), class axis last; ``each`` may be one row for all."""

    place: Tensor | None  # y, of one class or K at the end; 0 where it is no class
    at: Tensor | None  # what the classes y have beyond the others
    each: Tensor | None  # a dense row of each row, a vector of the classes, or nothing
    mass: Tensor  # the sum of t without s
    s: Tensor | None  # sample weights
    ignored: Tensor | None  # rows without any target: bool
    empty: Tensor | None  # rows whose t is 0 throughout: bool; None: there can be none
    wrong: Tensor | None  # rows whose class index is none, or of integers that are not one-hot: bool
    total: Tensor | float  # what a mean is divided by


def effective(x: Tensor, target: Target, form: Form) -> Effective:
    """The targets in canonical form; all but ``each`` and ``total`` have the rows' shape and a last axis."""
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
        empty = (dense == 0).all(-1, keepdim=True)
        return Effective(None, None, dense, mass, s, None, empty, not_one_hot, _total(form, total))
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
    """Rows that have a weight and are not one-hot."""
    wrong = (q.sum(-1, keepdim=True) != 1) | ((q != 0) & (q != 1)).any(-1, keepdim=True)
    return wrong if s is None else wrong & (s != 0)


def _listed(target: Target, form: Form, ones: Tensor, w: Tensor, s: Tensor | None) -> Effective:
    """Top-k targets in canonical form."""
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
    """Class indices as int64: those of uint64 beyond them stay beyond every class."""
    if y.dtype is not torch.uint64:
        return y.long()
    signed = y.view(torch.int64)
    return torch.where(signed < 0, torch.iinfo(torch.int64).max, signed)


def _total(form: Form, total: Tensor) -> Number:
    if form.reduction != "mean":
        return 1.0
    return total if form.denominator is None else form.denominator
