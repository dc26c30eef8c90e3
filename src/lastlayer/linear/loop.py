"""The linear head without logits: one loop over tiles of them. In: a checked head and problem. Out: arrays.

The products are the array library's (`Products`), the statistics and gradients of a tile the core's::

    for each tile, forwards:     tile = x W_tile^T + b_tile          statistics = merge(statistics, of tile)
    of each row:                 loss, from its statistics
    for each tile, backwards:    tile again, if it was not kept      tile = scale dloss/dtile, in place
                                 dW_tile += tile^T x                 db_tile += sum of tile's rows
                                 dx += tile W_tile

`plan` decides which tiles there are and which are kept, `active_rows` which rows take part. Sums over tiles
are in float32 (float64 for float64), whatever the inputs' dtype. `linear_arrays` says in a few lines what all
this computes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lastlayer import problem as problems
from lastlayer.backends.core import core, native
from lastlayer.backends.core.top_k_targets import Listed, memory_of
from lastlayer.problem import Head, Problem, Targets
from lastlayer.row_statistics import RowStats, joined

from . import plan as plans
from .active_rows import Rows, target_logits
from .array_ops import Products
from .plan import Costs, Plan, Tile, default_memory

__all__ = ["Loop"]

_PUT = 1 << 18  # bytes for adding large entries to the weights' gradient, some at a time
_A_ROW = 300  # bytes of statistics for each row of a tile, while two parts merge
_ROW = 80  # and for each row of all

Wanted = Sequence[bool]  # of dx, dweight, dbias
Large = tuple[Any, Any, Any]  # rows, classes and values of entries of the logits' gradient


class Loop:
    """One call: its arrays, its plan and its buffers."""

    def __init__(
        self,
        products: Products,
        head: Head,
        problem: Problem,
        rows: Rows,
        wanted: Wanted = (False, False, False),
        *,
        a_row: int = 0,
        again: bool = False,
        ranks: bool = False,
        wide: int = 0,
    ) -> None:
        self.products, self.head, self.problem, self.rows = products, head, problem, rows
        t = problem.targets
        self.dense = t is not None and t.kind == "dense"
        w = None if t is None else t.class_weight
        self.class_weight = None if w is None else np.ascontiguousarray(w, np.float64)
        self.cap = problem.scores.softcap or 0.0
        self.peak_dtype = native.computing_dtype(problem.scores, products.number)
        self.takes = products.half or not self.dense  # some entries are known to be large
        self.again = again  # only the second pass is made
        self.threshold = target_logits(products, head, rows) if ranks else None  # while there is room
        self.plan = self._plan(rows.x.shape[0], wanted, a_row, wide)
        problems.enough_memory(problem.scores.function, head, self.plan.memory)
        self.listed: Listed | None = None
        if t is not None and t.kind == "sparse":
            tile, double = (self.plan.rows, self.plan.classes), self.peak_dtype == np.float64
            self.listed = Listed(problem, tile, rows.s, rows.index, double=double)
        v, d = head.weight.shape
        self.dw = products.empty((v, d), head.weight.dtype) if wanted[1] else None
        self.buffers = self._buffers()

    def _plan(self, n: int, wanted: Wanted, a_row: int, wide: int) -> Plan:
        head, products = self.head, self.products
        v, d = head.weight.shape
        size = products.sum_dtype.itemsize
        converted = head.weight.dtype != products.dtype
        threads = products.threads or int(core.get_num_threads())
        fixed = threads * min(products.packs, n * d * products.number)
        fixed += (_ROW + a_row) * n + (8 * v if self.class_weight is not None else 0)
        t = self.problem.targets
        if t is not None and t.kind == "sparse":
            fixed += memory_of(n, t.array.indices.shape[-1], taken=any(wanted[:2]))
        if self.rows.x.dtype != head.x.dtype or self.rows.index is not None:
            fixed += n * d * products.number
        if wanted[0] and (head.x.dtype != products.sum_dtype or self.rows.index is not None):
            fixed += n * d * size
        costs = Costs(
            fixed,
            _A_ROW,
            d * (products.number + (size if wanted[1] else 0)) if converted else 0,
            d * size if wanted[1] and not converted and head.weight.dtype != products.sum_dtype else 0,
            d * products.number if wanted[0] and products.apart else 0,
            d * products.number if wanted[1] and products.apart else 0,
            d * head.weight.dtype.itemsize if wanted[1] else 0,
        )
        memory = default_memory() if head.memory is None else head.memory
        keep = any(wanted) and not self.again
        return plans.planner.plan(n, v, products.number, threads, memory, costs, keep=keep, wide=wide)

    def _buffers(self) -> list[Any]:
        """Memory for the tiles that are kept: their own, then those aliased to the weight's gradient."""
        tile, aliased = self.plan.rows * self.plan.classes, self.plan.aliased
        own = self.plan.kept - aliased
        memory = self.products.empty((own * tile,), self.products.dtype)  # in one piece: its pages are large
        buffers = [memory[i * tile : (i + 1) * tile] for i in range(own)]
        if not aliased:
            return buffers
        idle = self.products.view(self.dw, self.products.dtype)
        return buffers + [idle[i * tile : (i + 1) * tile] for i in range(aliased)]

    def tile(self, tile: Tile) -> Any:
        """The memory of a tile, as a matrix."""
        height, width = tile.rows.stop - tile.rows.start, tile.classes.stop - tile.classes.start
        return self.buffers[tile.buffer][: height * width].reshape(height, width)

    def fill(self, tile: Tile) -> Any:
        """The logits of a tile, computed."""
        out, (_, weight, bias, _) = self.tile(tile), self.head
        convert = self.products.convert
        b = None if bias is None else convert(bias[tile.classes])
        self.products.logits(self.rows.x[tile.rows], convert(weight[tile.classes]), b, out)
        return out

    def targets(self, tile: Tile) -> tuple[Any, Any, Any, Any]:
        """Targets, class weights and sample weights of a tile, and whether the targets are bfloat16."""
        y, w, s = self.rows.y, self.class_weight, self.rows.s
        if self.listed is not None:
            w, s = w if self.listed.off else None, self.listed.even
        if self.dense:
            index = tile.rows if self.rows.index is None else self.rows.index[tile.rows]
            y = y[index, tile.classes]
        elif y is not None:
            y = y[tile.rows] - tile.classes.start
        half = self.dense and core.is_bfloat(y)
        return (
            core.bits(y) if half else y,
            None if w is None else w[tile.classes],
            None if s is None else s[tile.rows],
            half,
        )

    def canonical(self, raw: Any) -> Any:
        """Logits of float64 after softcap and temperature."""
        z = self.cap * np.tanh(raw / self.cap) if self.cap else raw
        return z / self.problem.scores.temperature

    def smoothing(self, t: Targets) -> tuple[float, float]:
        """What the core is told of ``on`` and ``off``."""
        return (t.on, t.off) if self.listed is None else (0.0, self.listed.off)

    def first_pass(self, fields: Collection[str]) -> RowStats:
        """The statistics of all rows, with these fields."""
        stats = self.statistics(tuple(fields))
        if "rank" not in fields:
            return stats
        best, rank, s = stats.argmax, stats.rank, self.rows.s
        assert best is not None
        assert rank is not None
        rank = np.where(best == self.rows.y, 0, np.maximum(rank, 1))  # one product says so, and another that
        lost = best < 0 if s is None else (best < 0) | (s == 0)
        return replace(stats, rank=np.where(lost, -1, rank))

    def statistics(self, fields: Sequence[str]) -> RowStats:
        """The statistics of all rows, from the first pass: float64 throughout."""
        whole: dict[int, RowStats] = {}
        for tile in self.plan.tiles():
            part, start = self.part(tile, self.fill(tile), fields), tile.rows.start
            whole[start] = joined(whole[start], part) if start in whole else part
        names = ("peak", "rest", *fields)
        stats = RowStats(**{k: np.concatenate([getattr(p, k) for p in whole.values()]) for k in names})
        return stats if self.listed is None else self.listed.complete(stats)

    def part(self, tile: Tile, z: Any, fields: Sequence[str], best: Sequence[Any] = ()) -> RowStats:
        """The statistics of one tile; its best classes into the arrays ``best``: labels and probabilities."""
        if self.listed is not None:
            self.listed.look(self.products.numbers(z), tile.rows, tile.classes)
        n = tile.rows.stop - tile.rows.start
        into: dict[str, Any] = {"peak": np.empty(n, self.peak_dtype), "rest": np.empty(n)}
        top = dict(zip(("top_label", "top_probability"), best, strict=False))
        for field in fields:
            into[field] = np.empty(n, np.int64 if field in ("argmax", "rank") else np.float64)
        y, w, s, half = self.targets(tile)
        t, (_, _, _, _, temperature, _) = self.problem.targets, self.problem.scores
        options = (1.0, 0.0) if t is None else self.smoothing(t)
        core.row_stats(
            z, 1, False, None, temperature, self.cap, y, self.dense, half, None, {**into, **top},
            best[0].shape[1] if best else 0, self.products.threads, w, s, *options, True,
            None if self.threshold is None else self.threshold[tile.rows],
        )  # fmt: skip
        into["peak"] = into["peak"].astype(np.float64)
        nothing = into["peak"] == -np.inf  # possible here: other tiles may have classes to add to
        if nothing.any():
            for field in ("rest", "spread", "square"):
                if field in into:
                    into[field][nothing] = 0.0
        if "argmax" in into:
            into["argmax"] += np.where(into["argmax"] < 0, 0, tile.classes.start)
        return RowStats(**into)

    def gradients(self, stats: RowStats, wanted: Wanted, tilt: Any = None) -> list[Any]:
        """dx of the rows that count, dweight and dbias, each of its dtype or None; from the second pass.

        ``mass`` of the statistics is what multiplies p, and ``tilt`` what multiplies ``p_j (z_j - peak)``.
        """
        products, weight = self.products, self.head.weight
        (n, d), v = tuple(self.rows.x.shape), self.plan.v
        sums = products.sum_dtype
        dx = products.empty((n, d), sums) if wanted[0] else None
        dw = self.dw
        db = products.empty((v,), sums) if wanted[2] else None
        chunks = -(-n // self.plan.rows)
        direct = weight.dtype == products.dtype and (chunks == 1 or weight.dtype == sums)
        dw_tile = None if direct or dw is None else products.empty((self.plan.classes, d), sums)
        spare = products.empty((self._spare(d, chunks, wanted),), products.dtype)
        last = (self.plan.n - 1) // self.plan.rows * self.plan.rows
        # What dweight is added up in holds more than 16 bits: then something may be added last.
        exact = self.takes and dw is not None and (dw_tile is not None or weight.dtype == sums)
        large: list[Large] = []
        waiting: list[Large] = []  # for the last tile of their classes
        for tile in reversed(list(self.plan.tiles())):
            g = self.tile(tile) if tile.kept and not self.again else self.fill(tile)
            self.differentiate(tile, g, stats, tilt)
            first = tile.rows.start == last  # of these classes: the pass goes backwards
            if db is not None:
                products.sum_rows(g, db[tile.classes], first)
            taken = self.take_large(tile, g, stats) if exact else None
            if dw is not None:
                out = dw[tile.classes] if dw_tile is None else dw_tile[: g.shape[1]]
                products.multiply(g.T, self.rows.x[tile.rows], out, first, spare)
                if taken is not None:
                    waiting.append(taken)
                if waiting and tile.rows.start == 0:
                    row, column, value = _joined(waiting)
                    products.put(column - tile.classes.start, row, value, self.rows.x, out, _PUT)
                    waiting.clear()
                if dw_tile is not None and tile.rows.start == 0:
                    dw[tile.classes] = out
            if dx is not None:
                out, w_tile = dx[tile.rows], products.convert(weight[tile.classes])
                if self.takes:
                    large.append(taken or self.take_large(tile, g, stats))
                products.multiply(g, w_tile, out, tile.classes.stop == v, spare)
                del w_tile  # a copy, maybe, and the next tile makes its own
        if large:
            del g
            self.buffers.clear()  # of their size is what is needed now
            room = self.plan.rows * self.plan.classes * products.number
            row, column, value = _joined(large)
            products.put(row, column, value, weight, dx, room)
        return [dx, dw, db]

    def scale_by(self, factor: float) -> None:
        """Multiply the gradients of the second pass, before they are rounded."""
        self.problem = self.problem._replace(scale=self.problem.scale * factor)
        if self.listed is not None:
            self.listed.scale *= factor

    def take_large(self, tile: Tile, g: Any, stats: RowStats) -> Large:
        """The entries of a tile that are large, taken out of it: of the targets, and of the rows' argmax.

        They make most of dx, and of dweight. A product that is rounded to 16 bits for each tile would round
        them once more than a product over all does. What they add is added unrounded, after all tiles.
        So it is in float32, where whatever is added to a large sum loses its last digits; there the targets
        are enough.
        """
        start, width = tile.classes.start, g.shape[1]
        entries: list[Any] = []
        if self.listed is not None:
            _, *entry = self.listed.within(tile.rows, tile.classes)
            entries.append(entry)
        elif not self.dense:
            entries.append(_inside(self.rows.y[tile.rows] - start, width))
        if self.products.half:
            assert stats.argmax is not None
            best = stats.argmax[tile.rows] - start
            for row, column in entries:
                best[row[column == best[row]]] = -1
            entries.append(_inside(best, width))
        row, column = map(np.concatenate, zip(*entries, strict=True))
        return tile.rows.start + row, start + column, self.products.take(g, row, column)

    def _spare(self, d: int, chunks: int, wanted: Wanted) -> int:
        """Numbers of the largest product that is made apart from its sum."""
        if not self.products.apart:
            return 0
        rows = self.plan.rows if wanted[0] else 0
        return d * max(rows, self.plan.classes if wanted[1] and chunks > 1 else 0)

    def differentiate(self, tile: Tile, z: Any, stats: RowStats, tilt: Any) -> None:
        """The gradient of a tile of logits in its place, from the statistics of the whole rows."""
        y, w, s, half = self.targets(tile)
        problem, t = self.problem, self.problem.targets
        assert t is not None
        assert stats.mass is not None
        if self.listed is not None and self.again:
            self.listed.look(self.products.numbers(z), tile.rows, tile.classes)
        core.cross_entropy(
            z, 1, False, problem.scores.temperature, self.cap, y, self.dense, half, w, s, None,
            *self.smoothing(t), 0.0, problem.scale, core.GRADIENT, None, z, self.products.threads,
            stats.peak[tile.rows].astype(self.peak_dtype), stats.rest[tile.rows], stats.mass[tile.rows],
            None if tilt is None else tilt[tile.rows],
        )  # fmt: skip
        if self.listed is not None:
            self.listed.write(self.products.numbers(z), tile.rows, tile.classes, stats, tilt)


def _joined(parts: list[Large]) -> Large:
    row, column, value = (np.concatenate(some) for some in zip(*parts, strict=True))
    return row, column, value


def _inside(columns: Any, width: int) -> tuple[Any, Any]:
    """The rows whose column is one of the tile's, and these columns."""
    rows = np.flatnonzero((columns >= 0) & (columns < width))
    return rows, columns[rows]
