"""The linear head without materialized logits: two passes over tiles of logits. In: operands. Out: arrays.

The products are the array library's (`ArrayOps`), the statistics and gradients of a tile the backend's
(`TileOps`)::

    for each tile, forwards:     tile = x W_tile^T + b_tile          statistics = merge(statistics, of tile)
    for each row:                loss, from its statistics
    for each tile, backwards:    tile again, if it was not kept      tile = scale dloss/dtile, in place
                                 dW_tile += tile^T x                 db_tile += sum of tile's rows
                                 dx += tile W_tile

`cut` says which tiles there are and which are kept, `active_rows` which rows take part, `gradient_sums` adds
up the last two lines. The end of `linear_arrays` has the same computation without tiles, in a few lines.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lastlayer.row_statistics import RowStats

from .cut import cut
from .gradient_sums import GradientSums
from .plan import Tile
from .tile import NO_GRADIENTS, ONLY_LOSSES, Needs, Operands, TileBackend, Wanted
from .tile_memory import buffers, matrix

__all__ = ["Loop"]


class Loop:
    """One call: its operands, its plan, and the memory of its tiles."""

    def __init__(
        self,
        backend: TileBackend,
        operands: Operands,
        wanted: Wanted = NO_GRADIENTS,
        needs: Needs = ONLY_LOSSES,
    ) -> None:
        self.arrays, (self.head, _, self.rows) = backend.arrays, operands
        self.plan = cut(backend, operands, wanted, needs)
        self.tiles = backend.open(operands, self.plan, needs)
        self.recompute = needs.recompute
        weight = self.head.weight
        self.dw = self.arrays.empty(tuple(weight.shape), weight.dtype) if wanted[1] else None
        self.buffers = buffers(self.arrays, self.plan, self.dw)

    def fill(self, tile: Tile) -> Any:
        """Compute the logits of a tile."""
        out = matrix(self.buffers, tile)
        self.tiles.fill(tile, self.rows.x[tile.rows], out)
        return out

    def statistics(self, fields: Collection[str]) -> RowStats:
        """The statistics of all rows, from the first pass: peak, rest and these ``fields``."""
        state = self.tiles.begin(fields)
        for tile in self.plan.tiles():
            self.tiles.statistics(tile, self.fill(tile), state)
        return self.tiles.complete(state)

    def top_k(self, k: int) -> tuple[Any, Any]:
        """The top-k classes of all rows and their probabilities, from the first pass."""
        state = self.tiles.begin_top_k(k)
        for tile in self.plan.tiles():
            self.tiles.top_k(tile, self.fill(tile), state)
        return self.tiles.complete_top_k(state)

    def gradients(self, stats: RowStats, wanted: Wanted, tilt: Any = None) -> list[Any]:
        """dx of the loop's rows, dweight and dbias, or None where not wanted; from the second pass.

        ``mass`` of the statistics is the factor of p, and ``tilt`` the factor of ``p_j (z_j - peak)``.
        dweight has the weight's dtype, the others that of the sums. The tiles are overwritten.
        """
        sums = GradientSums(self.arrays, self.tiles, self.head, self.rows.x, self.plan, self.dw, wanted)
        for tile in reversed(list(self.plan.tiles())):
            kept = tile.kept and not self.recompute
            logits = matrix(self.buffers, tile) if kept else self.fill(tile)
            self.tiles.gradient(tile, logits, stats, tilt)
            sums.add(tile, logits, stats)
        del logits
        self.buffers.clear()  # `complete` may take as much memory as the tiles had
        return sums.complete()

    def scale_by(self, factor: float) -> None:
        """Multiply the gradients of the second pass, before they are rounded."""
        self.tiles.scale_by(factor)
