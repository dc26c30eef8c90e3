"""The usual cases, by the fastest kernels: classes side by side in memory, index targets, no options.

In: tensors. Out: tensors, or None where a case is not usual; then `general` computes it. Nothing is checked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import plan
from .counting import count
from .few import few
from .launching import Base, launch, processors, workspace
from .long import EMPTY, again, follow, lines, spans
from .scaling import scale
from .sums import FEW_ROWS
from .tile import tile

__all__ = ["cross_entropy", "cross_entropy_and_gradient", "gradient", "logsumexp", "scaled", "softmax"]

SOFTMAX, LOG_SOFTMAX, LSE, LOSS, GRADIENT = range(5)  # as in `tile`
NONE, SUM, MEAN = range(3)  # as in `sums`
FACTOR, LOADED, ROWS = range(3)
REDUCTIONS = {"none": NONE, "sum": SUM, "mean": MEAN}
INT32 = 1 << 31


class Rows(NamedTuple):
    """Scores as rows: classes side by side, a row every ``stride`` scores."""

    n: int
    classes: int
    stride: int


def rows_of(x: Tensor, axis: int) -> Rows | None:
    """``x`` as rows; None if it is not laid out so."""
    ndim = x.dim()
    if axis % ndim != ndim - 1:
        return None
    classes = x.shape[-1]
    if classes == 0 or classes > 1 << 20:
        return None
    if x.is_contiguous():
        n, stride = x.numel() // classes, classes
    elif ndim == 2 and x.stride(1) == 1 and x.stride(0) >= classes:
        n, stride = x.shape[0], x.stride(0)
    else:
        return None
    return Rows(n, classes, stride) if n * classes < 1 << 40 and n < INT32 and stride < 1 << 24 else None


def softmax(x: Tensor, axis: int, log: bool, out: Tensor | None) -> Tensor | None:
    """Softmax or log-softmax."""
    rows = rows_of(x, axis)
    if rows is None:
        return None
    found = torch.empty_like(x) if out is None else out
    if found.dtype is not x.dtype or (to := rows_of(found, axis)) is None or to.n != rows.n:
        return None
    mode = LOG_SOFTMAX if log else SOFTMAX
    return found if _write(x, found, None, rows, to, mode, NONE, 0, 1.0, None, None) else None


def logsumexp(x: Tensor, axis: int) -> Tensor | None:
    """One number a row."""
    rows = rows_of(x, axis)
    if rows is None:
        return None
    lse = torch.empty(x.shape[:-1], dtype=torch.float32, device=x.device)
    _read(x, None, rows, LSE, NONE, 0, 1.0, lse, None, None)
    return lse


class Usual(NamedTuple):
    """A usual loss."""

    rows: Rows
    y: Tensor  # contiguous
    ignore: int
    reduction: int
    factor: float  # for a sum, or a mean with a denominator


def usual(
    x: Tensor, y: Tensor, axis: int, ignore: int | None, reduction: str, total: float | None
) -> Usual | None:
    """A loss of index targets without options, or None."""
    rows = rows_of(x, axis)
    if rows is None or ignore is None or not -INT32 < ignore < INT32 or y.numel() != rows.n:
        return None
    kind, factor = REDUCTIONS[reduction], 1.0
    if kind == MEAN and total is not None:
        kind, factor = SUM, (1.0 / total if total else 0.0)
    return Usual(rows, y if y.is_contiguous() else y.contiguous(), ignore, kind, factor)


def cross_entropy(x: Tensor, u: Usual, keep: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and (peak, other) of each row if ``keep``."""
    n = u.rows.n
    kept: tuple[Tensor, ...] = ()
    if keep:
        kept = tuple(torch.empty(2, n, dtype=torch.float32, device=x.device).unbind(0))
    if u.reduction == NONE:
        losses = torch.empty(u.y.shape, dtype=torch.float32, device=x.device)
        _read(x, u.y, u.rows, LOSS, NONE, u.ignore, 1.0, losses, None, kept)
        return losses, kept
    loss = torch.empty((), dtype=torch.float32, device=x.device)
    if n == 0:
        return loss.zero_(), kept
    _read(x, u.y, u.rows, LOSS, u.reduction, u.ignore, u.factor, None, loss, kept)
    return loss, kept


