"""Drivers of the tile loop: losses, gradients, row statistics.

In: a checked head and problem, and the backend of its tiles. Out: NumPy arrays, and gradients in the
arguments' own library.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from lastlayer.problem import Head, Problem
from lastlayer.row_statistics import ARRAYS, RowStats
from lastlayer.row_terms import pulled, weights, z_losses

from .active_rows import Rows, all_finite, all_rows, count_rows, counted_rows, with_features
from .array_ops import ArrayOps
from .loop import Loop
from .plan import default_memory
from .tile import NO_GRADIENTS, Needs, Operands, TileBackend, Wanted

__all__ = [
    "FIELDS",
    "PendingGradients",
    "Result",
    "fields_of",
    "finished",
    "loss_and_gradients",
    "row_stats",
    "with_row_stats",
]

FIELDS = frozenset({"argmax", "spread", "square"})

_FIELD = 18  # bytes of a row for each statistic beyond those of a loss


class Result(NamedTuple):
    """What `loss_and_gradients` returns."""

    loss: Any  # a number, or one per row, in NumPy
    gradients: list[Any]  # of x, weight and bias, in their library; None if not wanted
    stats: RowStats  # of all rows, flat; peak, rest and the fields asked for
    missing: Any  # the indices of rows whose statistics were not computed and are zeros; None: there are none
    pending: PendingGradients | None = None  # instead of gradients


class PendingGradients:
    """Gradients whose second pass has not run yet; every tile of logits is kept for it.

    The tiles alias the memory of the weight's gradient. The system provides only the pages that they cover,
    since no others have been written. The second pass overwrites the tiles.
    """

    def __init__(self, loop: Loop, stats: RowStats, wanted: Wanted) -> None:
        self.loop, self.stats, self.wanted = loop, stats, wanted
        loop.rows = loop.rows._replace(x=None)  # which may be a copy

    @np.errstate(all="ignore")
    def compute(self, factor: float) -> list[Any]:
        """The gradients times a factor."""
        loop, head, wanted = self.loop, self.loop.head, self.wanted
        loop.rows = rows = with_features(loop.arrays, head, loop.rows)
        loop.scale_by(factor)
        return finished(loop.arrays, head, rows, loop.gradients(self.stats, wanted), wanted)


@np.errstate(all="ignore")
def loss_and_gradients(
    head: Head,
    problem: Problem,
    wanted: Wanted,
    backend: TileBackend,
    fields: Collection[str] = (),
    *,
    defer: bool = False,
) -> Result:
    """The loss, the gradients that are wanted, and the statistics of the active rows.

    ``defer``: leave gradients pending if no tile has to be computed twice for that.
    """
    arrays, n, none = backend.arrays, count_rows(head), problem.reduction == "none"
    wanted = (wanted[0], wanted[1], wanted[2] and head.bias is not None)
    rows = counted_rows(arrays, head, problem)
    if rows.x.shape[0] == 0 or problem.scale == 0.0:
        rows = rows._replace(index=np.empty(0, np.int64))
        grads = finished(arrays, head, rows, [None] * 3, wanted)
        found = _Computed(np.zeros(0), RowStats.empty((0,)), grads)
    else:
        found = _computed(backend, Operands(head, problem, rows), wanted, fields, defer)
    losses, stats = found.losses, found.stats
    kind = np.float64 if arrays.double else np.float32
    whole = {k: _scattered(getattr(stats, k), rows.index, n) for k in {"peak", "rest", *fields}}
    each = _scattered(losses, rows.index, n).astype(kind).reshape(head.x.shape[:-1])[()] if none else None
    return Result(
        kind(losses.sum() * problem.scale) if each is None else each,
        found.gradients,
        RowStats(**whole),
        None if rows.index is None else np.setdiff1d(np.arange(n), rows.index),
        found.pending,
    )


class _Computed(NamedTuple):
    """The values of a loop's rows, and the gradients: finished, or pending."""

    losses: Any
    stats: RowStats
    gradients: list[Any]
    pending: PendingGradients | None = None


def _computed(
    backend: TileBackend, operands: Operands, wanted: Wanted, fields: Collection[str], defer: bool
) -> _Computed:
    """Both passes of a loop, or the first alone; see `loss_and_gradients`."""
    (head, problem, rows), arrays = operands, backend.arrays
    loop = Loop(backend, operands, wanted, _needs(fields))
    large = ("argmax",) if arrays.half and any(wanted[:2]) else ()
    stats, weight = loop.statistics({"gap", "mass", *large, *fields}), _z_loss(problem)
    losses = stats.nll + z_losses(stats, weight, rows.s)
    if not any(wanted):
        return _Computed(losses, stats, [None] * 3)
    undefined = _undefined(arrays, problem, rows, stats)
    if undefined is not None:
        del loop  # and its memory
        others = loss_and_gradients(head, _without(problem, undefined), wanted, backend)
        return _Computed(losses, stats, others.gradients)
    factors = pulled(stats, weight, rows.s)
    if defer and loop.plan.recomputed == 0:
        return _Computed(losses, stats, [None] * 3, PendingGradients(loop, factors, wanted))
    return _Computed(losses, stats, finished(arrays, head, rows, loop.gradients(factors, wanted), wanted))


