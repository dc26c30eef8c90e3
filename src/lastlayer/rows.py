"""The rows that the linear head's loop goes through. In: a checked head and problem. Out: `Rows`.

Ignored rows take no part: where there are many, the others are copied to lie side by side; a few stay where
they are, with a weight of 0, since a copy of all the others would cost more than they do.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .problem import Head, Problem, Targets
from .products import Products

__all__ = ["Rows", "all_rows", "counted_rows"]

_FEW = 8  # ignored rows stay where they are if they are less than one in so many
_AT_ONCE = 1024  # rows looked at


class Rows(NamedTuple):
    """The rows as the loop reads them: x in its own library's array, the rest in NumPy's."""

    x: Any  # (n, D), of the products' dtype
    y: Any  # (n,) int64, or dense rows (N, V) of all rows, or None
    index: Any  # of these rows among all N; None: they are all of them
    s: Any  # (n,) float64, or None
    idle: Any = None  # of ignored rows among these; None: there are none


def all_rows(products: Products, head: Head, problem: Problem, n: int) -> Rows:
    """Every row: an ignored one too, its target without weight."""
    t, x = problem.targets, head.x.reshape(n, head.x.shape[-1])
    if t is None:
        return Rows(products.convert(x), None, None, None)
    y, s, count = _targets(t, n, head.weight.shape[0])
    return _in_place(products, t, x, y, s, count)


def counted_rows(products: Products, head: Head, problem: Problem, n: int) -> Rows:
    """The rows that are not ignored, and maybe a few that are."""
    t = problem.targets
    assert t is not None
    x = head.x.reshape(n, head.x.shape[-1])
    y, s, count = _targets(t, n, head.weight.shape[0])
    if count is None or count.all():
        return Rows(products.convert(x), y, None, s)
    idle = np.flatnonzero(~count)
    if idle.size * _FEW < n and _finite(products, x, idle):  # 0 times infinity would be somebody's gradient
        return _in_place(products, t, x, y, s, count)._replace(idle=idle)
    index = np.flatnonzero(count)
    y = y if t.kind == "dense" else y[index]
    return Rows(products.convert(products.select(x, index)), y, index, None if s is None else s[index])


def _in_place(products: Products, t: Targets, x: Any, y: Any, s: Any, count: Any) -> Rows:
    """All rows, those that do not count with a weight of 0."""
    if count is not None:
        s = np.where(count, 1.0 if s is None else s, 0.0)
        y = np.where(count, y, 0) if t.kind == "index" else y
    return Rows(products.convert(x), y, None, s)


def _finite(products: Products, x: Any, index: Any) -> bool:
    """Whether these rows of x hold numbers only."""
    parts = (index[i : i + _AT_ONCE] for i in range(0, index.size, _AT_ONCE))
    return all(products.finite(products.select(x, part)) for part in parts)


def _targets(t: Targets, n: int, v: int) -> tuple[Any, Any, Any]:
    """Targets (one a row, or dense rows), sample weights, and which rows count (None: every one)."""
    s = None if t.sample_weight is None else np.asarray(t.sample_weight, np.float64).reshape(n)
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
