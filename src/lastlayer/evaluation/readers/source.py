"""The protocol of readers: blocks of rows, from any row on. In: data. Out: one `Block` after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

__all__ = ["BLOCK_BYTES", "BLOCK_ROWS", "Block", "Source"]

BLOCK_BYTES = 1 << 24  # of scores in a block, unless one row alone has more
BLOCK_ROWS = 1 << 16  # of them: what is computed of a row takes more memory than a few scores


class Block(NamedTuple):
    """Some rows that follow one another."""

    scores: Any  # (n, ..., V)
    targets: Any
    first: int  # the number of its first row among all
    rows: int
    n_bytes: int  # read for it
    facts: dict[str, Any] = {}  # noqa: RUF012 - never written to: more arguments of `Tally.update`
    box: tuple[slice, ...] | None = None  # its rows' positions, where the rows have several axes

    def position(self, i: int) -> tuple[int, ...]:
        """The index of its i-th row among all rows."""
        if self.box is None:
            return (self.first + i,)
        found = []
        for part in reversed(self.box):
            i, k = divmod(i, part.stop - part.start)
            found.append(part.start + k)
        return tuple(reversed(found))

    def moved(self, rows: int, length: int) -> Block:
        """The same block after so many rows, of this length on their first axis."""
        if self.box is None:
            return self._replace(first=self.first + rows)
        first, *rest = self.box
        box = (slice(first.start + length, first.stop + length), *rest)
        return self._replace(first=self.first + rows, box=box)


class Source(Protocol):
    """Data that is read block by block."""

    @property
    def classes(self) -> int:
        """V."""

    @property
    def rows(self) -> int | None:
        """The number of rows; None if it is not known before the end."""

    @property
    def n_bytes(self) -> int | None:
        """How many bytes will be read."""

    @property
    def kind(self) -> str | None:
        """The kind of scores that the data declares."""

    @property
    def labels(self) -> tuple[Any, ...] | None:
        """The names of the classes, if the data has them."""

    def identity(self) -> dict[str, Any]:
        """Values of JSON that identify this data: for checkpoints."""

    def blocks(self, start: int) -> Iterator[Block]:
        """The blocks from a row on, where an earlier block has ended."""
