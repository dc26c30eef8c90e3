"""The top-k classes of rows, merged tile by tile. In: each tile's top-k classes. Out: those of all classes.

A tile returns the candidates not below the current k-th highest logit of their row, and these are merged with
the row's top-k classes so far. Probabilities follow after the last tile, when lse is known. Of equal logits
the lowest class comes first, within a tile and among tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lastlayer.linear.plan import Tile
from lastlayer.row_statistics import RowStats, joined

from . import core

__all__ = ["Candidates", "TopKState"]


class Candidates(NamedTuple):
    """Classes of each row, highest logits first: (n, k) each."""

    z: Any  # raw logits, float64
    labels: Any


class TopKState:
    """The top-k classes and the statistics of n rows, of the classes so far."""

    def __init__(self, n: int, k: int, canonical: Callable[[Any], Any], threads: int) -> None:
        self.k, self.canonical, self.threads = k, canonical, threads
        self.labels, self.z = np.empty((n, k), np.int64), np.empty((n, k))
        self.threshold = np.full(n, -np.inf)  # the k-th highest logit of each row
        self.chunks: dict[int, RowStats] = {}  # by their first row

    def merge(self, tile: Tile, stats: RowStats, found: Candidates) -> None:
        """Merge the statistics and the candidates of a tile."""
        rows, start = tile.rows, tile.rows.start
        if start in self.chunks:
            stats = joined(self.chunks[start], stats)
            earlier = slice(0, tile.classes.start)
            found = self._merged(Candidates(self.z[rows, earlier], self.labels[rows, earlier]), found)
        self.chunks[start] = stats
        count = found.z.shape[1]
        self.z[rows, :count], self.labels[rows, :count] = found
        if count == self.k:
            self.threshold[rows] = self.z[rows, -1]

    def _merged(self, earlier: Candidates, later: Candidates) -> Candidates:
        """The top-k of two sets of classes; of equal ones those of the earlier set."""
        z, labels = (np.concatenate(pair, 1) for pair in zip(earlier, later, strict=True))
        scores = self.canonical(z)
        k = min(self.k, scores.shape[1])
        order, unused = np.empty((len(scores), k), np.int64), np.empty((len(scores), k))
        core.row_stats(
            scores, 1, bfloat=False, where=None, temperature=1.0, softcap=0.0, targets=None, dense=False,
            targets_bfloat=False, ignore_index=None, into={"top_label": order, "top_probability": unused},
            k=k, threads=self.threads,
        )  # fmt: skip
        order = np.maximum(order, 0)  # -1 where there are NaN
        return Candidates(np.take_along_axis(z, order, 1), np.take_along_axis(labels, order, 1))

    def complete(self) -> tuple[Any, Any]:
        """Labels, -1 in a row with a NaN, and probabilities: float64."""
        chunks = [self.chunks[start] for start in sorted(self.chunks)]
        peak = np.concatenate([chunk.peak for chunk in chunks])[:, None]
        rest = np.concatenate([chunk.rest for chunk in chunks])[:, None]
        self.labels[np.isnan(peak[:, 0])] = -1
        return self.labels, np.exp(self.canonical(self.z) - peak) / (1 + rest)
