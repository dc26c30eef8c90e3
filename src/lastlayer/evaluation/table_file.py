"""A table in a file, whole or not at all. In: a schema of Arrow, columns of some rows at a time. Out: a file.

The ending of the path says which form the file has: Parquet or CSV.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from lastlayer.errors import BackendError, OptionError

__all__ = ["arrow_for", "table_file"]


def arrow_for(function: str, path: str) -> Any:
    """PyArrow, for a path that it can write to."""
    form = os.path.splitext(path)[1].lower()
    if form not in (".parquet", ".csv"):
        raise OptionError(function, "path", repr(path), "a name that ends in .parquet or .csv")
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        remedy = "pip install 'lastlayer[evaluate]'"
        raise BackendError(function, "path", repr(path), "pyarrow to write it", remedy) from error


@contextlib.contextmanager
def table_file(function: str, path: str, schema: Any) -> Iterator[Callable[[list[Any]], None]]:
    """A function that appends the columns of some rows to the file."""
    pa = arrow_for(function, path)
    form = os.path.splitext(path)[1].lower()
    writers: Any = importlib.import_module(f"pyarrow.{form[1:]}")
    make = writers.ParquetWriter if form == ".parquet" else writers.CSVWriter

    @contextlib.contextmanager
    def errors() -> Iterator[None]:
        try:
            yield
        except pa.ArrowException as error:
            text = str(error).splitlines()[0]
            raise OptionError(
                function, "path", repr(path), f"a form that has these columns ({text})"
            ) from error

    def write(columns: list[Any]) -> None:
        with errors():
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))

    with _whole_file(function, path) as unfinished:
        with errors():
            opened = make(unfinished, schema)
        with opened as writer:
            yield write


@contextlib.contextmanager
def _whole_file(function: str, path: str) -> Iterator[str]:
    """The name of a file that takes the place of ``path`` once it is complete."""
    path = os.path.realpath(path)  # of a link, the file itself
    part = path + ".part"  # always this name, so that a killed process leaves no more than one
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError):
            rule = f"a file that can be written ({error.strerror or error})"
            raise OptionError(function, "path", repr(path), rule) from error
        raise
