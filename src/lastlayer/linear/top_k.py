"""The best classes of each row of a linear head, tile by tile. In: a checked head. Out: NumPy arrays.

Each tile's best come from the core, those that reach the worst of the best so far, and meet these; their
probabilities wait for the last tile. Of equal logits the lowest class comes first, within a tile and among
tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer.backends.core import core
from lastlayer.problem import Head, Problem
from lastlayer.row_statistics import RowStats, joined

from .active_rows import all_rows, count_rows
from .array_ops import NumPyProducts, Products
from .loop import Loop
from .plan import Tile

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
    loop = Loop(products, head, problem, rows, a_row=_A_CLASS * k, wide=_WIDE * k)
    loop.threshold = np.full(n, -np.inf)  # the worst of each row's best so far
    whole: dict[int, RowStats] = {}
    for tile in loop.plan.tiles():
        part_of, start = tile.rows, tile.rows.start
        part, found = _best_of(loop, tile, k)
        if start in whole:
            part = joined(whole[start], part)
            before = z[part_of, : tile.classes.start], labels[part_of, : tile.classes.start]
            found = _merged(loop, before, found, k)
        whole[start] = part
        count = found[0].shape[1]
        z[part_of, :count], labels[part_of, :count] = found
        if count == k:
            loop.threshold[part_of] = z[part_of, -1]
    stats = [whole[start] for start in sorted(whole)]
    peak, rest = (np.concatenate([getattr(s, name) for s in stats])[:, None] for name in ("peak", "rest"))
    labels[np.isnan(peak[:, 0])] = -1
    p = np.exp(loop.canonical(z) - peak) / (1 + rest)
    return labels.reshape(shape), p.astype(kind).reshape(shape)


_A_CLASS = 96  # bytes for each of a row's best: itself, and what comes and goes where two parts meet

_WIDE = 64  # classes of a tile for each of the best: to meet those of another tile takes about as long

Best = tuple[Any, Any]  # of each row the logits of its best classes, best first, and their labels


def _best_of(loop: Loop, tile: Tile, k: int) -> tuple[RowStats, Best]:
    """The statistics of a tile and its best classes: those that may be among the best of all."""
    logits = loop.fill(tile)
    n, v = logits.shape
    k = min(k, v)
    labels, unused = np.empty((n, k), np.int64), np.empty((n, k), loop.peak_dtype)
    stats = loop.part(tile, logits, (), (labels, unused))
    k = int((labels >= 0).any(0).sum())
    labels = labels[:, :k]
    z = loop.products.pick(logits, np.maximum(labels, 0))
    z[labels < 0] = -np.inf
    return stats, (z, labels + tile.classes.start)


def _merged(loop: Loop, before: Best, found: Best, k: int) -> Best:
    """The k best of two parts of the classes, of equal ones those of the first part."""
    z, labels = (np.concatenate(pair, 1) for pair in zip(before, found, strict=True))
    scores = loop.canonical(z)
    k = min(k, scores.shape[1])
    order, unused = np.empty((len(scores), k), np.int64), np.empty((len(scores), k))
    into = {"top_label": order, "top_probability": unused}
    core.row_stats(
        scores, 1, False, None, 1.0, 0.0, None, False, False, None, into, k, loop.products.threads
    )  # fmt: skip
    order = np.maximum(order, 0)  # -1 where there are NaN
    return np.take_along_axis(z, order, 1), np.take_along_axis(labels, order, 1)
