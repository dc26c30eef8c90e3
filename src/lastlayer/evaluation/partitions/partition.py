"""A partition: rows that one task reads. In: how to open them. Out: a source that counts what is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from lastlayer.evaluation.readers.source import Block, Source

__all__ = ["Division", "Opened", "Partition"]


class Partition(NamedTuple):
    """The data of one task, on any machine."""

    open: Callable[..., Source | None]  # None: it has no rows
    values: tuple[Any, ...]  # its arguments: delayed values of Dask, or small ones


class Division(NamedTuple):
    """Partitions in the order of their rows."""

    partitions: Sequence[Partition]
    rows: int | None  # of all; None where that is not known before the end
    client: Any  # of dask.distributed; None: another scheduler of Dask
    nothing: Callable[[], Source] | None = None  # a source without rows, where no partition has any


class Opened:
    """The source of a partition, after so many rows of others, of this length on their first axis."""

    kind: str | None = None
    labels: tuple[Any, ...] | None = None
    rows: int | None = None  # of all partitions: not known to one of them
    n_bytes: int | None = None

    def __init__(self, source: Source, rows: int = 0, length: int = 0) -> None:
        self.source, self._before = source, (rows, length)
        self.classes, self.kind, self.labels = source.classes, source.kind, source.labels
        self.seen = self.bytes = 0  # rows and bytes of the last pass

    def identity(self) -> dict[str, Any]:
        """That of the source."""
        return self.source.identity()

    @property
    def length(self) -> int:
        """The number of its rows along the first axis."""
        shape = getattr(self.source, "shape", None)
        return self.seen if shape is None else int(shape[0])

    def blocks(self, start: int) -> Iterator[Block]:
        """The blocks of the source, numbered among all rows."""
        self.seen = self.bytes = 0
        for block in self.source.blocks(start):
            self.seen, self.bytes = self.seen + block.rows, self.bytes + block.n_bytes
            yield block.moved(*self._before)
