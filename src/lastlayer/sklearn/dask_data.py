"""The training data as Dask arrays. In: X, y and weights. Out: the same checked, in partitions.

The checks are those of `training_data`, in one pass over the data; nothing of X comes to the client.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from lastlayer.clients import client_of, persisted
from lastlayer.errors import LastlayerError, OptionError, ShapeError
from lastlayer.fitting.partitions import Labels, PartitionedRows
from lastlayer.fitting.rows import Floats

from .dask_arrays import dtype_of, in_chunks_of_rows, is_dask
from .training_data import (
    TrainingData,
    first_not_finite,
    not_finite_error,
    one_class_error,
    soft_targets,
    with_class_weight,
)

__all__ = ["Partitions", "partitioned_data"]


class Partitions(NamedTuple):
    """Checked features and labels of each partition, as delayed values."""

    features: list[Any]
    labels: list[Any]
    counts: list[int]
    shape: tuple[int, int]
    classes: int
    dtype: Any
    sparse: bool

    def rows(self, smoothing: float) -> PartitionedRows:
        """As a solver sees them."""
        dtype = np.float32 if self.dtype.itemsize < 4 else self.dtype
        shape = (self.shape[1], self.classes)
        options: dict[str, Any] = {"sparse": self.sparse, "dtype": dtype, "smoothing": smoothing}
        return PartitionedRows(self.features, self.labels, self.counts, shape, **options)


class _Seen(NamedTuple):
    """The facts about a partition that the client needs."""

    sparse: bool
    bad: tuple[int, int, float] | None  # row, column and value of the first number that is not finite
    error: Exception | None  # what is wrong with the labels
    classes: Any  # (c,): the labels, or the number of columns
    weights: Any  # (c,): the sum of the weights of each
    wrong: tuple[int, float] | None  # the place and the value of a weight below 0 or not finite


def partitioned_data(
    estimator: Any,
    X: Any,  # noqa: N803
    y: Any,
    sample_weight: Any,
    class_weight: Any,
) -> TrainingData:
    """Check what an estimator's `fit` is given; ``x`` of the result is `Partitions`, the rest is in there."""
    import dask

    function = f"{type(estimator).__name__}.fit"
    if y is None:
        validate_data(estimator, X, y=None, skip_check_array=True)  # raises scikit-learn's error
    x = in_chunks_of_rows(function, X)
    y = _beside(function, "y", y, x)
    weight = None if sample_weight is None else _beside(function, "sample_weight", sample_weight, x)
    check_consistent_length(x, y, *([] if weight is None else [weight]))
    y = _one_column(y)
    y = y.rechunk({0: x.chunks[0], **({1: -1} if y.ndim == 2 else {})})
    validate_data(estimator, X, reset=True, skip_check_array=True)

    kept = [i for i, n in enumerate(x.chunks[0]) if n]
    counts = [x.chunks[0][i] for i in kept]
    parts, labelled = x.to_delayed().ravel(), y.to_delayed().ravel()
    features = [dask.delayed(_block, pure=False)(parts[i]) for i in kept]
    if client_of(x) is not None:
        features = persisted(features)
    raw = [labelled[i] for i in kept]
    weights: list[Any] = [None] * len(kept)
    if weight is not None:
        column = weight.rechunk((x.chunks[0],)).to_delayed().ravel()
        weights = [column[i] for i in kept]
    see = dask.delayed(_seen, pure=False)
    first = [sum(counts[:i]) for i in range(len(counts))]
    pieces = zip(first, features, raw, weights, strict=True)
    seen = list(dask.compute(*(see(function, *one) for one in pieces)))
    _raise_what_was_seen(estimator, seen, first)
    soft = y.ndim == 2
    classes, sums = _united(seen)
    if not soft:
        with warnings.catch_warnings():  # that each label is there once
            warnings.simplefilter("ignore")
            check_classification_targets(classes)
    if len(classes) == 1:
        raise one_class_error(classes[0])
    if not sums.sum() > 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    factors = None
    if class_weight is not None:
        factors = dict(zip(classes.tolist(), _factors(class_weight, classes, sums), strict=True))
    label = dask.delayed(_labels, pure=False, traverse=False)
    labels = persisted([label(classes, factors, *one) for one in zip(raw, weights, strict=True)])
    partitions = Partitions(
        features, labels, counts, x.shape, len(classes), dtype_of(x, seen[0].sparse), seen[0].sparse
    )
    return TrainingData(partitions, classes, None, None)