def _undefined(arrays: ArrayOps, problem: Problem, rows: Rows, stats: RowStats) -> Any:
    """The indices of the rows with t = 0 throughout, if one of them holds an infinity or a NaN; else None.

    Such a row is inactive, but 0 times its numbers would be NaN.
    """
    if _z_loss(problem):
        return None
    inactive = np.asarray(stats.mass) == 0
    if rows.s is not None:
        inactive &= rows.s != 0
    index = np.flatnonzero(inactive)
    if not index.size or (np.isfinite(stats.peak[index]).all() and all_finite(arrays, rows.x, index)):
        return None
    return index if rows.index is None else rows.index[index]


def _without(problem: Problem, index: Any) -> Problem:
    """The problem without some rows."""
    t, shape = problem.targets, problem.scores.array.shape[:-1]
    assert t is not None
    s = np.ones(shape) if t.sample_weight is None else np.array(t.sample_weight, np.float64)
    s.reshape(-1)[index] = 0.0
    return problem._replace(targets=t._replace(sample_weight=s))


def with_row_stats(
    head: Head, problem: Problem, wanted: Wanted, backend: TileBackend
) -> tuple[Any, list[Any], RowStats]:
    """The loss, the gradients that are wanted, and the statistics of every row, from the same pass."""
    found = loss_and_gradients(head, problem, wanted, backend, fields_of(problem))
    missing = found.missing
    if missing is not None and len(missing) == count_rows(head):
        return found.loss, found.gradients, row_stats(head, problem, backend)
    if missing is not None and len(missing):
        _complete(found.stats, head, problem, missing, backend)
    return found.loss, found.gradients, _shaped(found.stats, head, problem, backend.arrays)


def _complete(stats: RowStats, head: Head, problem: Problem, missing: Any, backend: TileBackend) -> None:
    """Compute the statistics of the missing rows in chunks, since their features are copied."""
    memory = default_memory() if head.memory is None else head.memory
    d = head.x.shape[-1]
    x = head.x.reshape(count_rows(head), d)
    some = max(16, memory // (64 * max(1, d)))  # an eighth of the memory
    for start in range(0, len(missing), some):
        part = missing[start : start + some]
        few = head._replace(x=backend.arrays.select(x, part), memory=memory - memory // 8)
        found = row_stats(few, problem._replace(targets=None), backend)
        for field in ("peak", "rest", *FIELDS):
            getattr(stats, field)[part] = getattr(found, field)
    if stats.rank is not None:
        stats.rank[missing] = -1


@np.errstate(all="ignore")
def row_stats(head: Head, problem: Problem, backend: TileBackend) -> RowStats:
    """The statistics of every row, in NumPy arrays of the rows' shape."""
    n, fields = count_rows(head), fields_of(problem)
    if n == 0:
        empty = RowStats.empty((0,))
        found = RowStats(**{k: getattr(empty, k) for k in {"peak", "rest", *fields}})
        return _shaped(found, head, problem, backend.arrays)
    rows = all_rows(backend.arrays, head, problem)
    loop = Loop(backend, Operands(head, problem, rows), NO_GRADIENTS, _needs(fields))
    return _shaped(loop.statistics(fields), head, problem, backend.arrays)


def fields_of(problem: Problem) -> set[str]:
    """The names of the statistics that a problem defines, besides peak and rest."""
    t = problem.targets
    return {*FIELDS, *(() if t is None else ("gap", "mass")), *(("rank",) if t and t.kind == "index" else ())}


def _needs(fields: Collection[str]) -> Needs:
    """What a loop has to provide for these statistics."""
    return Needs(row_bytes=_FIELD * len({*fields} - {"gap", "mass"}), ranks="rank" in fields)


def finished(arrays: ArrayOps, head: Head, rows: Rows, grads: list[Any], wanted: Wanted) -> list[Any]:
    """The result of `Loop.gradients`, or zeros, in the arguments' shapes and dtypes."""
    (dx, dw, db), n = grads, count_rows(head)
    parts = zip((head.x, head.weight, head.bias), grads, wanted, strict=True)
    dx, dw, db = (arrays.zeros(tuple(a.shape), a.dtype) if on and g is None else g for a, g, on in parts)
    if grads[0] is not None:
        if rows.inactive is not None:
            dx[rows.inactive] = 0.0  # even if the weights hold infinities
        dx = _as(dx, head.x.dtype)
        dx = (dx if rows.index is None else arrays.scatter(dx, rows.index, n)).reshape(head.x.shape)
    if grads[2] is not None:
        db = _as(db, head.bias.dtype)  # type: ignore[union-attr]
    return [dx, dw, db]


def _z_loss(problem: Problem) -> float:
    return 0.0 if problem.targets is None else problem.targets.z_loss


def _shaped(stats: RowStats, head: Head, problem: Problem, arrays: ArrayOps) -> RowStats:
    """Statistics in the rows' shape, with the rows' weights, and with the dtype of their results."""
    kind, shape = np.dtype(np.float64 if arrays.double else np.float32), tuple(head.x.shape[:-1])
    found = {k: v.reshape(shape)[()] for k in ARRAYS if (v := getattr(stats, k)) is not None}
    found |= {} if problem.targets is None else weights(problem.targets, shape)
    return RowStats(**found, dtype=kind)


def _scattered(a: Any, index: Any, n: int) -> Any:
    """An array of n rows: these values at their indices, zeros elsewhere."""
    if index is None:
        return a
    whole = np.zeros(n, a.dtype)
    whole[index] = a
    return whole


def _as(a: Any, dtype: Any) -> Any:
    return a.astype(dtype, copy=False) if isinstance(a, np.ndarray) else a.to(dtype)
