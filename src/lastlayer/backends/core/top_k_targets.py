"""Top-k targets beside the core. In: what the core found of each row. Out: the same with the listed classes.

A row of top-k targets is a few listed classes and an even share of all classes::

    t_j = s (on w_j q_j + even w_j)        q_j = sum_k p_k [index_k = j]        even = on rest / V + off

The core knows the second part: targets of no class of its own, smoothed. The first, K classes of V, is done
here, in float64, between its passes: the logits of the listed classes are looked up (`Listed.look`), their
part of the loss computed when the rows' statistics are known (`Listed.complete`), and their gradients written
over the core's (`Listed.write`). Beside the passes over the logits that takes time and memory for N K
entries.
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

_BLOCK = 1 << 13  # entries computed at once
_NEAR = 8.0  # units in the last place of the peak: ways to cap or divide the same score agree to that


def memory_of(n: int, k: int, taken: bool) -> int:
    """The bytes that k entries for each of n rows take: in order, computed, or ``taken`` out of tiles."""
    entries = n * k
    return max((72 if taken else 45) * entries, 24 * entries + 64 * min(entries, _BLOCK))


class Listed:
    """The listed classes of the rows that count, in the order of tiles: one entry each, of ``q_j > 0``.

    Parameters
    ----------
    problem : Problem
        With targets of kind "sparse", of N rows.
    tile : (int, int)
        Rows and classes of a tile.
    s : array (n,) or None
        Sample weights of the rows that count, float64.
    index : array (n,) or None
        Which of the N rows these are; None: all.
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
        self.off = float(self.even.any())  # of the core: 0 spares it a pass
        self._list(indices, p)
        self._sort(*tile)
        self.raw = np.empty(self.q.shape)

    def _list(self, indices: Any, p: Any) -> None:
        """Entries by row and class, each class of a row once: ``row``, ``column``, and how much, ``q``."""
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
        """The entries of each tile side by side, ``starts`` where; within a tile by row."""
        self.tile = max(1, height), width, -(-self.held // width)  # and how many are beside each other
        if self.n <= height and self.held <= width:
            self.starts = np.array([0, len(self.q)])
            return
        number = self.row // height * self.tile[2] + self.column // width
        count = -(-self.n // height) * self.tile[2]
        order = np.argsort(number.astype(np.uint16) if count < 1 << 16 else number, kind="stable")
        self.starts = np.searchsorted(number[order], np.arange(count + 1))
        self.row, self.column, self.q = self.row[order], self.column[order], self.q[order]

    def within(self, rows: slice, classes: slice) -> tuple[slice, Any, Any]:
        """The entries of a tile; their rows and columns in it."""
        height, width, beside = self.tile
        tile = rows.start // height * beside + classes.start // width
        part = slice(int(self.starts[tile]), int(self.starts[tile + 1]))
        return part, self.row[part] - rows.start, self.column[part] - classes.start

    # --- the logits of a tile -------------------------------------------------------------------------------

    def look(self, tile: Any, rows: slice, classes: slice) -> None:
        """Take the listed logits out of a tile: (..., classes), bfloat16 as its bits."""
        part, row, column = self.within(rows, classes)
        tile, at = _at(tile, row, column)
        found = tile[at]
        self.raw[part] = from_bfloat(found) if found.dtype == np.uint16 else found

    def write(self, tile: Any, rows: slice, classes: slice, stats: RowStats, tilt: Any = None) -> None:
        """Write the gradients in the listed logits into a tile of gradients, from the rows' statistics.

        ::

            dloss/draw = scale dz/draw ((c + tilt (z - peak)) p - t)        c = mass of the statistics

        and at the peak (c - t) - c rest / (1 + rest), where nothing cancels.
        """
        all_of_it, row, column = self.within(rows, classes)
        for part in _blocks(all_of_it):
            found = self._gradients(part, stats, tilt)
            block = slice(part.start - all_of_it.start, part.stop - all_of_it.start)
            flat, at = _at(tile, row[block], column[block])
            flat[at] = to_bfloat(found) if tile.dtype == np.uint16 else found

    # --- rows -----------------------------------------------------------------------------------------------

    def complete(self, stats: RowStats) -> RowStats:
        """What the core found of the even share, with the gap and mass of the listed classes."""
        gap, mass = np.zeros(self.n), np.zeros(self.n)
        with np.errstate(all="ignore"):
            for part in _blocks(slice(0, len(self.q))):
                row, t, _, fall, _ = self._entries(part, stats.peak)
                np.add.at(mass, row, t)
                np.add.at(gap, row, np.where((t == 0) | (fall == 0), 0.0, -t * fall))
        if self.s is not None:
            gap, mass = (np.where(self.s == 0, 0.0, self.s * a) for a in (gap, mass))
        mass += self.even * (self.held if self.w is None else self.w.sum())
        return replace(stats, gap=gap + np.asarray(stats.gap), mass=mass)

    def _gradients(self, part: slice, stats: RowStats, tilt: Any) -> Any:
        """The gradients in the logits of some entries (see `write`)."""
        with np.errstate(all="ignore"):
            row, t, w, fall, lost = self._entries(part, stats.peak)
            t = (t if self.s is None else t * self.s[row]) + self.even[row] * w
            c, rest = np.asarray(stats.mass)[row], stats.rest[row]  # NaN of an infinite peak
            p = np.exp(fall) * (1 + lost) / (1 + rest)
            if tilt is not None:
                c = c + np.where(p == 0, 0.0, tilt[row] * fall)
            value = np.where(fall == 0, (c - t) - c * (rest / (1 + rest)), c * p - t)
            return self.scale * self._slope(self.raw[part]) * value

    def _entries(self, part: slice, peak: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Of some entries: row, t / s without the even share, w, z - peak, and what its rounding lost."""
        row = self.row[part]
        w = 1.0 if self.w is None else self.w[self.column[part]]
        z, top = self.raw[part], peak[row]
        if self.cap is not None:
            z = self.cap * np.tanh(z / self.cap)
        z = z / self.temperature
        fall = z - top
        back = fall - z
        lost = (z - (fall - back)) - (top + back)
        if self.near:
            fall = np.where(fall >= -self.near * abs(top), 0.0, fall)
        return row, self.targets.on * w * self.q[part], w, fall, np.where(np.isfinite(lost), lost, 0.0)

    def _slope(self, raw: Any) -> Any:
        """dz/draw."""
        if self.cap is None:
            return 1 / self.temperature
        return 1 / np.cosh(raw / self.cap) ** 2 / self.temperature


def _blocks(part: slice) -> Iterator[slice]:
    """A range in pieces that can be computed at once."""
    starts = range(part.start, part.stop, _BLOCK)
    return (slice(start, min(start + _BLOCK, part.stop)) for start in starts)


def _at(tile: Any, row: Any, column: Any) -> tuple[Any, Any]:
    """An array whose first axes are the rows', in some other shape, and the place of each entry there."""
    if tile.flags.c_contiguous:
        return tile.reshape(-1), row * np.int64(tile.shape[-1]) + column
    rows = np.unravel_index(row, tile.shape[:-1]) if tile.ndim > 1 else ()
    return tile, (*rows, column)