def _beside(function: str, name: str, value: Any, x: Any) -> Any:
    """y or weights as a Dask array."""
    import dask.array as da

    if hasattr(value, "to_dask_array"):
        value = value.to_dask_array(lengths=True)
    if not is_dask(value):
        value = np.asarray(value)
        if value.ndim == 0 or len(value) != x.shape[0]:
            value = da.from_array(value)  # for the errors
        else:
            value = da.from_array(value, chunks=(x.chunks[0], *((n,) for n in value.shape[1:])))
    if value.ndim not in ((1,) if name == "sample_weight" else (1, 2)):
        rule = "(N,)" if name == "sample_weight" else "labels (N,), or probabilities (N, V)"
        raise ShapeError(function, name, f"of shape {value.shape}", rule)
    if any(np.isnan(n) for sizes in value.chunks for n in sizes):
        remedy = f"call {name}.compute_chunk_sizes() first"
        raise ShapeError(function, name, "of unknown chunk sizes", "known ones", remedy)
    return value


def _one_column(y: Any) -> Any:
    if y.ndim == 2 and y.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected. Please change the shape of y."
        warnings.warn(message, DataConversionWarning, stacklevel=4)
        return y[:, 0]
    return y


def _block(x: Any) -> Any:
    """A chunk of features as solvers take it; floats are not copied."""
    sparse = scipy.sparse.issparse(x)
    x = x.tocsr() if sparse else np.asarray(x)
    return x.astype(dtype_of(x, sparse), copy=False)


def _seen(function: str, first: int, x: Any, y: Any, weight: Any) -> _Seen:
    where = first_not_finite(x)
    bad = None if where is None else (*where, float(x[where]))
    w = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
    wrong = None
    right = np.isfinite(w) & (w >= 0)
    if not right.all():
        i = int(np.argmin(right))
        wrong = i, float(w[i])
    try:
        if y.ndim == 2:
            y = soft_targets(function, y, first)
            return _Seen(scipy.sparse.issparse(x), bad, None, np.arange(y.shape[1]), w @ y, wrong)
    except (ValueError, LastlayerError) as error:
        return _Seen(scipy.sparse.issparse(x), bad, error, np.empty(0), np.empty(0), wrong)
    if y.dtype.kind == "f" and not (y == np.floor(y)).all():  # no labels: a few of them will say so
        y, w = y[y != np.floor(y)][:2], np.zeros(2)
    classes, places = np.unique(y, return_inverse=True)
    sums = np.bincount(places, w, len(classes))
    return _Seen(scipy.sparse.issparse(x), bad, None, classes, sums, wrong)


def _raise_what_was_seen(estimator: Any, seen: list[_Seen], first: list[int]) -> None:
    """The first mistake of the data, with the number of its row among all."""
    for one, at in zip(seen, first, strict=True):
        if one.bad is not None:
            row, column, value = one.bad
            raise not_finite_error(estimator, "fit", (at + row, column), value)
        if one.error is not None:
            raise one.error
        if one.wrong is not None:
            i, value = one.wrong
            name = f"sample_weight[{at + i}]"
            function = f"{type(estimator).__name__}.fit"
            rule = "weights of 0 or more" if np.isfinite(value) else "finite weights"
            raise OptionError(function, name, f"{value:g}", rule)


def _united(seen: list[_Seen]) -> tuple[Any, Any]:
    """The labels of all partitions in order, and the sum of the weights of each."""
    labels = np.concatenate([one.classes for one in seen])
    classes, places = np.unique(labels, return_inverse=True)
    return classes, np.bincount(places, np.concatenate([one.weights for one in seen]), len(classes))


def _factors(class_weight: Any, classes: Any, sums: Floats) -> Any:
    if isinstance(class_weight, str):  # "balanced"
        return np.divide(sums.sum() / len(classes), sums, out=np.zeros(len(classes)), where=sums > 0)
    return compute_class_weight(class_weight, classes=classes, y=classes)


def _labels(classes: Any, factors: Any, y: Any, weight: Any) -> Labels:
    """The targets and weights of a partition."""
    targets = np.asarray(y) if y.ndim == 2 else np.searchsorted(classes, y)
    weight = None if weight is None else np.asarray(weight, np.float64)
    if factors is not None:
        targets, weight = with_class_weight(classes, targets, weight, factors)
    return Labels(targets, weight)
