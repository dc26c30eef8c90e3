"""Tables and files of tables in Arrow. In: a DataFrame, or paths. Out: a dataset whose batches are read."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lastlayer.errors import BackendError, OptionError

from .columns import PREFIXES, Wanted, is_number
from .files import content_of

__all__ = ["count_rows", "errors_of_arrow", "opened_files", "opened_table"]


def arrow(argument: str, what: str) -> tuple[Any, Any]:
    """PyArrow and its datasets."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.dataset")
    except ImportError as error:
        remedy = "pip install 'lastlayer[evaluate]'"
        raise BackendError("evaluate", argument, what, "pyarrow to read it", remedy) from error


def opened_table(table: Any) -> tuple[Any, Any]:
    """A table of Arrow, pandas or polars: as a table of Arrow, and as a dataset."""
    pa, dataset = arrow("scores", "a table")
    try:
        if type(table).__module__.partition(".")[0] == "pandas":
            whole = pa.Table.from_pandas(table, preserve_index=False)
        else:
            whole = table if isinstance(table, pa.Table) else pa.table(table)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise OptionError(
            "evaluate", "scores", "a table", f"columns that Arrow can read ({error})"
        ) from error
    return whole, dataset.dataset(whole)


def opened_files(
    argument: str, paths: Sequence[str], form: str, wanted: Wanted
) -> tuple[Any, dict[str, Any]]:
    """Files of one form, "parquet" or "csv", as a dataset; and what tells them from others."""
    _, dataset = arrow(argument, f"a {form} file")
    with errors_of_arrow(argument, paths):
        found = dataset.dataset(
            list(paths), format=_csv(dataset, paths[0], wanted) if form == "csv" else form
        )
        first = found.schema
        for fragment in found.get_fragments():
            _compare(argument, fragment.path, first, fragment.physical_schema)
    files = [content_of(path) for path in paths]
    return found, {"files": files}


def _csv(dataset: Any, path: str, wanted: Wanted) -> Any:
    """How a CSV is read: scores are floats in each row, whatever the first rows look like."""
    pa = importlib.import_module("pyarrow")
    csv = importlib.import_module("pyarrow.csv")
    options = {"null_values": [""], "strings_can_be_null": True}  # a class may be called "NA" or "null"
    guess = dataset.CsvFileFormat(convert_options=csv.ConvertOptions(**options))
    guessed = dataset.dataset([path], format=guess).schema
    given = [wanted.columns] if isinstance(wanted.columns, str) else list(wanted.columns or ())
    scores = [
        n for n in guessed.names if n in given or (not given and n.startswith(tuple(PREFIXES.values())))
    ]
    types = {name: pa.float64() for name in scores if str(guessed.field(name).type) in ("null", "int64")}
    label = "label" if wanted.label is None else wanted.label
    if label in guessed.names and not is_number(guessed.field(label).type):
        types[label] = pa.string()
    return dataset.CsvFileFormat(convert_options=csv.ConvertOptions(column_types=types, **options))


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


def count_rows(dataset: Any, names: list[str]) -> int:
    """How many rows there are: known in Parquet, counted in CSV."""
    if type(dataset.format).__name__ == "ParquetFileFormat":
        return int(dataset.count_rows())
    return sum(batch.num_rows for batch in dataset.scanner(columns=names).to_batches())


@contextmanager
def errors_of_arrow(argument: str, paths: Sequence[str]) -> Iterator[None]:
    """Errors of Arrow as those of `evaluate`."""
    pa = importlib.import_module("pyarrow")
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError("evaluate", argument, repr(paths[0]), f"a readable table ({text})") from error
