"""Tiles of the linear head in CPU memory, by the core. In: tiles, arrays or tensors. Out: row statistics.

See `lastlayer.linear.tile` for what each operation does. The state of rows is in NumPy arrays of float64. The
core reads and writes a tile where it lies, whichever library it is of.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from lastlayer.linear.array_ops import HostArrayOps
from lastlayer.linear.plan import Costs, Plan, Tile
from lastlayer.linear.tile import Needs, Operands, Wanted
from lastlayer.row_statistics import RowStats, joined

from . import core, native
from .tile_entries import Entries, inside, joined_entries
from .tile_top_k import Candidates, TopKState
from .top_k_targets import Listed, memory_of

__all__ = ["CoreTileBackend", "CoreTiles"]

_ADD_BYTES = 1 << 18  # for adding large entries to the weight's gradient, some at a time
_TILE_ROW = 300  # bytes of statistics for each row of a tile, while two parts merge
_ROW = 80  # bytes for each row of all
_GATHERED = 1024  # rows whose targets' weights are gathered at once
_MEMORY = 64 << 20  # bytes without max_memory; an eighth of it is used to gather them


class CoreTileBackend:
    """The core, for tiles of one array library."""

    def __init__(self, arrays: HostArrayOps, threads: int = 0) -> None:
        self.arrays = arrays
        self.own_threads = threads  # for the core; 0: as many as it is set to

    @property
    def threads(self) -> int:
        """See `TileBackend`."""
        return self.own_threads or int(core.get_num_threads())

    def costs(self, operands: Operands, wanted: Wanted) -> Costs:
        """See `TileBackend`."""
        n, t = operands.rows.x.shape[0], operands.problem.targets
        fixed = _ROW * n
        if t is not None and t.class_weight is not None:
            fixed += 8 * int(operands.head.weight.shape[0])
        if t is not None and t.kind == "sparse":
            fixed += memory_of(n, t.array.indices.shape[-1], taken=any(wanted[:2]))
        return Costs(fixed, _TILE_ROW)

    def open(self, operands: Operands, plan: Plan, needs: Needs) -> CoreTiles:
        """See `TileBackend`."""
        return CoreTiles(self, operands, plan, needs)


@dataclass
class _State:
    """The statistics of all rows, chunk by chunk, of the classes so far."""

    fields: tuple[str, ...]  # beside peak and rest
    chunks: dict[int, RowStats] = field(default_factory=dict)  # by their first row


class _Targets(NamedTuple):
    """The targets of a tile as the core takes them."""

    targets: Any  # None: there are none
    dense: bool
    targets_bfloat: bool
    class_weight: Any
    sample_weight: Any
    on: float = 1.0
    off: float = 0.0


class CoreTiles:
    """The operations of one call; see `lastlayer.linear.tile.TileOps`."""

    def __init__(self, backend: CoreTileBackend, operands: Operands, plan: Plan, needs: Needs) -> None:
        self.arrays, self.threads = backend.arrays, backend.own_threads
        self.head, problem, rows = operands
        self.n = plan.n
        self.rows = rows._replace(x=None)
        self.targets, self.scale = problem.targets, problem.scale
        self.temperature, self.cap = problem.scores.temperature, problem.scores.softcap or 0.0
        self.peak_dtype = native.computing_dtype(problem.scores, self.arrays.itemsize)
        self.dense = self.targets is not None and self.targets.kind == "dense"
        self.class_weight = None if self.targets is None else core.doubles(self.targets.class_weight)
        self.takes_large = self.arrays.half or not self.dense
        self.recompute = needs.recompute
        self.target_logits = self._target_logits(rows.x) if needs.ranks else None
        self.listed: Listed | None = None
        if self.targets is not None and self.targets.kind == "sparse":
            tile, double = (plan.rows, plan.classes), self.peak_dtype == np.float64
            self.listed = Listed(problem, tile, rows.s, rows.index, double=double)

    def _target_logits(self, x: Any) -> Any:
        """The logit of each row's class, by itself, rounded as the tile that holds it rounds it: float64."""
        (n, d), (_, weight, bias, memory) = x.shape, self.head
        found = np.empty(n)
        count = max(1, min(_GATHERED, (memory or _MEMORY) // (64 * max(1, d))))
        for start in range(0, n, count):
            part = slice(start, min(start + count, n))
            y = self.rows.y[part]
            b = None if bias is None else self.arrays.select(bias, y)
            found[part] = self.arrays.dots(x[part], self.arrays.select(weight, y), b)
        return self.arrays.rounded(found)

    def fill(self, tile: Tile, x: Any, out: Any) -> None:
        """See `TileOps`."""
        _, weight, bias, _ = self.head
        convert = self.arrays.convert
        b = None if bias is None else convert(bias[tile.classes])
        self.arrays.logits(x, convert(weight[tile.classes]), b, out)

    # --- the first pass -------------------------------------------------------------------------------------

    def begin(self, fields: Collection[str]) -> _State:
        """See `TileOps`."""
        return _State(tuple(fields))

    def statistics(self, tile: Tile, logits: Any, state: _State) -> None:
        """See `TileOps`."""
        found = self._statistics_of(tile, logits, self._arrays(tile, state.fields), self.target_logits)
        start = tile.rows.start
        state.chunks[start] = joined(state.chunks[start], found) if start in state.chunks else found

    def complete(self, state: _State) -> RowStats:
        """See `TileOps`."""
        names, chunks = ("peak", "rest", *state.fields), state.chunks.values()
        stats = RowStats(**{k: np.concatenate([getattr(part, k) for part in chunks]) for k in names})
        if self.listed is not None:
            return self.listed.complete(stats)
        return self._with_ranks(stats) if "rank" in names else stats

    def _with_ranks(self, stats: RowStats) -> RowStats:
        """Ranks that agree with argmax: the target's logit comes from another product than the tile's."""
        argmax, rank, s = stats.argmax, stats.rank, self.rows.s
        assert argmax is not None
        assert rank is not None
        rank = np.where(argmax == self.rows.y, 0, np.maximum(rank, 1))
        absent = argmax < 0 if s is None else (argmax < 0) | (s == 0)
        return replace(stats, rank=np.where(absent, -1, rank))

    def _arrays(self, tile: Tile, fields: Sequence[str]) -> dict[str, Any]:
        """Arrays for the statistics of a tile."""
        n = tile.rows.stop - tile.rows.start
        into: dict[str, Any] = {"peak": np.empty(n, self.peak_dtype), "rest": np.empty(n)}
        for name in fields:
            into[name] = np.empty(n, np.int64 if name in ("argmax", "rank") else np.float64)
        return into

    def _statistics_of(self, tile: Tile, z: Any, into: dict[str, Any], threshold: Any) -> RowStats:
        """The statistics of one tile, in the arrays ``into``; those of its top-k classes stay there."""
        if self.listed is not None:
            self.listed.look(self.arrays.as_numpy(z), tile.rows, tile.classes)
        top = into.get("top_label")
        core.row_stats(
            z, 1, bfloat=False, where=None, temperature=self.temperature, softcap=self.cap, ignore_index=None,
            into=into, k=0 if top is None else top.shape[1], threads=self.threads, shard=True,
            threshold=None if threshold is None else threshold[tile.rows], **self._targets(tile)._asdict(),
        )  # fmt: skip
        into = {name: a for name, a in into.items() if not name.startswith("top_")}
        into["peak"] = into["peak"].astype(np.float64)
        impossible = into["peak"] == -np.inf  # so far: other tiles may hold possible classes
        if impossible.any():
            for name in ("rest", "spread", "square"):
                if name in into:
                    into[name][impossible] = 0.0
        if "argmax" in into:
            into["argmax"] += np.where(into["argmax"] < 0, 0, tile.classes.start)
        return RowStats(**into)

    def _targets(self, tile: Tile) -> _Targets:
        t, y, w, s = self.targets, self.rows.y, self.class_weight, self.rows.s
        on, off = (1.0, 0.0) if t is None else (t.on, t.off)
        if self.listed is not None:
            on, off, s = 0.0, self.listed.off, self.listed.even
            w = w if off else None
        if self.dense:
            index = tile.rows if self.rows.index is None else self.rows.index[tile.rows]
            y = y[index, tile.classes]
        elif y is not None:
            y = y[tile.rows] - tile.classes.start
        bfloat = self.dense and core.is_bfloat(y)
        w, s = None if w is None else w[tile.classes], None if s is None else s[tile.rows]
        return _Targets(core.bits(y) if bfloat else y, self.dense, bfloat, w, s, on, off)

    # --- the top-k classes ----------------------------------------------------------------------------------

    def begin_top_k(self, k: int) -> TopKState:
        """See `TileOps`."""
        return TopKState(self.n, k, self._canonical, self.threads)

    def top_k(self, tile: Tile, logits: Any, state: TopKState) -> None:
        """See `TileOps`."""
        n, width = logits.shape
        k = min(state.k, width)
        labels, unused = np.empty((n, k), np.int64), np.empty((n, k), self.peak_dtype)
        into = {**self._arrays(tile, ()), "top_label": labels, "top_probability": unused}
        stats = self._statistics_of(tile, logits, into, state.threshold)
        labels = labels[:, : int((labels >= 0).any(0).sum())]
        z = self.arrays.pick(logits, np.maximum(labels, 0))
        z[labels < 0] = -np.inf
        state.merge(tile, stats, Candidates(z, labels + tile.classes.start))

    def complete_top_k(self, state: TopKState) -> tuple[Any, Any]:
        """See `TileOps`."""
        labels, p = state.complete()
        return labels, p.astype(np.float64 if self.arrays.double else np.float32)

    def _canonical(self, raw: Any) -> Any:
        """Logits of float64 after softcap and temperature."""
        z = self.cap * np.tanh(raw / self.cap) if self.cap else raw
        return z / self.temperature

    # --- the second pass ------------------------------------------------------------------------------------

    def scale_by(self, factor: float) -> None:
        """See `TileOps`."""
        self.scale *= factor
        if self.listed is not None:
            self.listed.scale *= factor

    def gradient(self, tile: Tile, logits: Any, stats: RowStats, tilt: Any) -> None:
        """See `TileOps`."""
        assert stats.mass is not None
        if self.listed is not None and self.recompute:
            self.listed.look(self.arrays.as_numpy(logits), tile.rows, tile.classes)
        core.cross_entropy(
            logits, 1, bfloat=False, temperature=self.temperature, softcap=self.cap, ignore_index=None,
            z_loss=0.0, scale=self.scale, kind=core.GRADIENT, losses=None, grad=logits, threads=self.threads,
            peak=stats.peak[tile.rows].astype(self.peak_dtype), rest=stats.rest[tile.rows],
            mass=stats.mass[tile.rows], tilt=None if tilt is None else tilt[tile.rows],
            **self._targets(tile)._asdict(),
        )  # fmt: skip
        if self.listed is not None:
            self.listed.write(self.arrays.as_numpy(logits), tile.rows, tile.classes, stats, tilt)

    def take_large(self, tile: Tile, gradient: Any, stats: RowStats) -> Entries:
        """See `TileOps`: the entries of the targets, and of the argmax where a product is rounded to 16 bits.

        They make up most of dx and of dweight. In float32, where only the order of a sum matters, those of
        the targets are enough.
        """
        start, width = tile.classes.start, gradient.shape[1]
        found: list[Any] = []
        if self.listed is not None:
            _, *listed = self.listed.within(tile.rows, tile.classes)
            found.append(listed)
        elif not self.dense:
            found.append(inside(self.rows.y[tile.rows] - start, width))
        if self.arrays.half:
            assert stats.argmax is not None
            argmax = stats.argmax[tile.rows] - start
            for row, column in found:
                argmax[row[column == argmax[row]]] = -1  # each entry once
            found.append(inside(argmax, width))
        row, column = map(np.concatenate, zip(*found, strict=True))
        values = self.arrays.take_out(gradient, row, column)
        return Entries(tile.rows.start + row, start + column, values)

    def add_to_weight(self, large: Sequence[Entries], classes: slice, x: Any, out: Any) -> None:
        """See `TileOps`."""
        row, column, value = joined_entries(large)
        self.arrays.add_entries(Entries(column - classes.start, row, value), x, out, _ADD_BYTES)

    def add_to_x(self, large: Sequence[Entries], weight: Any, out: Any, room: int) -> None:
        """See `TileOps`."""
        self.arrays.add_entries(joined_entries(large), weight, out, room)
