"""The rows added to a tally, as arrays. In: scores and targets of any library. Out: NumPy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lastlayer.arrays import BFLOAT16
from lastlayer.blocks import number_family, to_host
from lastlayer.errors import DtypeError, OptionError, ShapeError, TargetError
from lastlayer.labels import MISSING, UNKNOWN, Labels
from lastlayer.problem import is_top_k

from .options import TallyOptions
from .readers.values import keys_of, spread
from .rows import as_float64

__all__ = ["Facts", "Targets", "facts_of", "is_dense", "refuse_mask", "scores_of", "targets_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Shape = tuple[int, ...]

_LARGEST = 2.0**32  # of a sample weight
_POSITIONS = 1 << 24  # at most


class Targets(NamedTuple):
    """The targets of n rows."""

    classes: Ints  # 0 in ignored rows, `UNKNOWN` for a label that is no class
    ignored: npt.NDArray[np.bool_]
    dense: Floats | None = None  # (n, V): probabilities, of which ``classes`` is the argmax
    unknown: tuple[Any, ...] = ()  # labels that are no class


class Facts(NamedTuple):
    """Other facts about n rows, each an array (n,) or None."""

    weights: Floats | None
    n_bytes: Ints | None
    groups: Any
    documents: Any
    positions: Ints | None
    numbers: Ints | None

    def select(self, index: Any) -> Facts:
        """Those of some of the rows."""
        return Facts(*(None if part is None else part[index] for part in self))


def scores_of(function: str, values: Any, o: TallyOptions) -> tuple[Any, Shape]:
    """Scores as (n, V) in NumPy, and the shape of the rows."""
    array = values if isinstance(values, np.ndarray) else to_host(values)
    refuse_mask(function, "scores", array)
    if array.dtype.kind not in "fiub" and array.dtype != BFLOAT16 and array.dtype.name != "bfloat16":
        raise DtypeError(function, "scores", f"of dtype {array.dtype}", "real numbers")
    if o.binary:
        return _two_columns(function, array, o)
    if array.ndim == 0:
        raise ShapeError(function, "scores", "a single number", "at least one axis, of classes")
    if not -array.ndim <= o.axis < array.ndim:
        raise ShapeError(function, "scores", f"of shape {array.shape}", f"a class axis {o.axis}")
    array = np.moveaxis(array, o.axis, -1)
    if array.shape[-1] != o.classes:
        found = f"of shape {values.shape if hasattr(values, 'shape') else array.shape}"
        raise ShapeError(function, "scores", found, f"{o.classes} classes on axis {o.axis}")
    rows = array.shape[:-1]
    return array.reshape(math.prod(rows), o.classes), rows


def refuse_mask(function: str, name: str, values: Any) -> None:
    """Refuse masked arrays, whose mask would be lost."""
    if isinstance(values, np.ma.MaskedArray):
        remedy = f"{name}.data, with sample_weight=0 in rows to leave out"
        raise DtypeError(function, name, "a masked array", "a plain one", remedy)


def _two_columns(function: str, array: Any, o: TallyOptions) -> tuple[Any, Shape]:
    """One score a row as two classes: logits 0 and x, or probabilities 1 - p and p."""
    if array.ndim and array.shape[-1] == 2 and array.ndim > 1:
        raise ShapeError(function, "scores", f"of shape {array.shape}", "(N,) or (N, 1) with binary=True")
    array = array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array
    x = as_float64(array).reshape(-1)
    with np.errstate(all="ignore"):
        first = {
            "logits": np.zeros_like(x),
            "probabilities": 1 - x,
            "log-probabilities": np.log(-np.expm1(x)),
        }[o.kind]
    first = np.where(np.isnan(x), np.nan, first)
    return np.stack([first, x], axis=1), array.shape


def targets_of(function: str, values: Any, shape: Shape, o: TallyOptions, labels: Labels | None) -> Targets:
    """Targets as class indices, with what is ignored."""
    n = math.prod(shape)
    refuse_mask(function, "targets", values)
    if is_top_k(values):
        return _of_top_k(function, values, shape, o)
    if labels is not None and not is_dense(values, shape, o):
        return _of_labels(function, values, shape, o, labels)
    array = values if isinstance(values, np.ndarray) else to_host(values)
    if is_dense(array, shape, o):
        rows = np.moveaxis(array, o.axis, -1).reshape(n, o.classes).astype(np.float64, order="C")
        return _of_dense(function, rows, array.dtype.kind in "iub")
    if array.size != n or (array.shape != shape and array.shape != (*shape, 1)):
        rule = f"{shape} for class indices or {_dense_shape(shape, o)} for dense targets"
        raise ShapeError(function, "targets", f"of shape {array.shape}", rule)
    missing = np.zeros(n, np.bool_)
    if array.dtype.kind == "f":  # indices with gaps, as tables have them
        missing = np.isnan(array.reshape(-1))
        whole = np.where(missing, 0, array.reshape(-1))
        if not (whole == np.floor(whole)).all():
            raise DtypeError(function, "targets", f"of dtype {array.dtype}", "integers as class indices")
        whole = np.clip(whole, -(2.0**62), 2.0**62)  # larger ones are no class either
        array = whole.astype(np.int64)
    if array.dtype.kind not in "iub":
        remedy = "pass labels=[...] with the names of the classes"
        raise DtypeError(function, "targets", f"of dtype {array.dtype}", "class indices", remedy)
    index = array.reshape(-1)
    index = (
        np.minimum(index, np.uint64(2**62))
        if index.dtype.itemsize == 8 and index.dtype.kind == "u"
        else index
    )
    index = index.astype(np.int64)
    ignored = missing if o.ignore_index is None else missing | (index == o.ignore_index)
    bad = ((index < 0) | (index >= o.classes)) & ~ignored
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        if o.unknown == "error":
            ignore = "" if o.ignore_index is None else f" or ignore_index={o.ignore_index}"
            rule = f"a class in [0, {o.classes}){ignore}"
            remedy = "unknown='wrong' counts such rows as wrong"
            raise TargetError(function, f"targets[{first}]", str(index[first]), rule, remedy)
        index = np.where(bad, UNKNOWN, index)
        return Targets(
            np.where(ignored, 0, index), ignored, None, tuple(np.unique(array.reshape(-1)[bad]).tolist())
        )
    return Targets(np.where(ignored, 0, index), ignored)


def is_dense(values: Any, shape: Shape, o: TallyOptions) -> bool:
    """Whether targets are a number for each class of each row, the classes where the scores have them."""
    given = tuple(getattr(values, "shape", ()))
    return not o.binary and given == _dense_shape(shape, o) and number_family(values) != ""


def _dense_shape(shape: Shape, o: TallyOptions) -> Shape:
    place = o.axis % (len(shape) + 1)
    return (*shape[:place], o.classes, *shape[place:])


def _of_labels(function: str, values: Any, shape: Shape, o: TallyOptions, labels: Labels) -> Targets:
    array = np.asarray(values, dtype=object)
    if array.shape not in (shape, (*shape, 1)) and not (array.size == 1 == math.prod(shape)):
        raise ShapeError(function, "targets", f"of shape {array.shape}", f"{shape}, a name for each row")
    found = labels.read(function, array, o.unknown)
    ignored = found.indices == MISSING
    return Targets(np.where(ignored, 0, found.indices), ignored, None, found.unknown)


def _of_dense(function: str, q: Floats, whole: bool) -> Targets:
    """Probabilities, or one-hot rows of integers."""
    if not (np.isfinite(q).all() and (q >= 0).all()):
        first = int(np.flatnonzero(~(np.isfinite(q) & (q >= 0)).all(axis=1))[0])
        raise OptionError(function, f"targets[{first}]", "negative or not finite", "probabilities")
    if whole and not (((q == 0) | (q == 1)).all() and (q.sum(axis=1) == 1).all()):
        raise TargetError(function, "targets", "rows of integers", "one-hot rows")
    return Targets(q.argmax(axis=1), np.zeros(len(q), np.bool_), q)


def _of_top_k(function: str, values: Any, shape: Shape, o: TallyOptions) -> Targets:
    """Top-k targets in their dense form: ``q_j = sum_k p_k [index_k = j] + rest / V``.

    A row all of whose entries are ignored has no target, and is ignored, unless its rest is.
    """
    n, (indices, p, *more) = math.prod(shape), (to_host(part) for part in values)
    if indices.dtype.kind not in "iu":
        raise DtypeError(function, "targets[0]", f"of dtype {indices.dtype}", "integers as class indices")
    if indices.shape[:-1] != shape or not indices.ndim:
        raise ShapeError(
            function, "targets[0]", f"of shape {indices.shape}", f"({', '.join(map(str, shape))}, K)"
        )
    if p.shape != indices.shape:
        raise ShapeError(function, "targets[1]", f"of shape {p.shape}", f"{indices.shape}")
    if more and more[0].shape not in ((), shape):
        raise ShapeError(function, "targets[2]", f"of shape {more[0].shape}", f"{shape}")
    indices, p = (a.reshape(n, a.shape[-1]) for a in (indices.astype(np.int64), p.astype(np.float64)))
    rest = np.broadcast_to(more[0] if more else 0.0, shape).astype(np.float64).reshape(n)
    counts = np.ones_like(p, np.bool_) if o.ignore_index is None else indices != o.ignore_index
    bad = ((indices < 0) | (indices >= o.classes)) & counts
    if bad.any():
        value = int(indices[bad][0])
        raise TargetError(function, "targets[0]", str(value), f"classes in [0, {o.classes})")
    q = np.repeat(rest[:, None] / o.classes, o.classes, axis=1)
    np.add.at(q, (np.arange(n)[:, None], np.where(counts, indices, 0)), np.where(counts, p, 0.0))
    ignored = ~counts.any(axis=1) & (rest == 0)
    return _of_dense(function, q, False)._replace(ignored=ignored)


def facts_of(
    function: str, shape: Shape, *, sample_weight: Any = None, n_bytes: Any = None, groups: Any = None,
    documents: Any = None, positions: Any = None, rows: Any = None,
) -> Facts:  # fmt: skip
    """The other facts about the rows, each as one array."""
    weights = None
    if sample_weight is not None:
        weights = spread(function, "sample_weight", sample_weight, shape)
        if weights.dtype.kind not in "fiubO":
            raise DtypeError(function, "sample_weight", f"of dtype {weights.dtype}", "numbers")
        weights = weights.astype(np.float64)
        good = (weights >= 0) & (weights <= _LARGEST)
        if not good.all():
            first = int(np.flatnonzero(~good)[0])
            rule = "a weight of 0 or more, at most 2^32"
            raise OptionError(function, f"sample_weight[{first}]", str(weights[first]), rule)
    numbers = [
        None if value is None else _whole(function, name, spread(function, name, value, shape))
        for name, value in (("n_bytes", n_bytes), ("positions", positions), ("rows", rows))
    ]
    if positions is None and len(shape) > 1:
        numbers[1] = np.broadcast_to(np.arange(shape[-1]), shape).reshape(-1)
    if numbers[1] is not None and (numbers[1] >= _POSITIONS).any():
        found, rule = str(numbers[1].max()), f"positions below {_POSITIONS}"
        raise OptionError(function, "positions", f"as large as {found}", rule)
    keys = [
        None if value is None else _keys(function, name, spread(function, name, value, shape))
        for name, value in (("groups", groups), ("documents", documents))
    ]
    return Facts(weights, numbers[0], keys[0], keys[1], numbers[1], numbers[2])


def _keys(function: str, name: str, array: Any) -> Any:
    """Groups or documents as text or numbers, which have an order and a place in JSON."""
    array = keys_of(name, array, function)
    if array.dtype.kind in "SMm":
        return array.astype(str)
    if array.dtype.kind not in "UTiufb" or (array.dtype.kind == "f" and np.isinf(array).any()):
        found = "infinite somewhere" if array.dtype.kind == "f" else f"of dtype {array.dtype}"
        raise DtypeError(function, name, found, "names or finite numbers")
    return array


def _whole(function: str, name: str, array: Any) -> Ints:
    if array.dtype.kind not in "iu" or (array < 0).any():
        raise OptionError(function, name, f"of dtype {array.dtype}", "integers of 0 or more")
    return array.astype(np.int64)  # type: ignore[no-any-return]
