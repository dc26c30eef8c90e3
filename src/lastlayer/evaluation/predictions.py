"""A prediction for each row, in a file. In: scores and labels, as of `evaluate`. Out: Parquet or CSV.

The columns: ``row``, counted from 0 as in `Evaluation.hardest`; ``label`` and ``predicted``, class indices,
or names if the classes have names; ``confidence``, the largest probability; ``nll`` in nats; ``rank``, how
many classes beat the label. A row without a label has no ``label``, ``nll`` and ``rank``, an invalid row no
``predicted``, ``confidence`` and ``rank``: these are null in Parquet, empty in CSV.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from lastlayer.errors import BackendError, OptionError
from lastlayer.labels import Labels

from .inputs import scores_of, targets_of
from .options import TallyOptions
from .readers.paths import Request, source_of
from .readers.source import Block
from .rows import of_scores

__all__ = ["write_predictions"]

_NAME = "write_predictions"


def write_predictions(
    path: Any, scores: Any, targets: Any = None, *, options: TallyOptions, label: str | None = None,
    columns: Any = None, binary: bool = False,
) -> None:  # fmt: skip
    """Write the prediction of each row to a .parquet or .csv file, whole or not at all.

    Parameters
    ----------
    path : path
        Its ending says which form the file has.
    scores, targets, label, columns, binary
        As in `evaluate`, but read once more from the beginning: no iterable of batches.
    options : TallyOptions
        Those of the evaluation: its kind, labels, temperature and so on.
    """
    path = os.fspath(path)
    source = source_of(Request(scores, targets, label, columns, options.axis, binary, {}))
    names = None if options.labels is None else Labels(_NAME, options.labels, options.classes)
    with _whole_file(path) as unfinished, _writer(path, unfinished, names is not None) as (pa, writer):
        for block in source.blocks(0):
            writer.write_batch(
                pa.RecordBatch.from_arrays(_columns(pa, block, options, names), schema=writer.schema)
            )


def _columns(pa: Any, block: Block, o: TallyOptions, names: Labels | None) -> list[Any]:
    """The columns of a block, in the order of the file."""
    array, shape = scores_of(_NAME, block.scores, o)
    found = targets_of(_NAME, block.targets, shape, o, names)
    rows = of_scores(array, found.classes, o.kind, o.temperature, found.dense)
    none, lost = found.ignored, rows.predicted < 0
    unknown = found.classes < 0  # a label that is no class: it is shown as it was given
    if names is None:
        given = found.classes.copy()
        if unknown.any():
            given[unknown] = np.asarray(block.targets).reshape(-1)[unknown]
        labels, predicted = pa.array(given, mask=none), pa.array(rows.predicted, mask=lost)
    else:
        text = np.array([str(name) for name in names.names], dtype=object)
        given = text[found.classes]
        if unknown.any():
            raw = np.asarray(block.targets, dtype=object).reshape(-1)
            given[unknown] = [str(value) for value in raw[unknown]]
        labels = pa.array(given, pa.string(), mask=none)
        predicted = pa.array(text[rows.predicted], pa.string(), mask=lost)
    return [
        pa.array(np.arange(block.first, block.first + len(none))),
        labels,
        predicted,
        pa.array(rows.confidence, mask=lost),
        pa.array(rows.loss, mask=none | unknown),
        pa.array(rows.rank, mask=none | unknown | lost),
    ]


@contextlib.contextmanager
def _whole_file(path: str) -> Iterator[str]:
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
            raise OptionError(_NAME, "path", repr(path), rule) from error
        raise


@contextlib.contextmanager
def _writer(path: str, unfinished: str, has_names: bool) -> Iterator[tuple[Any, Any]]:
    """PyArrow, and its writer of the form that the ending of ``path`` names."""
    form = os.path.splitext(path)[1].lower()
    if form not in (".parquet", ".csv"):
        raise OptionError(_NAME, "path", repr(path), "a name that ends in .parquet or .csv")
    try:
        pa: Any = importlib.import_module("pyarrow")
        writers: Any = importlib.import_module(f"pyarrow.{form[1:]}")
    except ImportError as error:
        remedy = "pip install 'lastlayer[evaluate]'"
        raise BackendError(_NAME, "path", repr(path), "pyarrow to write it", remedy) from error
    kind = pa.string() if has_names else pa.int64()
    schema = pa.schema({
        "row": pa.int64(), "label": kind, "predicted": kind, "confidence": pa.float64(), "nll": pa.float64(),
        "rank": pa.int64(),
    })  # fmt: skip
    make = writers.ParquetWriter if form == ".parquet" else writers.CSVWriter
    with make(unfinished, schema) as writer:
        yield pa, _WithSchema(writer, schema)


class _WithSchema:
    """A writer that tells its schema; that of CSV does not."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self.write_batch, self.schema = writer.write_batch, schema
