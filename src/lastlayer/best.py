"""The best classes of each row of a linear head, tile by tile. In: a checked head. Out: NumPy arrays.

Each tile's best come from the core and meet the best so far; their probabilities wait for the last tile. Of
equal logits the lowest class comes first, within a tile and among tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .linear import Loop
from .plan import Tile
from .problem import Head, Problem
from .products import NumPyProducts, Products
from .row_stats import RowStats
from .rows import all_rows, count_rows

__all__ = ["top_k"]


@np.errstate(all="ignore")
def top_k(head: Head, problem: Problem, k: int, products: Products | None = None) -> tuple[Any, Any]:
    """The k best classes of each row, -1 in a row with a NaN, and their probabilities."""
    scores = problem.scores
    products = NumPyProducts(scores.array.dtype) if products is None else products
    kind, shape = np.float64 if products.double else np.float32, (*head.x.shape[:-1], k)
    n = count_rows(head)
    labels, z = np.empty((n, k), np.int64), np.empty((n, k))
    if n == 0:
        return labels.reshape(shape), z.astype(kind).reshape(shape)
    rows = all_rows(products, head, problem)
    loop = Loop(products, head, problem, rows, a_row=_A_CLASS * k)
    whole: dict[int, RowStats] = {}
    for tile in loop.plan.tiles():
        start = tile.rows.start
        part, found = _best_of(loop, tile, k)
        if start in whole:
            part = whole[start].merge(part)
            before = z[tile.rows, : tile.classes.start], labels[tile.rows, : tile.classes.start]
            found = _best(tuple(np.concatenate(pair, 1) for pair in zip(before, found, strict=True)), k)
        whole[start] = part
        count = found[0].shape[1]
        z[tile.rows, :count], labels[tile.rows, :count] = found
    stats = [whole[start] for start in sorted(whole)]
    peak, rest = (np.concatenate([getattr(s, name) for s in stats])[:, None] for name in ("peak", "rest"))
    labels[np.isnan(peak[:, 0])] = -1
    p = np.exp(z - peak) / (1 + rest)
    return labels.reshape(shape), p.astype(kind).reshape(shape)


_A_CLASS = 96  # bytes for each of a row's best: itself, and what comes and goes where two parts meet


def _best_of(loop: Loop, tile: Tile, k: int) -> tuple[RowStats, tuple[Any, Any]]:
    """The statistics of a tile, and the canonical logits and labels of its best classes, best first."""
    logits = loop.fill(tile)
    n, v = logits.shape
    k = min(k, v)
    labels, unused = np.empty((n, k), np.int64), np.empty((n, k), loop.peak_dtype)
    stats = loop.part(tile, logits, (), (labels, unused))
    z = loop.canonical(loop.products.pick(logits, np.maximum(labels, 0)))
    return stats, (z, labels + tile.classes.start)


def _best(found: tuple[Any, ...], k: int) -> tuple[Any, Any]:
    """The k largest of each row, of equal ones the lowest label first."""
    z, labels = found
    order = np.lexsort((labels, -z), axis=1)[:, :k]
    return np.take_along_axis(z, order, 1), np.take_along_axis(labels, order, 1)
