"""The operations that the tile loop needs from a backend: protocols, and the tuples passed between them.

A backend keeps the state of the rows in the memory of its tiles, and the loop does not read it. No operation
returns a number that the loop would have to wait for, so a GPU backend can queue all tiles at once. Decisions
that depend on values (a row without a possible class so far, large entries) are taken inside an operation.
`lastlayer.backends.core.tiles` implements all this for CPU memory.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from lastlayer.problem import Head, Problem
from lastlayer.row_statistics import RowStats

from .active_rows import Rows
from .array_ops import ArrayOps
from .plan import Costs, Plan, Tile

__all__ = ["NO_GRADIENTS", "ONLY_LOSSES", "Needs", "Operands", "TileBackend", "TileOps", "Wanted"]

Wanted = Sequence[bool]  # whether the gradients of x, weight and bias are
NO_GRADIENTS: Wanted = (False, False, False)


class Operands(NamedTuple):
    """The inputs of a loop."""

    head: Head
    problem: Problem
    rows: Rows


class Needs(NamedTuple):
    """What a driver needs from a loop besides losses."""

    row_bytes: int = 0  # for each row, of its other results
    min_classes: int = 0  # of a tile, where memory allows
    ranks: bool = False
    recompute: bool = False  # there is no first pass: the second computes every tile


ONLY_LOSSES = Needs()


class TileOps(Protocol):
    """The operations of one call on its tiles and on the state of its rows."""

    takes_large: bool  # whether `take_large` finds entries

    def fill(self, tile: Tile, x: Any, out: Any) -> None:
        """Write the logits of a tile into ``out``; ``x`` are the features of its rows."""

    def begin(self, fields: Collection[str]) -> Any:
        """The state of all rows before the first tile: peak, rest and these fields of `RowStats`."""

    def statistics(self, tile: Tile, logits: Any, state: Any) -> None:
        """Merge the statistics of a tile into the state; tiles come in the order of their classes."""

    def complete(self, state: Any) -> RowStats:
        """The statistics of all rows, after the last tile: float64."""

    def begin_top_k(self, k: int) -> Any:
        """The state of all rows before the first tile, for their top-k classes."""

    def top_k(self, tile: Tile, logits: Any, state: Any) -> None:
        """Merge the top-k classes of a tile into the state."""

    def complete_top_k(self, state: Any) -> tuple[Any, Any]:
        """Labels, -1 in a row with a NaN, and probabilities, after the last tile: (N, k) each."""

    def gradient(self, tile: Tile, logits: Any, stats: RowStats, tilt: Any) -> None:
        """Replace the logits of a tile by their gradient: ``scale ((c + tilt (z - peak)) p - t)``.

        ``c`` is the ``mass`` of the statistics; ``tilt`` has a number per row, or is None for zeros.
        """

    def scale_by(self, factor: float) -> None:
        """Multiply all later results of `gradient` by a factor."""

    def take_large(self, tile: Tile, gradient: Any, stats: RowStats) -> Any:
        """Take large entries out of a tile's gradient, for `add_to_weight` and `add_to_x`; zeros remain."""

    def add_to_weight(self, large: Sequence[Any], classes: slice, x: Any, out: Any) -> None:
        """Add the contributions of entries to the weight's gradient of these classes."""

    def add_to_x(self, large: Sequence[Any], weight: Any, out: Any, room: int) -> None:
        """Add the contributions of entries to the gradient of all features, in ``room`` bytes."""


class TileBackend(Protocol):
    """What a backend supplies to the loop, for arrays of one library and dtype."""

    @property
    def arrays(self) -> ArrayOps:
        """The array library's operations."""

    @property
    def threads(self) -> int:
        """The number of threads of a product."""

    def costs(self, operands: Operands, wanted: Wanted) -> Costs:
        """Bytes of row state: ``fixed`` for all rows, and ``a_row`` for each row of a tile."""

    def open(self, operands: Operands, plan: Plan, needs: Needs) -> TileOps:
        """The operations of one call."""
