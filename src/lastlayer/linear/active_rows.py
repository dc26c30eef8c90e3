"""The rows that the linear head's loop computes. In: a checked head and problem. Out: `Rows`.

Inactive rows are left out. If there are many, the active rows are copied into a new array. A few stay where
they are, with a weight of 0, since copying all active rows would cost more than computing those few.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lastlayer.problem import Head, Problem, Targets

from .array_ops import ArrayOps

__all__ = [
    "Rows",
    "active_rows",
    "all_finite",
    "all_rows",
    "count_rows",
    "counted_rows",
    "with_features",
]

_FEW = 8  # inactive rows stay in place if they are fewer than one in this many
_AT_ONCE = 1024  # rows checked for infinities at once


class Rows(NamedTuple):
    """The rows as the loop reads them: x in an array of its own library, the rest in NumPy's."""

    x: Any  # (n, D), of the tiles' dtype
    y: Any  # (n,) int64, or dense rows (N, V) of all rows, or None
    index: Any  # the indices of these rows among all N; None: all rows
    s: Any  # sample weights (n,), float64, or None
    inactive: Any = None  # the indices of inactive rows among these; None: there are none


def count_rows(head: Head) -> int:
    """The number of rows of a head."""
    return int(np.prod(head.x.shape[:-1]))


def all_rows(arrays: ArrayOps, head: Head, problem: Problem) -> Rows:
    """Every row; ignored rows have a weight of 0."""
    t, n = problem.targets, count_rows(head)
    x = head.x.reshape(n, head.x.shape[-1])
    if t is None:
        return Rows(arrays.convert(x), None, None, None)
    y, s, count = _targets(t, n, head.weight.shape[0])
    return _in_place(arrays, t, x, y, s, count)


def counted_rows(arrays: ArrayOps, head: Head, problem: Problem) -> Rows:
    """The rows that are not ignored, and possibly a few that are."""
    t, n = problem.targets, count_rows(head)
    assert t is not None
    y, s, count = _targets(t, n, head.weight.shape[0])
    return _chosen(arrays, t, head.x.reshape(n, head.x.shape[-1]), y, s, count)


def active_rows(arrays: ArrayOps, head: Head, problem: Problem, loss: Any, others: Any) -> Rows:
    """The rows that add to the ``loss``, unless they are ignored, or to ``others``: bool (N,) each."""
    t, n = problem.targets, len(loss)
    assert t is not None
    y, s, count = _targets(t, n, head.weight.shape[0])
    if count is not None:
        loss, s, y = loss & count, _weights(s, count), _places(t, y, count)
    return _chosen(arrays, t, head.x.reshape(n, head.x.shape[-1]), y, s, loss | others)


def _chosen(arrays: ArrayOps, t: Targets, x: Any, y: Any, s: Any, chosen: Any) -> Rows:
    """The chosen rows, and the inactive ones too if that is cheaper."""
    if chosen is None or chosen.all():
        return Rows(arrays.convert(x), y, None, s)
    inactive = np.flatnonzero(~chosen)
    if inactive.size * _FEW < len(chosen) and all_finite(arrays, x, inactive):  # 0 times infinity is NaN
        return _in_place(arrays, t, x, y, s, chosen)._replace(inactive=inactive)
    index = np.flatnonzero(chosen)
    y = y if t.kind == "dense" else y[index]
    return Rows(arrays.convert(arrays.select(x, index)), y, index, None if s is None else s[index])


def with_features(arrays: ArrayOps, head: Head, rows: Rows) -> Rows:
    """The same rows, with their features taken from the head again."""
    x = head.x.reshape(count_rows(head), head.x.shape[-1])
    return rows._replace(x=arrays.convert(x if rows.index is None else arrays.select(x, rows.index)))


def _in_place(arrays: ArrayOps, t: Targets, x: Any, y: Any, s: Any, count: Any) -> Rows:
    """All rows; those that do not ``count`` get a weight of 0."""
    if count is not None:
        s, y = _weights(s, count), _places(t, y, count)
    return Rows(arrays.convert(x), y, None, s)


def _weights(s: Any, count: Any) -> Any:
    return np.where(count, 1.0 if s is None else s, 0.0)


def _places(t: Targets, y: Any, count: Any) -> Any:
    return np.where(count, y, 0) if t.kind == "index" else y


def all_finite(arrays: ArrayOps, x: Any, index: Any) -> bool:
    """Whether these rows of x hold finite numbers only."""
    parts = (index[i : i + _AT_ONCE] for i in range(0, index.size, _AT_ONCE))
    return all(arrays.all_finite(arrays.select(x, part)) for part in parts)


def _targets(t: Targets, n: int, v: int) -> tuple[Any, Any, Any]:
    """Targets (one a row, or dense rows), sample weights, and which rows count (None: every one)."""
    s = None if t.sample_weight is None else np.ascontiguousarray(t.sample_weight, np.float64).reshape(n)
    count = None if s is None else s != 0
    if t.kind == "dense":
        return np.asarray(t.array).reshape(n, v), s, count
    if t.kind == "sparse":
        return np.full(n, -1), s, count  # no class: the core does not handle listed classes
    y = np.asarray(t.array).reshape(n)
    if t.ignore_index is not None:
        seen = y != t.ignore_index
        count = seen if count is None else seen & count
    return y.astype(np.int64), s, count