def cross_entropy_and_gradient(x: Tensor, u: Usual) -> tuple[Tensor, Tensor] | None:
    """The loss, and its gradient (of the sum of the losses for "none")."""
    dx = torch.empty_like(x)
    to = rows_of(dx, -1)
    losses = None
    if u.reduction == NONE:
        loss = losses = torch.empty(u.y.shape, dtype=torch.float32, device=x.device)
    else:
        loss = torch.empty((), dtype=torch.float32, device=x.device)
    if u.rows.n == 0:
        return loss.zero_(), dx
    if to is None or not _write(
        x, dx, u.y, u.rows, to, GRADIENT, u.reduction, u.ignore, u.factor, losses, loss
    ):
        return None
    return loss, dx


def gradient(grad: Tensor, x: Tensor, u: Usual, kept: tuple[Tensor, ...]) -> Tensor | None:
    """d(grad . loss)/dx, from (peak, other) of each row."""
    dx = torch.empty_like(x)
    n, classes, stride = u.rows
    to = rows_of(dx, -1)
    place = None if to is None else _places(x, dx, u.rows, to)
    if place is None:
        return None
    if n == 0:
        return dx
    base, to_base, offset, odd, vector = place
    total = _total(x, u) if u.reduction == MEAN else None
    grad = grad.contiguous()
    size = plan.written_again(n, classes, x.element_size(), processors(x))
    parts = _parts(classes, size, vector, odd)
    assert to is not None
    launch(
        again,
        n * parts,
        (
            base, to_base, u.y, *kept, grad, total,
            n, classes, stride, to.stride, offset, u.ignore, u.factor, parts,
        ),
        (
            u.reduction == NONE, FACTOR if total is None else LOADED,
            size.pieces, size.classes, vector, odd, x.dtype is torch.float32,
        ),
        size.warps,
    )  # fmt: skip
    return dx


def scaled(dx: Tensor, grad: Tensor, in_place: bool) -> Tensor:
    """dx * grad, for dx without gaps; where grad is 1 and in place, nothing is moved."""
    out = dx if in_place else torch.empty_like(dx)
    tiles, last = plan.tiles_of(dx.numel())
    programs = min(tiles, plan.SCALING * processors(dx))
    launch(scale, programs, (dx, out, grad, tiles, last), (in_place, plan.SCALED), 4)
    return out


