"""Top-k targets for the core. In: the core's row statistics. Out: the same, with the listed classes added.

A row of top-k targets lists a few classes; what is left of its target is spread over all classes::

    t_j = s (on w_j q_j + even w_j)        q_j = sum_k p_k [index_k = j]        even = on rest / V + off

The core computes the second term, ``even``: it is label smoothing around no class. The first term concerns K
of V classes and is computed here, in float64, between the core's passes: the logits of the listed classes are
read (`Listed.look`), their part of the loss is added when the rows' statistics are known (`Listed.complete`),
and their gradients overwrite the core's (`Listed.write`). This takes time and memory for N K entries, besides
the passes over the logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from lastlayer.arrays import from_bfloat, to_bfloat
from lastlayer.problem import Problem, all_classes, held_classes
from lastlayer.row_statistics import RowStats

__all__ = ["Listed", "memory_of"]

_BLOCK = 1 << 13  # entries per block: bounds the temporary memory
_NEAR = 8.0  # ULP of the peak: NumPy's and the core's softcap and temperature of a score differ by less


def memory_of(n: int, k: int, taken: bool) -> int:
    """Bytes needed for k entries in each of n rows. ``taken``: if their gradients are taken out of tiles."""
    entries = n * k
    return max((72 if taken else 45) * entries, 24 * entries + 64 * min(entries, _BLOCK))


class Listed:
    """The listed classes of the active rows: one entry for each ``q_j > 0``, sorted by tile.

    Parameters
    ----------
    problem : Problem
        With targets of kind "sparse", of N rows.
    tile : (int, int)
        Rows and classes of a tile.
    s : array (n,) or None
        Sample weights of the active rows, float64.
    index : array (n,) or None
        The active rows among all N; None: all are.
    double : bool
        Whether the core computes in float64.
    """

    def __init__(
        self, problem: Problem, tile: tuple[int, int], s: Any, index: Any = None, *, double: bool
    ) -> None:
        scores, t, self.scale, _ = problem
        assert t is not None
        self.targets, self.s = t, s
        self.temperature, self.cap = scores.temperature, scores.softcap
        scaled = self.cap is not None or self.temperature != 1.0
        self.near = _NEAR * 2.0 ** (-52 if double else -23) if scaled else 0.0
        self.held = held_classes(scores)
        self.w = None if t.class_weight is None else np.asarray(t.class_weight, np.float64)
        indices, p, rest = t.array
        flat = (math.prod(indices.shape[:-1]), indices.shape[-1])
        indices, p = np.asarray(indices).reshape(flat), np.asarray(p).reshape(flat)
        rest = None if rest is None else np.asarray(rest, np.float64).reshape(flat[0])
        if index is not None:
            indices, p, rest = indices[index], p[index], None if rest is None else rest[index]
        self.n = len(indices)
        even = np.full(self.n, t.off) if rest is None else t.on / all_classes(scores) * rest + t.off
        self.even = even if s is None else np.where(s == 0, 0.0, s * even)
        self.off = float(self.even.any())  # the core's `off`: with 0 it skips a pass
        self._list(indices, p)
        self._sort(*tile)
        self.raw = np.empty(self.q.shape)

    def _list(self, indices: Any, p: Any) -> None:
        """Set ``row``, ``column`` and ``q`` of the entries, sorted; equal classes of a row are added up."""
        if (indices[:, 1:] <= indices[:, :-1]).any():
            order = np.argsort(indices, axis=1)
            indices, p = np.take_along_axis(indices, order, 1), np.take_along_axis(p, order, 1)
            del order
        counts = p != 0
        if self.targets.ignore_index is not None:
            counts &= indices.astype(np.int64, copy=False) != self.targets.ignore_index
        if self.s is not None:
            counts &= (self.s != 0)[:, None]
        if self.w is not None:
            counts &= self.w[np.where(counts, indices, 0)] != 0
        self.row = np.repeat(np.arange(self.n, dtype=np.int32), counts.sum(1))
        self.column, self.q = indices[counts].astype(np.int32), p[counts].astype(np.float64)
        again = (self.row[1:] == self.row[:-1]) & (self.column[1:] == self.column[:-1])
        if again.any():
            first = np.flatnonzero(np.concatenate(([True], ~again)))
            self.row, self.column, self.q = (
                self.row[first],
                self.column[first],
                np.add.reduceat(self.q, first),
            )

    def _sort(self, height: int, width: int) -> None:
        """Sort the entries by tile, then by row; ``starts`` has the first entry of each tile."""
        self.tile = max(1, height), width, -(-self.held // width)  # rows, classes, tiles per chunk of rows
        if self.n <= height and self.held <= width:
            self.starts = np.array([0, len(self.q)])
            return
        number = self.row // height * self.tile[2] + self.column // width
        count = -(-self.n // height) * self.tile[2]
        order = np.argsort(number.astype(np.uint16) if count < 1 << 16 else number, kind="stable")
        self.starts = np.searchsorted(number[order], np.arange(count + 1))
        self.row, self.column, self.q = self.row[order], self.column[order], self.q[order]

    def within(self, rows: slice, classes: slice) -> tuple[slice, Any, Any]:
        """The entries of a tile, and their rows and columns within it."""
        height, width, beside = self.tile
        tile = rows.start // height * beside + classes.start // width
        part = slice(int(self.starts[tile]), int(self.starts[tile + 1]))
        return part, self.row[part] - rows.start, self.column[part] - classes.start

    # --- the logits of a tile -------------------------------------------------------------------------------

    def look(self, tile: Any, rows: slice, classes: slice) -> None:
        """Read the listed logits from a tile (..., classes); bfloat16 comes as uint16."""
        part, row, column = self.within(rows, classes)
        tile, at = _at(tile, row, column)
        found = tile[at]
        self.raw[part] = from_bfloat(found) if found.dtype == np.uint16 else found

    def write(self, tile: Any, rows: slice, classes: slice, stats: RowStats, tilt: Any = None) -> None:
        """Overwrite the gradients of the listed logits in a tile, from the rows' statistics.

        ::

            dloss/draw = scale dz/draw ((c + tilt (z - peak)) p - t)        c = mass of the statistics

        and at the peak (c - t) - c rest / (1 + rest), to avoid cancellation.
        """
        all_of_it, row, column = self.within(rows, classes)
        for part in _blocks(all_of_it):
            found = self._gradients(part, stats, tilt)
            block = slice(part.start - all_of_it.start, part.stop - all_of_it.start)
            flat, at = _at(tile, row[block], column[block])
            flat[at] = to_bfloat(found) if tile.dtype == np.uint16 else found

    # --- rows -----------------------------------------------------------------------------------------------

    def complete(self, stats: RowStats) -> RowStats:
        """The core's statistics, with gap and mass of the listed classes added."""
        gap, mass = np.zeros(self.n), np.zeros(self.n)
        with np.errstate(all="ignore"):
            for part in _blocks(slice(0, len(self.q))):
                row, t, _, difference, _ = self._entries(part, stats.peak)
                np.add.at(mass, row, t)
                np.add.at(gap, row, np.where((t == 0) | (difference == 0), 0.0, -t * difference))
        if self.s is not None:
            gap, mass = (np.where(self.s == 0, 0.0, self.s * a) for a in (gap, mass))
        mass += self.even * (self.held if self.w is None else self.w.sum())
        return replace(stats, gap=gap + np.asarray(stats.gap), mass=mass)

    def _gradients(self, part: slice, stats: RowStats, tilt: Any) -> Any:
        """The gradients with respect to the logits of some entries (see `write`)."""
        with np.errstate(all="ignore"):
            row, t, w, difference, error = self._entries(part, stats.peak)
            t = (t if self.s is None else t * self.s[row]) + self.even[row] * w
            c, rest = np.asarray(stats.mass)[row], stats.rest[row]  # NaN of an infinite peak
            p = np.exp(difference) * (1 + error) / (1 + rest)
            if tilt is not None:
                c = c + np.where(p == 0, 0.0, tilt[row] * difference)
            value = np.where(difference == 0, (c - t) - c * (rest / (1 + rest)), c * p - t)
            return self.scale * self._slope(self.raw[part]) * value

    def _entries(self, part: slice, peak: Any) -> tuple[Any, Any, Any, Any, Any]:
        """For some entries: row, t / s without ``even``, w, z - peak, and the rounding error of z - peak."""
        row = self.row[part]
        w = 1.0 if self.w is None else self.w[self.column[part]]
        z, top = self.raw[part], peak[row]
        if self.cap is not None:
            z = self.cap * np.tanh(z / self.cap)
        z = z / self.temperature
        difference = z - top
        back = difference - z
        error = (z - (difference - back)) - (top + back)
        if self.near:
            difference = np.where(difference >= -self.near * abs(top), 0.0, difference)
        error = np.where(np.isfinite(error), error, 0.0)
        return row, self.targets.on * w * self.q[part], w, difference, error

    def _slope(self, raw: Any) -> Any:
        """dz/draw."""
        if self.cap is None:
            return 1 / self.temperature
        return 1 / np.cosh(raw / self.cap) ** 2 / self.temperature


def _blocks(part: slice) -> Iterator[slice]:
    """A range of entries in blocks."""
    starts = range(part.start, part.stop, _BLOCK)
    return (slice(start, min(start + _BLOCK, part.stop)) for start in starts)


def _at(tile: Any, row: Any, column: Any) -> tuple[Any, Any]:
    """The index of each entry in a tile of any shape, whose last axis is the classes; and the tile for it.

    A contiguous tile is flattened, so that one index suffices.
    """
    if tile.flags.c_contiguous:
        return tile.reshape(-1), row * np.int64(tile.shape[-1]) + column
    rows = np.unravel_index(row, tile.shape[:-1]) if tile.ndim > 1 else ()
    return tile, (*rows, column)
