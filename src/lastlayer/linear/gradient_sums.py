"""The gradients of a linear head. In: tiles of the logits' gradient. Out: dx, dweight, dbias, their sums.

Tiles arrive in reverse order: from the last classes to the first, and within the same classes from the last
rows to the first. Sums are float32 (float64 for float64 inputs). Large entries of a tile are left out of its
products and added last, unrounded: if a sum begins with a large number, the last digits of all later terms
are lost, and a product in bfloat16 would round the large entries once more for each tile.
"""

from __future__ import annotations

from typing import Any

from lastlayer.problem import Head
from lastlayer.row_statistics import RowStats

from .array_ops import ArrayOps
from .plan import Plan, Tile
from .tile import TileOps, Wanted

__all__ = ["GradientSums"]


class GradientSums:
    """The sums of one call. ``dw`` is filled from the last classes to the first; the rest may hold tiles."""

    def __init__(
        self, arrays: ArrayOps, tiles: TileOps, head: Head, x: Any, plan: Plan, dw: Any, wanted: Wanted
    ) -> None:
        self.arrays, self.tiles, self.x, self.weight, self.plan = arrays, tiles, x, head.weight, plan
        n, d, v = plan.n, self.weight.shape[1], plan.v
        sums, chunks = arrays.sum_dtype, -(-n // plan.rows)
        self.dx = arrays.empty((n, d), sums) if wanted[0] else None
        self.dw = dw
        self.db = arrays.empty((v,), sums) if wanted[2] else None
        direct = self.weight.dtype == arrays.dtype and (chunks == 1 or self.weight.dtype == sums)
        self.dw_tile = None if direct or dw is None else arrays.empty((plan.classes, d), sums)
        self.product = arrays.empty((self._product_size(chunks, wanted),), arrays.dtype)
        self.last = (n - 1) // plan.rows * plan.rows  # the first row of the last chunk
        # Entries can be added to dweight last only if its sum has more than 16 bits.
        wide = self.dw_tile is not None or self.weight.dtype == sums
        self.exact = tiles.takes_large and dw is not None and wide
        self.large: list[Any] = []
        self.pending: list[Any] = []  # for dweight, until the last tile of their classes

    def _product_size(self, chunks: int, wanted: Wanted) -> int:
        """The size of the largest product that is computed before it is added to its sum."""
        if not self.arrays.separate:
            return 0
        rows = self.plan.rows if wanted[0] else 0
        classes = self.plan.classes if wanted[1] and chunks > 1 else 0
        return int(self.weight.shape[1]) * max(rows, classes)

    def add(self, tile: Tile, g: Any, stats: RowStats) -> None:
        """Add the contributions of a tile's gradient ``g`` to dx, dweight and dbias."""
        first = tile.rows.start == self.last  # of the tiles of these classes
        if self.db is not None:
            self.arrays.sum_rows(g, self.db[tile.classes], first)
        taken = self.tiles.take_large(tile, g, stats) if self.exact else None
        if self.dw is not None:
            self._add_to_weight(tile, g, first, taken)
        if self.dx is not None:
            if self.tiles.takes_large:
                self.large.append(self.tiles.take_large(tile, g, stats) if taken is None else taken)
            weight = self.arrays.convert(self.weight[tile.classes])
            first = tile.classes.stop == self.plan.v
            self.arrays.multiply(g, weight, self.dx[tile.rows], first, self.product)

    def _add_to_weight(self, tile: Tile, g: Any, first: bool, taken: Any) -> None:
        classes = tile.classes
        out = self.dw[classes] if self.dw_tile is None else self.dw_tile[: g.shape[1]]
        self.arrays.multiply(g.T, self.x[tile.rows], out, first, self.product)
        if taken is not None:
            self.pending.append(taken)
        if tile.rows.start == 0:  # the last tile of these classes
            if self.pending:
                self.tiles.add_to_weight(self.pending, classes, self.x, out)
                self.pending.clear()
            if self.dw_tile is not None:
                self.dw[classes] = out

    def complete(self) -> list[Any]:
        """dx, dweight and dbias."""
        if self.large:
            room = self.plan.rows * self.plan.classes * self.arrays.itemsize
            self.tiles.add_to_x(self.large, self.weight, self.dx, room)
        return [self.dx, self.dw, self.db]
