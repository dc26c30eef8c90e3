"""Tables: DataFrames, Arrow tables, Parquet and CSV files. In: a table with scores. Out: blocks.

`columns` says which columns hold what; `datasets` opens files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lastlayer.errors import ShapeError

from .columns import Columns, Wanted, plain
from .datasets import count_rows, errors_of_arrow, opened_files, opened_table
from .source import BLOCK_BYTES, Block
from .values import digest, fingerprint, keys_of, sliced

__all__ = ["TableColumn", "TableSource", "is_table"]

_SAMPLES = 64  # rows of a table in memory that tell it from others


def is_table(values: Any) -> bool:
    """Whether values are a table that Arrow can read."""
    if type(values).__module__.partition(".")[0] == "pandas":
        return hasattr(values, "columns")
    return hasattr(values, "__arrow_c_stream__") and not hasattr(values, "dtype")  # a Series has a dtype


class TableSource:
    """Record batches of a table; targets are a column, or an array of their own."""

    def __init__(self, dataset: Any, columns: Columns, rows: int | None, content: dict[str, Any]) -> None:
        self.dataset, self.columns, self.rows, self.content = dataset, columns, rows, content
        self.classes, self.kind, self.labels = columns.classes, columns.kind, columns.labels
        self.targets, self.facts = columns.wanted.targets, columns.wanted.arrays
        self.n_bytes = None if rows is None else rows * columns.row_bytes
        for name, value in {"targets": self.targets, **self.facts}.items():
            if value is not None and rows is not None and value.shape and int(value.shape[0]) != rows:
                raise ShapeError(
                    "evaluate", name, f"of length {int(value.shape[0])}", f"{rows} rows as scores has"
                )

    @classmethod
    def of_table(cls, table: Any, wanted: Wanted) -> TableSource:
        """A table of Arrow, pandas or polars."""
        whole, dataset = opened_table(table)
        rows = sorted({int(k) for k in np.linspace(0, max(0, whole.num_rows - 1), _SAMPLES)})
        content = digest(*(repr(whole.slice(k, 1).to_pylist()).encode() for k in rows))
        return cls(
            dataset, Columns(whole, wanted), whole.num_rows, {"rows": whole.num_rows, "content": content}
        )

    @classmethod
    def of_files(cls, paths: Sequence[str], form: str, wanted: Wanted) -> TableSource:
        """Files of one form, "parquet" or "csv"."""
        dataset, content = opened_files("scores", paths, form, wanted)
        columns = Columns(dataset, wanted)
        with errors_of_arrow("scores", paths):
            rows = dataset.count_rows() if form == "parquet" else None
        return cls(dataset, columns, rows, content)

    def identity(self) -> dict[str, Any]:
        """The columns, and pieces of the files or rows of the table."""
        found: dict[str, Any] = {
            "table": self.content,
            "columns": digest(repr(self.columns.names()).encode()),
        }
        arrays = {k: v for k, v in {"targets": self.targets, **self.facts}.items() if v is not None}
        return found | {name: fingerprint(value) for name, value in arrays.items()}

    def blocks(self, start: int) -> Iterator[Block]:
        """Record batches of a few rows."""
        size = max(1, min(1 << 17, BLOCK_BYTES // max(8, self.columns.row_bytes)))
        position = 0
        for batch in _batches(self.dataset, self.columns.names(), size):
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
                raise ShapeError(
                    "evaluate", name, f"of length {int(value.shape[0])}", f"{rows} rows as scores has"
                )


class TableColumn:
    """One column of files: an array of which slices are read in order."""

    def __init__(self, argument: str, paths: Sequence[str], form: str, name: str | None) -> None:
        self.argument, self.paths = argument, paths
        wanted = Wanted(label=name, only_label=True)
        self.dataset, content = opened_files(argument, paths, form, wanted)
        self.columns = Columns(self.dataset, wanted)
        with errors_of_arrow(argument, paths):
            self.shape = (count_rows(self.dataset, self.columns.names()),)
        self.dtype = np.dtype(object)
        self.content = digest(repr(content).encode())
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
        for batch in _batches(self.dataset, self.columns.names(), 1 << 17):
            if batch.num_rows:
                yield plain(batch.column(self.columns.label))


def _batches(dataset: Any, names: list[str], size: int) -> Iterator[Any]:
    """The record batches of a dataset, few at once in memory."""
    with errors_of_arrow("scores", getattr(dataset, "files", ["a table"])):
        yield from dataset.scanner(
            columns=names, batch_size=size, batch_readahead=2, fragment_readahead=1, use_threads=True
        ).to_batches()