def _total(x: Tensor, u: Usual) -> Tensor:
    """The number of rows that are not ignored, on the device."""
    total = torch.empty((), dtype=torch.float32, device=x.device)
    n = u.rows.n
    programs = min(-(-n // 2048), 2 * processors(x))
    parts, counters, _ = workspace(x, programs)
    launch(count, programs, (u.y, total, parts, counters, n, u.ignore), (1024,), 4)
    return total


def _read(
    x: Tensor, y: Tensor | None, rows: Rows, mode: int, reduction: int, ignore: int, factor: float,
    losses: Tensor | None, result: Tensor | None, kept: tuple[Tensor, ...] | None,
) -> None:  # fmt: skip
    """Statistics of rows, and what follows from them, in one visit."""
    n, classes, stride = rows
    if n == 0:
        return
    size = x.element_size()
    peak, other = kept or (None, None)
    wide = x.dtype is torch.float32
    if plan.is_short(classes, size, False):
        _short(x, None, y, rows, None, mode, reduction, ignore, factor, losses, result, peak, other)
        return
    place = _places(x, None, rows, None)
    assert place is not None
    base, _, offset, odd, vector = place
    many = plan.many_rows(n, classes, size, processors(x))
    if many is not None:
        tiles = _parts(classes, many, vector, odd)
        programs = min(-(-n // many.rows_of_program), plan.MOST_PROGRAMS)
        sums = counters = None
        if reduction != NONE:
            sums, counters, _ = workspace(x, programs)
        launch(
            lines,
            programs,
            (
                base, y, losses, peak, other, result, sums, counters,
                n, classes, stride, offset, ignore, factor, tiles,
            ),
            (mode, reduction, peak is not None, tiles == 1, many.pieces, many.classes, vector, odd, wide),
            many.warps,
        )  # fmt: skip
        return
    p = plan.long_rows(n, classes, size, processors(x), False)
    tiles = _parts(classes, p, vector, odd)
    parts = -(-tiles // p.tiles_of_part)
    mail = torch.empty(n * parts, dtype=torch.int64, device=x.device) if parts > 1 else None
    sums, counters, arrived = workspace(x, n, n)
    launch(
        spans,
        n * parts,
        (
            base, y, losses, peak, other, mail, arrived, result, sums, counters,
            n, classes, stride, offset, ignore, factor, parts, tiles, p.tiles_of_part,
        ),
        (
            mode, reduction, peak is not None, plan.power_of_two(parts),
            p.pieces, p.classes, vector, odd, wide,
        ),
        p.warps,
    )  # fmt: skip


def _write(
    x: Tensor, out: Tensor, y: Tensor | None, rows: Rows, to: Rows, mode: int, reduction: int, ignore: int,
    factor: float, losses: Tensor | None, result: Tensor | None,
) -> bool:  # fmt: skip
    """Results of the size of the scores; False if the layout is not usual."""
    n, classes, stride = rows
    if n == 0:
        return True
    size = x.element_size()
    if plan.is_short(classes, size, True):
        _short(x, out, y, rows, to, mode, reduction, ignore, factor, losses, result, None, None)
        return True
    place = _places(x, out, rows, to)
    if place is None:
        return False
    base, to_base, offset, odd, vector = place
    p = plan.long_rows(n, classes, size, processors(x), True)
    parts = _parts(classes, p, vector, odd)
    mail = torch.full((n * parts,), EMPTY, dtype=torch.int64, device=x.device)
    counted, total, sums, counters = FACTOR, None, None, None
    if mode == GRADIENT:
        if reduction == MEAN:
            counted, total = LOADED, _total_of(x, y, n, ignore)
    if reduction != NONE:
        sums, counters, _ = workspace(x, n)
    lag = n * parts if _in_order() else min(p.lag, n * parts)
    launch(
        follow,
        2 * (n * parts + lag),
        (
            base, to_base, y, losses, mail, total, result, sums, counters,
            n, classes, stride, to.stride, offset, ignore, factor, parts, lag,
        ),
        (mode, reduction, counted, plan.power_of_two(parts), p.pieces, p.classes, vector, odd,
         x.dtype is torch.float32),
        p.warps,
    )  # fmt: skip
    return True


def _total_of(x: Tensor, y: Tensor | None, n: int, ignore: int) -> Tensor:
    assert y is not None
    return _total(x, Usual(Rows(n, 1, 1), y, ignore, MEAN, 1.0))


def _in_order() -> bool:
    """Whether programs run one after another, as in the interpreter."""
    from .runtime import INTERPRETED

    return INTERPRETED


def _parts(classes: int, p: plan.Long | plan.Lines, vector: int, odd: bool) -> int:
    """The tiles of a row."""
    return -(-(classes + (vector - 1 if odd else 0)) // (p.pieces * p.classes))


def _places(
    x: Tensor, out: Tensor | None, rows: Rows, to: Rows | None
) -> tuple[Any, Any, int, bool, int] | None:
    """(base, base of out, offset, odd, vector): where whole vectors start. None if x and out do not agree."""
    size = x.element_size()
    vector = 16 // size
    address = x.data_ptr()
    offset = address // size % vector
    odd = bool(offset or rows.stride % vector or rows.classes % vector)
    if out is not None:
        assert to is not None
        if out.data_ptr() // size % vector != offset or (to.stride - rows.stride) % vector:
            return None
        odd = odd or bool(to.stride % vector)
    if _in_order():
        return x, out, 0, odd, vector  # the interpreter reads tensors only
    if not offset:
        return x, out, 0, odd, vector
    base = Base(x.dtype, address - offset * size)
    return base, None if out is None else Base(out.dtype, out.data_ptr() - offset * size), offset, odd, vector


def _short(
    x: Tensor, out: Tensor | None, y: Tensor | None, rows: Rows, to: Rows | None, mode: int, reduction: int,
    ignore: int, factor: float, losses: Tensor | None, result: Tensor | None, peak: Tensor | None,
    other: Tensor | None,
) -> None:  # fmt: skip
    """Rows that a program holds on chip."""
    n, classes, stride = rows
    size = x.element_size()
    numbers = [classes, stride, x.data_ptr() // size]
    if out is not None and to is not None:
        numbers += [to.stride, out.data_ptr() // size]
    vector = plan.alignment(size, *numbers)
    counted, total = FACTOR, None
    if mode == GRADIENT and reduction == MEAN:
        counted, total = (ROWS, None) if n <= FEW_ROWS.value else (LOADED, _total_of(x, y, n, ignore))
    straight = classes == stride and (to is None or to.stride == classes) and aligned(x, out)
    kernel, programs, sizes, constants, warps = short_launch(
        rows, to.stride if to else 0, x.dtype, vector, straight, mode, reduction, peak is not None, counted,
        ignore, factor, out is not None,
    )  # fmt: skip
    parts = counters = None
    if reduction != NONE:
        parts, counters, _ = workspace(x, programs)
    pointers = x, out, y, losses, peak, other, total, result, parts, counters
    launch(kernel, programs, (*pointers, *sizes), constants, warps)


class Launch(NamedTuple):
    """A kernel for short rows, and all that it needs besides tensors."""

    kernel: Any
    programs: int
    numbers: tuple[Any, ...]
    constants: tuple[Any, ...]
    warps: int


def short_launch(
    rows: Rows, to_stride: int, dtype: torch.dtype, vector: int, straight: bool, mode: int, reduction: int,
    keep: bool, counted: int, ignore: int, factor: float, writes: bool,
) -> Launch:  # fmt: skip
    """How short rows are computed. ``straight``: without gaps, and from 16 bytes on."""
    n, classes, stride = rows
    size, wide, sums = dtype.itemsize, dtype is torch.float32, reduction != NONE
    if classes <= plan.FEW and straight:
        rows_of_program = plan.few_rows(classes, size)
        programs = min(-(-n // rows_of_program), plan.most_programs(classes, size, sums))
        padded = max(2, plan.power_of_two(classes)), plan.power_of_two(rows_of_program * classes)
        group = plan.group_size(programs)
        constants = mode, reduction, keep, counted, classes, rows_of_program, *padded, wide, group
        return Launch(few, programs, (n, ignore, factor), constants, 4)
    t = plan.short_rows(classes, vector, size, sums, writes)
    programs = min(-(-n // t.rows), plan.most_programs(classes, size, sums))
    return Launch(
        tile,
        programs,
        (n, classes // vector, stride // vector, to_stride // vector, ignore, factor),
        (
            mode, reduction, keep, counted, t.pieces, t.rows, t.classes, vector, wide,
            classes > plan.COMPARED, plan.group_size(programs),
        ),
        t.warps,
    )  # fmt: skip


is_short, alignment = plan.is_short, plan.alignment


def aligned(*tensors: Tensor | None) -> bool:
    """Whether all tensors start at 16 bytes."""
    return all(t is None or t.data_ptr() % 16 == 0 for t in tensors)
