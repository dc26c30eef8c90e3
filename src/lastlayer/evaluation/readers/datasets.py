"""Tables and files of tables in Arrow. In: a DataFrame, or paths. Out: their schema and record batches."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from lastlayer.errors import BackendError, OptionError

from .columns import PREFIXES, Wanted, is_number
from .files import content_of
from .values import digest

__all__ = ["Files", "Table"]

_SAMPLES = 64  # rows of a table in memory that tell it from others


def arrow(argument: str, what: str) -> tuple[Any, Any]:
    """PyArrow and its datasets."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.dataset")
    except ImportError as error:
        remedy = "pip install 'lastlayer[evaluate]'"
        raise BackendError("evaluate", argument, what, "pyarrow to read it", remedy) from error


class Table:
    """A table of Arrow, pandas or polars in memory."""

    def __init__(self, table: Any) -> None:
        pa, _ = arrow("scores", "a table")
        try:
            if type(table).__module__.partition(".")[0] == "pandas":
                self.table = pa.Table.from_pandas(table, preserve_index=False)
            else:
                self.table = table if isinstance(table, pa.Table) else pa.table(table)
        except (pa.ArrowException, TypeError, ValueError) as error:
            rule = f"columns that Arrow can read ({error})"
            raise OptionError("evaluate", "scores", "a table", rule) from error
        self.schema, self.rows = self.table.schema, int(self.table.num_rows)
        some = sorted({int(k) for k in np.linspace(0, max(0, self.rows - 1), _SAMPLES)})
        rows = (repr(self.table.slice(k, 1).to_pylist()).encode() for k in some)
        self.content: dict[str, Any] = {"rows": self.rows, "content": digest(*rows)}

    def batches(self, names: list[str], size: int) -> Iterator[Any]:
        """Record batches of at most this many rows."""
        yield from self.table.select(names).to_batches(max_chunksize=size)


class Files:
    """Files of one form, "parquet" or "csv", one after another."""

    def __init__(self, argument: str, paths: Sequence[str], form: str, wanted: Wanted) -> None:
        self.argument, self.paths, self.form = argument, list(paths), form
        _, dataset = arrow(argument, f"a {form} file")
        with self._errors():
            self._csv = _csv(dataset, paths[0], wanted) if form == "csv" else None
            self._dataset = dataset.dataset(
                self.paths, format=form if self._csv is None else self._csv.format
            )
            self.schema = self._dataset.schema
            for fragment in self._dataset.get_fragments():
                _compare(argument, fragment.path, self.schema, fragment.physical_schema)
            self.rows = int(self._dataset.count_rows()) if form == "parquet" else None
        self._groups: tuple[int, ...] | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """Numbers that identify the files."""
        return {"files": [content_of(path) for path in self.paths]}

    def part(self, path: str, groups: tuple[int, ...] | None, rows: int) -> Files:
        """One of the files alone, with the types of the first one; of Parquet, the row groups of its rows."""
        found = copy.copy(self)
        found.paths, found._groups, found.rows = [path], groups, None if groups is None else rows
        return found

    def batches(self, names: list[str], size: int) -> Iterator[Any]:
        """Record batches of about this many rows, few of them in memory at once."""
        with self._errors():
            # A scanner of the dataset would read ahead as far as it can, up to a gigabyte.
            if self._csv is not None:
                for path in self.paths:
                    for batch in self._csv.batches(path, self._selected(names)):
                        for start in range(0, batch.num_rows, size):
                            yield batch.slice(start, size)
                return
            parquet = importlib.import_module("pyarrow.parquet")
            for path in self.paths:
                with parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
                    for batch in file.iter_batches(size, self._groups, names):
                        yield batch.select(names).cast(self._selected(names))

    def _selected(self, names: list[str]) -> Any:
        """The types of these columns in the first file."""
        pa = importlib.import_module("pyarrow")
        return pa.schema([self.schema.field(name) for name in names])

    def count(self, names: list[str]) -> int:
        """The number of rows: known in Parquet, counted in CSV."""
        if self.rows is None:
            self.rows = sum(batch.num_rows for batch in self.batches(names, 1 << 16))
        return self.rows

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of Arrow as those of `evaluate`."""
        pa, _ = arrow(self.argument, f"a {self.form} file")
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            rule = f"a readable table ({text})"
            raise OptionError("evaluate", self.argument, repr(self.paths[0]), rule) from error


class _Csv(NamedTuple):
    """How the files of CSV are read."""

    parse: dict[str, Any]
    convert: dict[str, Any]
    format: Any  # of a dataset

    def batches(self, path: str, schema: Any) -> Iterator[Any]:
        """The columns of a schema, a block of the file at a time."""
        pa, csv = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.csv")
        types = {"column_types": schema, "include_columns": schema.names}
        with csv.open_csv(
            path, parse_options=csv.ParseOptions(**self.parse),
            convert_options=csv.ConvertOptions(**self.convert | types),
            memory_pool=pa.system_memory_pool(),  # which gives memory back
        ) as reader:  # fmt: skip
            yield from reader


def _csv(dataset: Any, path: str, wanted: Wanted) -> _Csv:
    """Scores are floats in each row, whatever the first rows look like."""
    pa = importlib.import_module("pyarrow")
    csv = importlib.import_module("pyarrow.csv")
    options = {"null_values": [""], "strings_can_be_null": True}  # a class may be called "NA" or "null"
    guess = dataset.CsvFileFormat(convert_options=csv.ConvertOptions(**options))
    guessed = dataset.dataset([path], format=guess).schema
    given = [wanted.columns] if isinstance(wanted.columns, str) else list(wanted.columns or ())
    others = {"label" if wanted.label is None else wanted.label, *wanted.facts.values()}
    scores = [n for n in guessed.names if n in given]
    if wanted.rest:
        scores = [n for n in guessed.names if n not in others]
    elif not given:
        scores = [n for n in guessed.names if n.startswith(tuple(PREFIXES.values()))]
    types = {name: pa.float64() for name in scores if str(guessed.field(name).type) in ("null", "int64")}
    label = "label" if wanted.label is None else wanted.label
    if label in guessed.names and not is_number(guessed.field(label).type):
        types[label] = pa.string()
    # An empty line is a missing value of the only column; beside other columns it is no row.
    parse = {"ignore_empty_lines": len(guessed.names) > 1}
    convert = csv.ConvertOptions(column_types=types, **options)
    form = dataset.CsvFileFormat(parse_options=csv.ParseOptions(**parse), convert_options=convert)
    return _Csv(parse, options, form)


def _compare(argument: str, path: str, first: Any, other: Any) -> None:
    """Each file has the columns of the first one, and says the same of its kind."""
    for name in first.names:
        if name not in other.names:
            rule = f"a column {name!r} as the first file has"
            raise OptionError("evaluate", argument, f"{path!r} without it", rule)
    kinds = [(schema.metadata or {}).get(b"lastlayer.kind") for schema in (first, other)]
    if kinds[0] != kinds[1]:
        found, rule = (("no kind" if kind is None else kind.decode(errors="replace")) for kind in kinds[::-1])
        raise OptionError("evaluate", argument, f"{path!r} of {found}", f"{rule} as the first file has")
