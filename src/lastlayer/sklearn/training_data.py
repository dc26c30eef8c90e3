"""The training data. In: X, y and weights. Out: the same checked, and indices for labels.

Dense floats are never copied, so X may be a memory map: it is read block by block.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, column_or_1d, validate_data

from lastlayer.errors import DtypeError, OptionError, TargetError
from lastlayer.fitting.dense import DenseRows
from lastlayer.fitting.linalg import in_parallel
from lastlayer.fitting.rows import Floats, Rows
from lastlayer.fitting.sparse import SparseRows

from .dask_arrays import refuse_dask

__all__ = [
    "TrainingData",
    "features_of",
    "first_not_finite",
    "not_finite_error",
    "one_class_error",
    "reweighted",
    "rows_of",
    "soft_targets",
    "training_data",
    "with_class_weight",
]

_BLOCK_BYTES = 1 << 21
_EXPONENT = 0x7C00  # of float16: all of its bits are set in NaN and infinity
_SUM_ERROR = {"float16": 2e-3, "float32": 1e-4, "float64": 1e-4}  # of the probabilities of a row


class TrainingData(NamedTuple):
    """Features, and a target and a weight for each row."""

    x: Any  # (N, D): an array, or a CSR matrix
    classes: Any  # (V,): the labels
    targets: Any  # (N,) indices of classes, or (N, V) probabilities
    weight: Floats | None  # (N,) float64

    def with_class_weight(self, class_weight: Any) -> TrainingData:
        """The same data, the weight of each row times that of its class."""
        if class_weight is None:
            return self
        targets, weight = with_class_weight(self.classes, self.targets, self.weight, class_weight)
        return self._replace(targets=targets, weight=weight)


def training_data(estimator: Any, X: Any, y: Any, sample_weight: Any) -> TrainingData:  # noqa: N803
    """Check what an estimator's `fit` is given; the names of features are kept in the estimator."""
    function = f"{type(estimator).__name__}.fit"
    x = features_of(estimator, "fit", X, reset=True)
    if y is None:
        validate_data(estimator, X, y=None, skip_check_array=True)  # raises scikit-learn's error
    classes, targets = _targets(function, y)
    check_consistent_length(x, targets)
    weight = None
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, x, dtype=np.float64)
        if (weight < 0).any():
            i = int(np.argmax(weight < 0))
            raise OptionError(function, f"sample_weight[{i}]", f"{weight[i]:g}", "weights of 0 or more")
        if not weight.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
    return TrainingData(x, classes, targets, weight)


def features_of(estimator: Any, method: str, X: Any, *, reset: bool = False) -> Any:  # noqa: N803
    """X as an array of floats (N, D) or a CSR matrix, all of it finite; floats are not copied."""
    refuse_dask(f"{type(estimator).__name__}.{method}", X)
    dtypes = [np.float64, np.float32, *([] if scipy.sparse.issparse(X) else [np.float16])]
    x = validate_data(estimator, X, reset=reset, accept_sparse="csr", dtype=dtypes, ensure_all_finite=False)
    where = first_not_finite(x)
    if where is not None:
        raise not_finite_error(estimator, method, where, x[where])
    return x


def not_finite_error(estimator: Any, method: str, where: tuple[int, int], value: Any) -> OptionError:
    """The error for a NaN or an infinity in X."""
    names = getattr(estimator, "feature_names_in_", None)
    name = where[1] if names is None else repr(str(names[where[1]]))
    remedy = "fill the gaps first, with sklearn.impute.SimpleImputer for example"
    return OptionError(
        f"{type(estimator).__name__}.{method}",
        f"X[{where[0]}, {name}]",
        "NaN" if np.isnan(value) else f"{value}",
        "finite numbers",
        remedy if np.isnan(value) else "",
    )


def one_class_error(label: Any) -> ValueError:
    """scikit-learn's error where all rows are of one class."""
    return ValueError(
        "This solver needs samples of at least 2 classes in the data, but the data contains only one "
        f"class: {label!r}"
    )


def rows_of(data: TrainingData, smoothing: float, max_memory: int) -> Rows:
    """The data as a solver sees it."""
    options: dict[str, Any] = {"weight": data.weight, "smoothing": smoothing}
    if scipy.sparse.issparse(data.x):
        return SparseRows(data.x, data.targets, len(data.classes), max_memory=max_memory, **options)
    return DenseRows(data.x, data.targets, len(data.classes), **options)


def reweighted(rows: Any, weight: Floats) -> Rows:
    """The same rows with other weights; their features are shared."""
    other = copy.copy(rows)
    other.weight = weight
    other.total = float(weight.sum())
    return other  # type: ignore[no-any-return]


