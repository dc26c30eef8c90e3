"""The rows that the linear head's loop goes through. In: a checked head and problem. Out: `Rows`.

Ignored rows take no part: where there are many, the others are copied to lie side by side; a few stay where
they are, with a weight of 0, since a copy of all the others would cost more than they do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lastlayer.problem import Head, Problem, Targets

from .array_ops import Products

__all__ = [
    "Rows",
    "active_rows",
    "all_finite",
    "all_rows",
    "count_rows",
    "counted_rows",
    "target_logits",
    "with_features",
]

_FEW = 8  # ignored rows stay where they are if they are less than one in so many
_AT_ONCE = 1024  # rows looked at
_MEMORY = 64 << 20  # bytes, where nobody says; an eighth of it is used


class Rows(NamedTuple):
    """The rows as the loop reads them: x in its own library's array, the rest in NumPy's."""

    x: Any  # (n, D), of the products' dtype
    y: Any  # (n,) int64, or dense rows (N, V) of all rows, or None
    index: Any  # of these rows among all N; None: they are all of them
    s: Any  # (n,) float64, or None
    idle: Any = None  # of ignored rows among these; None: there are none


def count_rows(head: Head) -> int:
    """How many rows there are."""
    return int(np.prod(head.x.shape[:-1]))


def all_rows(products: Products, head: Head, problem: Problem) -> Rows:
    """Every row: an ignored one too, its target without weight."""
    t, n = problem.targets, count_rows(head)
    x = head.x.reshape(n, head.x.shape[-1])
    if t is None:
        return Rows(products.convert(x), None, None, None)
    y, s, count = _targets(t, n, head.weight.shape[0])
    return _in_place(products, t, x, y, s, count)


def counted_rows(products: Products, head: Head, problem: Problem) -> Rows:
    """The rows that are not ignored, and maybe a few that are."""
    t, n = problem.targets, count_rows(head)
    assert t is not None
    y, s, count = _targets(t, n, head.weight.shape[0])
    return _chosen(products, t, head.x.reshape(n, head.x.shape[-1]), y, s, count)


def active_rows(products: Products, head: Head, problem: Problem, loss: Any, others: Any) -> Rows:
    """The rows that have a part in something: in the ``loss``, if their targets count, or in ``others``."""
    t, n = problem.targets, len(loss)
    assert t is not None
    y, s, count = _targets(t, n, head.weight.shape[0])
    if count is not None:
        loss, s, y = loss & count, _weights(s, count), _places(t, y, count)
    return _chosen(products, t, head.x.reshape(n, head.x.shape[-1]), y, s, loss | others)


def _chosen(products: Products, t: Targets, x: Any, y: Any, s: Any, chosen: Any) -> Rows:
    """The chosen rows, and the others too where that is cheaper."""
    if chosen is None or chosen.all():
        return Rows(products.convert(x), y, None, s)
    idle = np.flatnonzero(~chosen)
    if idle.size * _FEW < len(chosen) and all_finite(products, x, idle):  # 0 times infinity were a gradient
        return _in_place(products, t, x, y, s, chosen)._replace(idle=idle)
    index = np.flatnonzero(chosen)
    y = y if t.kind == "dense" else y[index]
    return Rows(products.convert(products.select(x, index)), y, index, None if s is None else s[index])


def with_features(products: Products, head: Head, rows: Rows) -> Rows:
    """The same rows with their features, which were put away."""
    x = head.x.reshape(count_rows(head), head.x.shape[-1])
    return rows._replace(x=products.convert(x if rows.index is None else products.select(x, rows.index)))


def _in_place(products: Products, t: Targets, x: Any, y: Any, s: Any, count: Any) -> Rows:
    """All rows, those that do not count with a weight of 0."""
    if count is not None:
        s, y = _weights(s, count), _places(t, y, count)
    return Rows(products.convert(x), y, None, s)


def _weights(s: Any, count: Any) -> Any:
    return np.where(count, 1.0 if s is None else s, 0.0)


def _places(t: Targets, y: Any, count: Any) -> Any:
    return np.where(count, y, 0) if t.kind == "index" else y


def target_logits(products: Products, head: Head, rows: Rows) -> Any:
    """The logit of each row's class, by itself, rounded as the tile that holds it rounds it: float64."""
    n, d = rows.x.shape
    found = np.empty(n)
    at_once = max(1, min(_AT_ONCE, (head.memory or _MEMORY) // (64 * max(1, d))))
    for start in range(0, n, at_once):
        part = slice(start, min(start + at_once, n))
        y = rows.y[part]
        b = None if head.bias is None else products.select(head.bias, y)
        found[part] = products.dots(rows.x[part], products.select(head.weight, y), b)
    return products.rounded(found)


def all_finite(products: Products, x: Any, index: Any) -> bool:
    """Whether these rows of x hold numbers only."""
    parts = (index[i : i + _AT_ONCE] for i in range(0, index.size, _AT_ONCE))
    return all(products.finite(products.select(x, part)) for part in parts)


def _targets(t: Targets, n: int, v: int) -> tuple[Any, Any, Any]:
    """Targets (one a row, or dense rows), sample weights, and which rows count (None: every one)."""
    s = None if t.sample_weight is None else np.ascontiguousarray(t.sample_weight, np.float64).reshape(n)
    count = None if s is None else s != 0
    if t.kind == "dense":
        return np.asarray(t.array).reshape(n, v), s, count
    if t.kind == "sparse":
        return np.full(n, -1), s, count  # what is listed is no business of the core
    y = np.asarray(t.array).reshape(n)
    if t.ignore_index is not None:
        seen = y != t.ignore_index
        count = seen if count is None else seen & count
    return y.astype(np.int64), s, count
