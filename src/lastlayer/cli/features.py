"""Training data in files. In: the user's paths and names of columns. Out: features, labels and weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lastlayer.blocks import is_bfloat_bits, to_host
from lastlayer.evaluation.readers.arrays import ArraySource
from lastlayer.evaluation.readers.paths import Request, source_of
from lastlayer.evaluation.readers.source import Source
from lastlayer.evaluation.readers.tables import TableSource

from .usage import UsageError

__all__ = ["WORDS", "Training", "check_axes", "check_finite", "training_of"]

# These commands' names of the arguments of the readers.
WORDS = {"scores": "DATA", "targets": "TARGETS", "columns": "features", "sample_weight": "weight"}


class Training(NamedTuple):
    """The data to which a classifier is fitted."""

    x: Any  # (N, D): an array in memory or in a file
    y: Any  # (N,) labels, or (N, V) probabilities
    weight: Any  # (N,), or None
    names: list[str] | None  # of the features
    rows: int  # with a label
    left_out: int  # rows without a label


def training_of(
    data: Any, targets: Any, label: str | None, features: Any, weight: str | None, ignore_index: int
) -> Training:
    """Features, labels and weights of files; features of .npy and .safetensors stay in their file."""
    facts = {} if weight is None else {"sample_weight": weight}
    source = source_of(Request(data, targets, label, features, -1, False, facts, rest=features is None))
    if isinstance(source, ArraySource):
        check_axes(source.scores)
        if isinstance(source.scores, np.ndarray) and not is_bfloat_bits(source.scores):
            return _mapped(source, ignore_index)
    return _read(source, ignore_index)


def check_finite(x: Any, names: list[str] | None, first: int) -> None:
    """Raise for NaN and infinities; ``first`` is the number of the first row."""
    finite = np.isfinite(x)
    if not finite.all():
        row, column = (int(k) for k in np.unravel_index(int(np.argmin(finite)), finite.shape))
        name = column if names is None else repr(names[column])
        value = "NaN, or missing" if np.isnan(x[row, column]) else f"{x[row, column]}"
        raise UsageError(f"DATA[{first + row}, {name}] is {value}; expected finite numbers")


def check_axes(x: Any) -> None:
    """Raise unless the array has rows of features."""
    if len(x.shape) != 2:
        raise UsageError(f"DATA is of shape {tuple(x.shape)}; expected rows of features, (N, D)")


def _mapped(source: ArraySource, ignore_index: int) -> Training:
    """Features that stay in their file. A row without a label gets weight 0 and any other row's label."""
    y = to_host(source.targets[0][:])
    y = y.reshape(-1) if y.size == len(y) else y
    weight = source.facts.get("sample_weight")
    weight = None if weight is None else to_host(weight[:]).astype(np.float64)
    lost = _without_label(y, ignore_index)
    if not lost.any():
        return Training(source.scores, y, weight, None, len(y), 0)
    if lost.all():
        raise _no_label()
    weight = np.ones(len(y)) if weight is None else weight
    weight[lost] = 0
    y = np.where(lost, y[~lost][0], y)
    left_out = int(lost.sum())
    return Training(source.scores, y, weight, None, len(y) - left_out, left_out)


def _read(source: Source, ignore_index: int) -> Training:
    """The rows with a label, in memory."""
    names = _names_of(source)
    rows = source.rows
    if rows is None:
        assert isinstance(source, TableSource)
        rows = source.data.count(source.columns.names())  # type: ignore[union-attr]
    x, filled, left_out = np.empty((0, source.classes)), 0, 0
    labels: list[Any] = []
    weights: list[Any] = []
    for block in source.blocks(0):
        part, y = to_host(block.scores), to_host(block.targets)
        check_axes(part)
        check_finite(part, names, block.first)
        kept = ~_without_label(y, ignore_index)
        if not labels:
            x = np.empty((rows, source.classes), part.dtype if part.dtype.kind == "f" else np.float64)
        n = int(kept.sum())
        x[filled : filled + n] = part[kept]
        filled, left_out = filled + n, left_out + len(kept) - n
        labels.append(y[kept])
        if "sample_weight" in block.facts:
            weights.append(to_host(block.facts["sample_weight"])[kept])
    if not filled:
        raise _no_label()
    y = np.concatenate(labels)
    if y.dtype == object:
        y = y.astype(str)
    elif y.dtype.kind == "f" and y.ndim == 1 and (y == np.floor(y)).all():
        y = y.astype(np.int64)  # indices, from a column with missing values
    elif isinstance(source, TableSource) and _is_bool(source):
        y = y.astype(bool)
    return Training(x[:filled], y, np.concatenate(weights) if weights else None, names, filled, left_out)


def _without_label(y: Any, ignore_index: int) -> Any:
    """Which rows have no label: None, NaN, an empty text, or `ignore_index`."""
    if y.ndim > 1:
        return np.zeros(len(y), bool)
    if y.dtype.kind in "iu":
        return y == ignore_index
    if y.dtype.kind == "f":
        return np.isnan(y) | (y == ignore_index)
    return np.array([v is None or v == "" or v != v for v in y.tolist()], bool)


def _names_of(source: Source) -> list[str] | None:
    """The names of the features' columns, all of which hold numbers."""
    if not isinstance(source, TableSource) or source.columns.is_list:
        return None
    for name in source.columns.scores:
        if name == source.columns.label:
            raise UsageError(f"--features has {name!r}; expected other columns than that of the labels")
        kind = str(source.data.schema.field(name).type)
        if not kind.startswith(("float", "double", "halffloat", "int", "uint")):
            remedy = "name the columns of the features by --features"
            raise UsageError(f"the column {name!r} is of {kind}; expected numbers; {remedy}")
    return list(source.columns.scores)


def _is_bool(source: TableSource) -> bool:
    label = source.columns.label
    return label is not None and str(source.data.schema.field(label).type) == "bool"


def _no_label() -> UsageError:
    return UsageError("TARGETS is without a label in every row; expected labels")