def _targets(function: str, y: Any) -> tuple[Any, Any]:
    """The classes, and indices or probabilities."""
    if not scipy.sparse.issparse(y):
        y = np.asarray(y) if not hasattr(y, "dtype") else y
        if np.ndim(y) == 2 and y.shape[1] > 1:
            return np.arange(y.shape[1]), soft_targets(function, np.asarray(y))
    y = column_or_1d(y, warn=True)
    classes, indices = _indexed(y)
    if len(classes) == 1:
        raise one_class_error(classes[0])
    return classes, indices


def _indexed(y: Any) -> tuple[Any, Any]:
    """The distinct labels in order, and the place of each row's label among them."""
    if (y.dtype.kind in "iub" and y.dtype.itemsize < 8) or y.dtype == np.int64:
        low, high = int(y.min()), int(y.max())
        if high - low < 4 * len(y) + 1000:  # counted: sorting would take as long as a few passes of a fit
            offsets = y.astype(np.int64) - low
            present = np.bincount(offsets) > 0
            classes = (np.flatnonzero(present) + low).astype(y.dtype)
            return classes, offsets if present.all() else (np.cumsum(present) - 1)[offsets]
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    classes, indices = np.unique(y, return_inverse=True)
    return classes, indices.astype(np.int64, copy=False)


def soft_targets(function: str, y: Any, first: int = 0) -> Floats:
    """Probabilities (N, V), each row checked; ``first`` is the number of the first one in errors."""
    if y.dtype.kind != "f":
        rule = "labels (N,), or probabilities of the classes (N, V) as floats"
        raise DtypeError(function, "y", f"{y.dtype} of shape {y.shape}", rule)
    y = y if y.dtype.name in _SUM_ERROR else y.astype(np.float64)
    for at in range(0, len(y), 4096):
        part = y[at : at + 4096].astype(np.float64)
        off = ~(np.abs(part.sum(axis=1) - 1) <= _SUM_ERROR[y.dtype.name]) | (part < 0).any(axis=1)
        if off.any():
            i = int(np.argmax(off))
            negative = part[i].min() < 0
            found = f"{part[i].min():g} at its lowest" if negative else f"{part[i].sum():.6g} in sum"
            raise TargetError(
                function, f"y[{first + at + i}]", found, "probabilities: 0 or more, with a sum of 1"
            )
    return np.asarray(y)


def with_class_weight(
    classes: Any, targets: Any, weight: Floats | None, class_weight: Any
) -> tuple[Any, Floats]:
    """Targets and weights of rows that each class's factor multiplies.

    A row of probabilities q counts as V rows of one class each, with the weights q_j: it has the weight
    sum_j w_j q_j, and the targets w_j q_j over that.
    """
    soft = targets.ndim == 2
    base = np.ones(len(targets)) if weight is None else weight
    if isinstance(class_weight, str):  # "balanced"
        sums = base @ targets if soft else np.bincount(targets, base, len(classes))
        factors = np.divide(base.sum() / len(classes), sums, out=np.zeros(len(classes)), where=sums > 0)
    else:
        factors = compute_class_weight(class_weight, classes=classes, y=classes)
    if not soft:
        return targets, base * factors[targets]
    products = targets * factors
    mass = products.sum(axis=1)
    return products / np.where(mass > 0, mass, 1)[:, None], base * mass


def first_not_finite(x: Any) -> tuple[int, int] | None:
    """The row and the column of the first NaN or infinity."""
    if scipy.sparse.issparse(x):
        finite = np.isfinite(x.data)
        if finite.all():
            return None
        i = int(np.argmin(finite))
        return int(np.searchsorted(x.indptr, i, side="right")) - 1, int(x.indices[i])
    rows = max(1, _BLOCK_BYTES // max(1, x.shape[1] * x.itemsize))
    starts = range(0, len(x), rows)
    sums = in_parallel(lambda at: _sum_is_finite(x[at : at + rows]), starts, rows * x.shape[1])
    for at, sum_is_finite in zip(starts, sums, strict=True):
        if not sum_is_finite:
            finite = np.isfinite(x[at : at + rows])
            if not finite.all():
                row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
                return at + int(row), int(column)
    return None


def _sum_is_finite(block: Any) -> bool:
    """False where a number is not finite, and where finite ones overflow: faster than a mask."""
    if block.dtype == np.float16:
        return bool((block.view(np.uint16) & _EXPONENT).max() != _EXPONENT)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(block.sum()))
