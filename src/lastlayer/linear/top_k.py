"""The top-k classes of each row of a linear head. In: a checked head. Out: NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer.problem import Head, Problem

from .active_rows import all_rows, count_rows
from .loop import Loop
from .tile import NO_GRADIENTS, Needs, Operands, TileBackend

__all__ = ["top_k"]

_ROW_BYTES = 96  # bytes per top-k class of a row: its entry, and the scratch for merging two sets
_CLASSES = 64  # classes of a tile per top-k class: merging takes about as long as a tile of this width


@np.errstate(all="ignore")
def top_k(head: Head, problem: Problem, k: int, backend: TileBackend) -> tuple[Any, Any]:
    """The k most probable classes of each row, -1 in a row with a NaN, and their probabilities."""
    shape, n = (*head.x.shape[:-1], k), count_rows(head)
    if n == 0:
        dtype = np.float64 if backend.arrays.double else np.float32
        return np.empty(shape, np.int64), np.empty(shape, dtype)
    rows = all_rows(backend.arrays, head, problem)
    needs = Needs(row_bytes=_ROW_BYTES * k, min_classes=_CLASSES * k)
    labels, probabilities = Loop(backend, Operands(head, problem, rows), NO_GRADIENTS, needs).top_k(k)
    return labels.reshape(shape), probabilities.reshape(shape)
