"""A prediction for each row, in a file. In: scores and labels, as of `evaluate`. Out: Parquet or CSV.

The columns: ``row``, counted from 0 as in `Evaluation.hardest`; ``label`` and ``predicted``, class indices,
or names if the classes have names; ``confidence``, the largest probability; ``nll`` in nats; ``rank``, how
many classes rank above the label. A row without a label has no ``label``, ``nll`` and ``rank``; an invalid
row has no ``predicted``, ``confidence`` and ``rank``. These are null in Parquet and empty in CSV.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lastlayer.labels import Labels

from .inputs import scores_of, targets_of
from .options import TallyOptions
from .readers.paths import Request, source_of
from .readers.source import Block
from .rows import of_scores
from .table_file import arrow_for, table_file

__all__ = ["write_predictions"]

_NAME = "write_predictions"


def write_predictions(
    path: Any, scores: Any, targets: Any = None, *, options: TallyOptions, label: str | None = None,
    columns: Any = None, binary: bool = False,
) -> None:  # fmt: skip
    """Write the prediction of each row to a .parquet or .csv file, which is complete or not written.

    Parameters
    ----------
    path : path
        Its ending determines the format.
    scores, targets, label, columns, binary
        As in `evaluate`, but read a second time from the beginning: not an iterable of batches.
    options : TallyOptions
        Those of the evaluation: its kind, labels, temperature and so on.
    """
    path = os.fspath(path)
    source = source_of(Request(scores, targets, label, columns, options.axis, binary, {}))
    names = None if options.labels is None else Labels(_NAME, options.labels, options.classes)
    pa = arrow_for(_NAME, path)
    with table_file(_NAME, path, _schema(pa, names is not None)) as write:
        for block in source.blocks(0):
            write(_columns(pa, block, options, names))


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


def _schema(pa: Any, has_names: bool) -> Any:
    kind = pa.string() if has_names else pa.int64()
    return pa.schema({
        "row": pa.int64(), "label": kind, "predicted": kind, "confidence": pa.float64(), "nll": pa.float64(),
        "rank": pa.int64(),
    })  # fmt: skip
