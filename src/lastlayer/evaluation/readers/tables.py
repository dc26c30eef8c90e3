"""Tables: DataFrames, Arrow tables, Parquet and CSV files. In: a table with scores. Out: blocks.

`columns` says which columns hold what; `datasets` opens files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lastlayer.errors import ShapeError, named

from .columns import Columns, Wanted, is_number, plain
from .datasets import Files, Table
from .source import BLOCK_BYTES, BLOCK_ROWS, Block
from .values import digest, fingerprint, keys_of, sliced

__all__ = ["TableColumn", "TableSource", "is_table"]


def is_table(values: Any) -> bool:
    """Whether values are a table that Arrow can read."""
    if type(values).__module__.partition(".")[0] == "pandas":
        return hasattr(values, "columns")
    return hasattr(values, "__arrow_c_stream__") and not hasattr(values, "dtype")  # a Series has a dtype


class TableSource:
    """Record batches of a table; targets are a column, or an array of their own."""

    def __init__(self, data: Table | Files, wanted: Wanted) -> None:
        self.data, self.columns = data, Columns(data, wanted)
        columns, rows = self.columns, data.rows
        self.rows: int | None = rows
        self.classes, self.kind, self.labels = columns.classes, columns.kind, columns.labels
        self.targets, self.facts = columns.wanted.targets, columns.wanted.arrays
        self.n_bytes = None if rows is None else rows * columns.row_bytes
        for name, value in {"targets": self.targets, **self.facts}.items():
            if value is not None and rows is not None and value.shape and int(value.shape[0]) != rows:
                rule = f"{rows} rows as " + named("scores") + " has"
                raise ShapeError("evaluate", name, f"of length {int(value.shape[0])}", rule)

    def identity(self) -> dict[str, Any]:
        """The columns, and pieces of the files or rows of the table."""
        found: dict[str, Any] = {
            "table": self.data.content,
            "columns": digest(repr(self.columns.names()).encode()),
        }
        arrays = {k: v for k, v in {"targets": self.targets, **self.facts}.items() if v is not None}
        return found | {name: fingerprint(value) for name, value in arrays.items()}

    def blocks(self, start: int) -> Iterator[Block]:
        """Record batches of a few rows."""
        size = max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(8, self.columns.row_bytes)))
        position = 0
        for batch in self.data.batches(self.columns.names(), size):
            n = batch.num_rows
            if n and position + n > start:
                part = batch.slice(max(0, start - position))
                yield self._block(part, max(position, start), position + n)
            position += n
        self._check_end(position)

    def _block(self, batch: Any, first: int, stop: int) -> Block:
        scores, targets, facts = self.columns.read(batch, first)
        for name, value in {"targets": self.targets, **self.facts}.items():
            if value is not None and value.shape and int(value.shape[0]) < stop:
                found, rule = f"of length {int(value.shape[0])}", "one for each row of scores, which has more"
                raise ShapeError("evaluate", name, found, rule)
        box = (slice(first, stop),)
        if self.targets is not None:
            targets = sliced(self.targets, box)
        for name, value in self.facts.items():
            part = sliced(value, box)
            facts[name] = keys_of(name, part) if name in ("groups", "documents") else part
        return Block(scores, targets, first, batch.num_rows, scores.nbytes, facts)

    def _check_end(self, rows: int) -> None:
        """Arrays beside a table whose length was not known before have no rows more."""
        for name, value in {"targets": self.targets, **self.facts}.items():
            if value is not None and value.shape and int(value.shape[0]) != rows:
                rule = f"{rows} rows as " + named("scores") + " has"
                raise ShapeError("evaluate", name, f"of length {int(value.shape[0])}", rule)


class TableColumn:
    """One column of files: an array of which slices are read in order."""

    def __init__(self, argument: str, paths: Sequence[str], form: str, name: str | None) -> None:
        self.argument, self.paths = argument, paths
        wanted = Wanted(label=name, only_label=True)
        self.files = Files(argument, paths, form, wanted)
        self.columns = Columns(self.files, wanted)
        self.shape = (self.files.count(self.columns.names()),)
        kind = self.files.schema.field(self.columns.label).type
        self.dtype = np.dtype(np.float64 if is_number(kind) else object)
        self.content = digest(repr(self.files.content).encode())
        self._rows: Iterator[Any] = iter(())
        self._position, self._rest = -1, np.empty(0)

    def __getitem__(self, index: Any) -> Any:
        """Rows from one to another."""
        start, stop, _ = (index[0] if isinstance(index, tuple) else index).indices(self.shape[0])
        if self._position < 0 or start < self._position:
            self._rows, self._position, self._rest = self._values(), 0, np.empty(0)
        parts, n = [], stop - self._position
        while n > 0:
            if not len(self._rest):
                self._rest = next(self._rows)
            part, self._rest = self._rest[:n], self._rest[n:]
            n -= len(part)
            skipped = min(len(part), max(0, start - self._position))
            self._position += len(part)
            parts.append(part[skipped:])
        parts = [part for part in parts if len(part)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _values(self) -> Iterator[Any]:
        for batch in self.files.batches(self.columns.names(), BLOCK_ROWS):
            if batch.num_rows:
                yield plain(batch.column(self.columns.label))
