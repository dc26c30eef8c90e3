"""The usual cases of images: a class axis before others, up to 256 classes, index targets, no options.

In: tensors. Out: tensors, or None where a case is not usual; then `general` computes it. Nothing is checked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from . import plan
from .counting import count
from .launching import launch, processors, workspace
from .layout import Layout, layout
from .planes import planes
from .sums import FEW_ROWS

__all__ = ["cross_entropy", "cross_entropy_and_gradient", "logsumexp", "softmax"]

SOFTMAX, LOG_SOFTMAX, LSE, LOSS, GRADIENT = range(5)  # as in `tile`
NONE, SUM, MEAN = range(3)  # as in `sums`
FACTOR, LOADED, ROWS = range(3)
REDUCTIONS = {"none": NONE, "sum": SUM, "mean": MEAN}
MOST_CLASSES = 256
HELD = 32  # classes in registers
FEWEST = 64  # pixels of an image


class Labels(NamedTuple):
    """Index targets of the pixels, and what becomes of their losses."""

    y: Tensor  # contiguous
    ignore: int
    reduction: int
    factor: float  # for a sum, or a mean with a denominator


def labels(y: Tensor, ignore: int | None, reduction: str, total: float | None) -> Labels | None:
    """Targets of a usual loss, or None."""
    if ignore is None or not -(2**31) < ignore < 2**31:
        return None
    kind, factor = REDUCTIONS[reduction], 1.0
    if kind == MEAN and total is not None:
        if not total:
            return None
        kind, factor = SUM, 1.0 / total
    return Labels(y if y.is_contiguous() else y.contiguous(), ignore, kind, factor)


def _layout(x: Tensor, axis: int, out: Tensor | None) -> Layout | None:
    """The pixels of ``x``, next to each other; None if it is not laid out so."""
    axis %= x.dim()
    if axis == x.dim() - 1 or not 0 < x.shape[axis] <= MOST_CLASSES or x.shape[axis + 1 :].numel() < FEWEST:
        return None
    found = layout(axis, x) if out is None else layout(axis, x, out)
    if found is None or found.inner < FEWEST or not 0 < found.rows < 1 << 31:
        return None
    return found if all(i == 1 and 0 < s < 1 << 31 for _, i, s in found.strides) else None


def softmax(x: Tensor, axis: int, log: bool, out: Tensor | None) -> Tensor | None:
    """Softmax or log-softmax."""
    found = torch.empty_like(x) if out is None else out
    pixels = _layout(x, axis, found)
    if pixels is None or found.dtype is not x.dtype:
        return None
    _run(x, found, None, pixels, LOG_SOFTMAX if log else SOFTMAX, None, None)
    return found


def logsumexp(x: Tensor, axis: int) -> Tensor | None:
    """One number a pixel."""
    pixels = _layout(x, axis, None)
    if pixels is None:
        return None
    axis %= x.dim()
    lse = torch.empty(x.shape[:axis] + x.shape[axis + 1 :], dtype=torch.float32, device=x.device)
    _run(x, None, None, pixels, LSE, lse, None)
    return lse


def cross_entropy(x: Tensor, t: Labels, axis: int) -> Tensor | None:
    """The loss."""
    pixels = _layout(x, axis, None)
    return None if pixels is None else _loss(x, None, t, pixels, LOSS)


def cross_entropy_and_gradient(x: Tensor, t: Labels, axis: int) -> tuple[Tensor, Tensor] | None:
    """The loss, and its gradient (of the sum of the losses for "none")."""
    dx = torch.empty_like(x)
    pixels = _layout(x, axis, dx)
    return None if pixels is None else (_loss(x, dx, t, pixels, GRADIENT), dx)


def _loss(x: Tensor, dx: Tensor | None, t: Labels, pixels: Layout, mode: int) -> Tensor:
    if t.reduction == NONE:
        losses = torch.empty(t.y.shape, dtype=torch.float32, device=x.device)
        _run(x, dx, t, pixels, mode, losses, None)
        return losses
    loss = torch.empty((), dtype=torch.float32, device=x.device)
    _run(x, dx, t, pixels, mode, None, loss)
    return loss


def _run(
    x: Tensor,
    out: Tensor | None,
    t: Labels | None,
    pixels: Layout,
    mode: int,
    rows: Tensor | None,
    result: Tensor | None,
) -> None:
    size = x.element_size()
    classes, inner = pixels.classes, pixels.inner
    xo, _, xs = pixels.strides[0]
    oo, _, os = pixels.strides[-1]
    addresses = [s.data_ptr() // size for s in (x, out) if s is not None]
    a = plan.alignment(size, inner, xo, xs, oo, os, *addresses)
    p = plan.pixels(classes, size)
    held = classes <= HELD
    y, ignore, reduction, factor = t or (None, 0, NONE, 1.0)
    counted, total = FACTOR, None
    programs = min(pixels.rows // inner * -(-inner // p.pixels), plan.MOST_PROGRAMS)
    parts = counters = None
    if reduction != NONE:
        parts, counters, _ = workspace(x, max(programs, 2 * processors(x)))
    if mode == GRADIENT and reduction == MEAN:
        counted = ROWS if pixels.rows <= FEW_ROWS.value else LOADED
        if counted == LOADED:
            total = torch.empty((), dtype=torch.float32, device=x.device)
            counting = min(-(-pixels.rows // 2048), 2 * processors(x))
            launch(count, counting, (y, total, parts, counters, pixels.rows, ignore), (1024,), 4)
    launch(
        planes,
        programs,
        (
            x, out, y, rows, total, result, parts, counters,
            pixels.rows // inner, inner // a, classes, xo // a, xs // a, oo // a, os // a, ignore, factor,
        ),
        (
            mode, reduction, counted, p.pixels, classes if held else 8, held, a, x.dtype is torch.float32,
            max(xs, os) * (classes + 8) >= 2**31,
        ),
        p.warps,
    )  # fmt: skip
