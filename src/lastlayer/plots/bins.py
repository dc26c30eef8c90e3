"""Bins of confidence for a picture. In: any number of bins. Out: those with rows, joined if many."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Bin", "drawn_bins"]

Floats = npt.NDArray[np.float64]

_MOST = 100  # bins that are drawn


class Bin(NamedTuple):
    """A range of confidence with rows."""

    left: float
    right: float
    weight: float
    confidence: float  # mean
    accuracy: float


def drawn_bins(edges: Floats, weight: Floats, confidence: Floats, accuracy: Floats) -> list[Bin]:
    """The bins that have rows; of more than 100 bins neighbours are joined."""
    step = ceil(len(weight) / _MOST)
    starts = np.arange(0, len(weight), max(step, 1))
    there = weight > 0
    sums = [np.add.reduceat(np.where(there, weight * x, 0.0), starts) for x in (1.0, confidence, accuracy)]
    stops = np.minimum(starts + step, len(weight))
    found = []
    rows = zip(edges[starts].tolist(), edges[stops].tolist(), *(s.tolist() for s in sums), strict=True)
    for left, right, w, wc, wa in rows:
        if w > 0 and wc == wc and wa == wa:
            found.append(Bin(left, right, w, wc / w, wa / w))
    return found
