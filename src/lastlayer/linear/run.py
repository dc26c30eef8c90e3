"""What the linear head's loop is gone through for: losses and their gradients, statistics of the rows.

In: a checked head and problem. Out: NumPy arrays, and gradients in the arguments' own library.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from lastlayer.problem import Head, Problem
from lastlayer.row_statistics import ARRAYS, RowStats
from lastlayer.row_terms import pulled, weights, z_losses

from .active_rows import Rows, all_finite, all_rows, count_rows, counted_rows, with_features
from .array_ops import NumPyProducts, Products
from .loop import Loop, Wanted
from .plan import default_memory

__all__ = [
    "FIELDS",
    "Found",
    "Waiting",
    "fields_of",
    "finished",
    "loss_and_gradients",
    "row_stats",
    "with_row_stats",
]

FIELDS = frozenset({"argmax", "spread", "square"})

_FIELD = 18  # bytes of a row for each of its statistics beyond those of a loss


class Found(NamedTuple):
    """What `loss_and_gradients` finds."""

    loss: Any  # a number, or one for each row: NumPy's
    gradients: list[Any]  # of x, weight and bias, in their library; None where not wanted
    stats: RowStats  # of all rows, flat; peak, rest and the fields asked for
    missing: Any  # of the rows whose statistics are unknown: zeros; None: there are none
    waiting: Waiting | None = None  # in the place of gradients


class Waiting:
    """Gradients that are not computed yet: every tile of logits is kept, and the second pass left to do.

    The tiles lie where the weight's gradient will be, as far as it has room: memory that nobody has written
    to takes no room. The second pass uses them up.
    """

    def __init__(self, loop: Loop, stats: RowStats, wanted: Wanted) -> None:
        self.loop, self.stats, self.wanted = loop, stats, wanted
        loop.rows = loop.rows._replace(x=None)  # it may be a copy

    @np.errstate(all="ignore")
    def compute(self, factor: float) -> list[Any]:
        """The gradients times a factor."""
        loop, head, wanted = self.loop, self.loop.head, self.wanted
        loop.rows = rows = with_features(loop.products, head, loop.rows)
        loop.scale_by(factor)
        return finished(loop.products, head, rows, loop.gradients(self.stats, wanted), wanted)


@np.errstate(all="ignore")
def loss_and_gradients(
    head: Head,
    problem: Problem,
    wanted: Wanted = (False, False, False),
    products: Products | None = None,
    fields: Collection[str] = (),
    *,
    wait: bool = False,
) -> Found:
    """The loss, the gradients that are wanted, and the statistics of the rows that count.

    ``wait``: the gradients may wait (`Waiting`), and do where no tile has to be computed twice for it.
    """
    products = NumPyProducts(problem.scores.array.dtype) if products is None else products
    wanted = (wanted[0], wanted[1], wanted[2] and head.bias is not None)
    kind = np.float64 if products.double else np.float32
    shape, n, none = head.x.shape[:-1], count_rows(head), problem.reduction == "none"
    rows, made = counted_rows(products, head, problem), None
    if rows.x.shape[0] == 0 or problem.scale == 0.0:
        rows, stats = rows._replace(index=np.empty(0, np.int64)), RowStats.empty((0,))
        losses, grads, waiting = np.zeros(0), [None] * 3, None
    else:
        loop = Loop(products, head, problem, rows, wanted, **_for(fields))
        large = ("argmax",) if products.half and any(wanted[:2]) else ()
        stats, weight = loop.first_pass({"gap", "mass", *large, *fields}), _z_loss(problem)
        losses = stats.nll + z_losses(stats, weight, rows.s)
        broken = _broken(products, problem, rows, stats) if any(wanted) else None
        grads, waiting = [None] * 3, None
        if broken is not None:
            del loop  # and its memory
            made = loss_and_gradients(head, _without(problem, broken), wanted, products).gradients
        elif wait and loop.plan.recomputed == 0:
            waiting = Waiting(loop, pulled(stats, weight, rows.s), wanted)
        elif any(wanted):
            grads = loop.gradients(pulled(stats, weight, rows.s), wanted)
    whole = {k: _spread(getattr(stats, k), rows.index, n) for k in {"peak", "rest", *fields}}
    each = _spread(losses, rows.index, n).astype(kind).reshape(shape)[()] if none else None
    return Found(
        kind(losses.sum() * problem.scale) if each is None else each,
        grads if waiting else finished(products, head, rows, grads, wanted) if made is None else made,
        RowStats(**whole),
        None if rows.index is None else np.setdiff1d(np.arange(n), rows.index),
        waiting,
    )


def _broken(products: Products, problem: Problem, rows: Rows, stats: RowStats) -> Any:
    """The numbers of the rows of t = 0 throughout, if one holds what times 0 is no number; else None."""
    if _z_loss(problem):
        return None
    empty = np.asarray(stats.mass) == 0
    if rows.s is not None:
        empty &= rows.s != 0
    index = np.flatnonzero(empty)
    if not index.size or (np.isfinite(stats.peak[index]).all() and all_finite(products, rows.x, index)):
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
    head: Head, problem: Problem, wanted: Wanted = (False, False, False), products: Products | None = None
) -> tuple[Any, list[Any], RowStats]:
    """The loss, the gradients that are wanted, and the statistics of every row, from the same pass."""
    products = NumPyProducts(problem.scores.array.dtype) if products is None else products
    found = loss_and_gradients(head, problem, wanted, products, fields_of(problem))
    missing = found.missing
    if missing is not None and len(missing) == count_rows(head):
        return found.loss, found.gradients, row_stats(head, problem, products)
    if missing is not None and len(missing):
        _complete(found.stats, head, problem, missing, products)
    return found.loss, found.gradients, _shaped(found.stats, head, problem, products)


def _complete(stats: RowStats, head: Head, problem: Problem, missing: Any, products: Products) -> None:
    """Find the statistics of the missing rows, some at a time: their features are copied."""
    memory = default_memory() if head.memory is None else head.memory
    d = head.x.shape[-1]
    x = head.x.reshape(count_rows(head), d)
    some = max(16, memory // (64 * max(1, d)))  # an eighth of the memory
    for start in range(0, len(missing), some):
        part = missing[start : start + some]
        few = head._replace(x=products.select(x, part), memory=memory - memory // 8)
        found = row_stats(few, problem._replace(targets=None), products)
        for field in ("peak", "rest", *FIELDS):
            getattr(stats, field)[part] = getattr(found, field)
    if stats.rank is not None:
        stats.rank[missing] = -1


@np.errstate(all="ignore")
def row_stats(head: Head, problem: Problem, products: Products | None = None) -> RowStats:
    """The statistics of every row, in NumPy arrays of the rows' shape."""
    products = NumPyProducts(problem.scores.array.dtype) if products is None else products
    n, fields = count_rows(head), fields_of(problem)
    if n == 0:
        empty = RowStats.empty((0,))
        found = RowStats(**{k: getattr(empty, k) for k in {"peak", "rest", *fields}})
        return _shaped(found, head, problem, products)
    loop = Loop(products, head, problem, all_rows(products, head, problem), **_for(fields))
    return _shaped(loop.first_pass(fields), head, problem, products)


