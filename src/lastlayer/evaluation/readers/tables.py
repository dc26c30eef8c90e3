"""Tables: DataFrames, Arrow tables, Parquet and CSV files. In: a table with a column of labels. Out: blocks.

The scores are one column of fixed-size lists, or one column for each class: those that are named, by default
all that are called ``logit:<class>``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lastlayer.errors import BackendError, DtypeError, OptionError, ShapeError

from .source import BLOCK_BYTES, Block

__all__ = ["TableSource", "is_table"]

_PREFIXES = {"logit:": "logits", "probability:": "probabilities", "log-probability:": "log-probabilities"}


def is_table(values: Any) -> bool:
    """Whether values are a table that Arrow can read."""
    return hasattr(values, "__arrow_c_stream__") or type(values).__module__.partition(".")[0] == "pandas"


class Columns:
    """Which columns hold scores, labels and what else is said of a row."""

    def __init__(self, schema: Any, columns: Any, label: str | None, facts: dict[str, Any]) -> None:
        names = list(schema.names)
        self.label = self._one(names, "label", label if label is not None else "label")
        self.facts = {k: self._one(names, k, v) for k, v in facts.items() if v is not None}
        self.kind, self.labels = _said(schema), None
        if isinstance(columns, str):
            columns = [columns]
        if columns is None:
            found = {p: [n for n in names if n.startswith(p)] for p in _PREFIXES}
            prefix = next((p for p, some in found.items() if some), None)
            if prefix is None:
                rule = "columns= with the names of the scores, or columns called 'logit:<class>'"
                raise OptionError("evaluate", "columns", "None", rule)
            columns = found[prefix]
            if not _is_number(schema.field(self.label).type):  # names of classes
                self.labels = tuple(name.removeprefix(prefix) for name in columns)
            self.kind = self.kind or _PREFIXES[prefix]
        self.scores = [self._one(names, "columns", name) for name in columns]
        self.is_list = len(self.scores) == 1 and hasattr(schema.field(self.scores[0]).type, "list_size")
        if self.is_list:
            self.classes = int(schema.field(self.scores[0]).type.list_size)
        else:
            self.classes = len(self.scores)

    @staticmethod
    def _one(names: Sequence[str], argument: str, name: Any) -> str:
        if name in names:
            return str(name)
        shown = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
        raise OptionError("evaluate", argument, repr(name), f"a column of the table ({shown})")

    def read(self, batch: Any) -> tuple[Any, Any, dict[str, Any]]:
        """The scores (n, V), labels and facts of a record batch."""
        if self.is_list:
            column = batch.column(self.scores[0])
            if column.null_count:
                raise DtypeError(
                    "evaluate", self.scores[0], "a column with missing rows", "scores in each row"
                )
            flat = _numbers(self.scores[0], column.flatten())
            scores = flat.reshape(len(batch), self.classes)
        else:
            parts = [_numbers(name, batch.column(name)) for name in self.scores]
            scores = np.stack(parts, axis=1) if parts else np.empty((len(batch), 0))
        facts = {name: _plain(batch.column(column)) for name, column in self.facts.items()}
        return scores, _plain(batch.column(self.label)), facts


def _arrow(argument: str, what: str) -> tuple[Any, Any]:
    """PyArrow and its datasets."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.dataset")
    except ImportError as error:
        rule = "pyarrow to read it"
        remedy = "pip install 'lastlayer[evaluate]'"
        raise BackendError("evaluate", argument, what, rule, remedy) from error


def _said(schema: Any) -> str | None:
    """The kind of scores that a table's metadata names."""
    value = (schema.metadata or {}).get(b"lastlayer.kind")
    if value is None:
        return None
    text: str = value.decode()
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _is_number(kind: Any) -> bool:
    return str(kind).startswith(("float", "double", "halffloat", "int", "uint"))


def _numbers(name: str, column: Any) -> Any:
    if not _is_number(column.type):
        raise DtypeError("evaluate", name, f"a column of {column.type}", "numbers")
    found = column.to_numpy(zero_copy_only=False)  # missing numbers become NaN
    return found.astype(np.float64) if found.dtype.kind in "iu" else found


def _plain(column: Any) -> Any:
    """A column in NumPy: numbers with NaN for missing ones, or objects with None."""
    found = column.to_numpy(zero_copy_only=False)
    return found if found.dtype.kind in "iufb" else np.asarray(column.to_pylist(), dtype=object)


class TableSource:
    """Record batches of a dataset, or of a table in memory."""

    def __init__(self, dataset: Any, columns: Columns, rows: int | None, name: str) -> None:
        self.dataset, self.columns, self.rows, self.name = dataset, columns, rows, name
        self.classes, self.kind, self.labels = columns.classes, columns.kind, columns.labels
        self.n_bytes = None if rows is None else rows * self.classes * 8
        if self.classes == 0:
            raise ShapeError("evaluate", "columns", "of no class", "at least one")

    @classmethod
    def of_table(cls, table: Any, columns: Any, label: str | None, facts: dict[str, Any]) -> TableSource:
        """A table of Arrow, pandas or polars."""
        pa, dataset = _arrow("scores", "a table")
        whole = pa.table(table) if hasattr(table, "__arrow_c_stream__") else pa.Table.from_pandas(table)
        return cls(dataset.dataset(whole), Columns(whole.schema, columns, label, facts), whole.num_rows, "")

    @classmethod
    def of_files(
        cls, paths: Sequence[str], form: str, columns: Any, label: str | None, facts: dict[str, Any]
    ) -> TableSource:
        """Files of one form, "parquet" or "csv"."""
        _, dataset = _arrow("scores", f"a {form} file")
        try:
            found = dataset.dataset(list(paths), format=form)
            rows = found.count_rows() if form == "parquet" else None
        except (OSError, ValueError) as error:
            raise OptionError("evaluate", "scores", repr(paths[0]), f"a {form} file ({error})") from error
        return cls(found, Columns(found.schema, columns, label, facts), rows, "|".join(paths))

    def identity(self) -> list[Any]:
        """The files, and how many rows they have."""
        if not self.name:
            raise OptionError("evaluate", "checkpoint", "given", "None with a table in memory")
        return ["table", self.name, self.rows, self.columns.scores[:3], self.classes]

    def blocks(self, start: int) -> Iterator[Block]:
        """Record batches of a few rows."""
        pa, _ = _arrow("scores", "a table")
        wanted = [*self.columns.scores, self.columns.label, *self.columns.facts.values()]
        size = max(1, min(1 << 17, BLOCK_BYTES // (8 * self.classes)))
        position = 0
        scanner = self.dataset.scanner(columns=list(dict.fromkeys(wanted)), batch_size=size, use_threads=True)
        try:
            for batch in scanner.to_batches():
                n = batch.num_rows
                if n and position + n > start:
                    part = batch.slice(max(0, start - position))
                    scores, labels, facts = self.columns.read(part)
                    first = max(position, start)
                    yield Block(scores, labels, first, part.num_rows, scores.nbytes, facts)
                position += n
        except pa.ArrowException as error:
            raise OptionError("evaluate", "scores", repr(self.name), f"a readable table ({error})") from error