def fields_of(problem: Problem) -> set[str]:
    """What there is to know of each row, beside its peak and rest."""
    t = problem.targets
    return {*FIELDS, *(() if t is None else ("gap", "mass")), *(("rank",) if t and t.kind == "index" else ())}


def _for(fields: Collection[str]) -> dict[str, Any]:
    """What a loop needs to know of the statistics wanted."""
    more = len({*fields} - {"gap", "mass"})
    return {"a_row": _FIELD * more, "ranks": "rank" in fields}


def finished(products: Products, head: Head, rows: Rows, grads: list[Any], wanted: Wanted) -> list[Any]:
    """What `Loop.gradients` found, or zeros, in the arguments' shapes and dtypes."""
    (dx, dw, db), n = grads, count_rows(head)
    parts = zip((head.x, head.weight, head.bias), grads, wanted, strict=True)
    dx, dw, db = (products.zeros(tuple(a.shape), a.dtype) if on and g is None else g for a, g, on in parts)
    if grads[0] is not None:
        if rows.idle is not None:
            dx[rows.idle] = 0.0  # whatever the weights hold
        dx = _as(dx, head.x.dtype)
        dx = (dx if rows.index is None else products.spread(dx, rows.index, n)).reshape(head.x.shape)
    if grads[2] is not None:
        db = _as(db, head.bias.dtype)  # type: ignore[union-attr]
    return [dx, dw, db]


def _z_loss(problem: Problem) -> float:
    return 0.0 if problem.targets is None else problem.targets.z_loss


def _shaped(stats: RowStats, head: Head, problem: Problem, products: Products) -> RowStats:
    """Statistics of the rows' shape, with the rows' weights, whose results are of the right dtype."""
    kind, shape = np.dtype(np.float64 if products.double else np.float32), tuple(head.x.shape[:-1])
    found = {k: v.reshape(shape)[()] for k in ARRAYS if (v := getattr(stats, k)) is not None}
    found |= {} if problem.targets is None else weights(problem.targets, shape)
    return RowStats(**found, dtype=kind)


def _spread(a: Any, index: Any, n: int) -> Any:
    """Numbers of some rows among zeros for the others."""
    if index is None:
        return a
    whole = np.zeros(n, a.dtype)
    whole[index] = a
    return whole


def _as(a: Any, dtype: Any) -> Any:
    return a.astype(dtype, copy=False) if isinstance(a, np.ndarray) else a.to(dtype)
