"""Arguments -> a frozen, checked problem in canonical form, or an error. In: what the user passed. Out: tuples below.

Nothing after this module checks again. Two forms leave it: ``Scores``, which softmax and its kin need, and ``Problem``,
which adds targets for the losses. ``Targets`` is the effective target ``t`` of each row::

    t_ij = s_i w_j (on q_ij + off)         q_i: the one-hot of an index target, or the dense row; 0 for ignored rows

NumPy's float32 and float64 take the short way through every function here: a softmax of three numbers is measured in
microseconds.
"""

from __future__ import annotations

import operator
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from .arrays import Array, cast, is_foreign, namespace
from .errors import DtypeError, LastlayerError, OptionError, ShapeError, TargetError

if TYPE_CHECKING:
    from .select import Backend

__all__ = ["Axes", "Problem", "Scores", "Targets"]

_ndarray = np.ndarray
_FLOAT32, _FLOAT64, _INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
_BIG = 1 << 63
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_REDUCTIONS = ("mean", "sum", "none")
_NAMES = {"softmax": "x", "log_softmax": "x", "logsumexp": "x", "nll_loss": "log_probs", "log_loss": "probs"}


class Scores(NamedTuple):
    """Logits, log-probabilities or probabilities, with one class axis."""

    function: str  # the public function, for messages
    array: Array  # floating, at least one axis; NumPy's are aligned and of native byte order
    axis: int  # the class axis, 0 <= axis < array.ndim
    where: Array | None  # bool, broadcast to the array's shape: which classes are possible
    temperature: float  # finite, > 0
    softcap: float | None  # finite, > 0


class Targets(NamedTuple):
    """Effective targets (see above)."""

    kind: str  # "index" or "dense"
    array: Array  # index: integers of the rows' shape; dense: numbers or bools of the scores' shape
    on: float  # 1 - smoothing
    off: float  # smoothing / V
    class_weight: Array | None  # (V,), float32 or float64, finite, >= 0
    sample_weight: Array | None  # the rows' shape, float32 or float64, finite, >= 0
    ignore_index: int | None
    z_loss: float  # finite, >= 0


class Problem(NamedTuple):
    """A loss to compute: ``scale`` times the sum of the rows' losses, or each row's."""

    scores: Scores
    targets: Targets | None
    scale: float  # 1 / denominator for the mean, 0 for a mean over nothing; else 1
    reduction: str  # "mean", "sum" or "none"


# --- scores -------------------------------------------------------------------------------------------------------------


def scores(
    function: str,
    x: Any,
    axis: int = -1,
    where: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Scores:
    """The scores of a call, checked."""
    if type(x) is not _ndarray or not ((x.dtype is _FLOAT32 or x.dtype is _FLOAT64) and x.flags.aligned):
        x = _floating(function, x)
    ndim = x.ndim
    if type(axis) is not int or not 0 <= axis < ndim:
        axis = _axis(function, x, axis)
    if x.shape[axis] == 0:
        _fail(ShapeError, function, _name(function), f"of shape {_shape(x)}", f"at least one class on axis {axis}")
    if where is not None:
        where = _where(function, x, where)
    if type(temperature) is not float or not 0.0 < temperature < inf:
        temperature = _number(function, "temperature", temperature, low=0.0, strict=True)
    if softcap is not None:
        softcap = _number(function, "softcap", softcap, low=0.0, strict=True)
    return Scores(function, x, axis, where, temperature, softcap)


def _floating(function: str, x: Any) -> Array:
    """``x`` as a floating array that backends can read."""
    name = _name(function)
    if is_foreign(x):
        xp = namespace(x, function)
        if xp.isdtype(x.dtype, "real floating"):
            return x
        if xp.isdtype(x.dtype, ("bool", "integral")):
            return xp.astype(x, xp.asarray(0.0).dtype)
        _fail(DtypeError, function, name, f"of dtype {x.dtype}", "real numbers")
    x = _numpy(function, name, x)
    if x.dtype.name not in _FLOATS:
        if x.dtype.kind not in "biu":
            remedy = "" if x.dtype.kind in "OUS" else f"; use {name}.astype(np.float64)"
            if x.dtype.kind == "c":
                remedy = f"; use {name}.real or abs({name})"
            _fail(DtypeError, function, name, f"of dtype {x.dtype}", f"{', '.join(_FLOATS)}, integers or bools", remedy)
        return x.astype(np.float64)
    return _native_form(x)


def _numpy(function: str, name: str, x: Any) -> Any:
    """``x`` as a plain NumPy array."""
    if type(x) is _ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray):
        _fail(DtypeError, function, name, "a masked array", "a plain one", f"; use {name}.data with where=~{name}.mask")
    if x is None:
        _fail(DtypeError, function, name, "None", "an array of numbers")
    try:
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        _fail(ShapeError, function, name, f"a {type(x).__name__} that is no array ({error})", "rows of equal length")


def _native_form(x: Any) -> Any:
    """``x`` aligned and of native byte order: itself, or a copy."""
    if not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x if x.flags.aligned else x.copy()


def _axis(function: str, x: Array, axis: Any) -> int:
    """``axis`` counted from the front."""
    name, ndim = _name(function), x.ndim
    if ndim == 0:
        _fail(ShapeError, function, name, "a single number", "at least one axis, of classes")
    try:
        index = operator.index(axis)
    except TypeError:
        rule = "an int" + (", a tuple of ints or None" if name == "x" else "")
        _fail(OptionError, function, "axis", repr(axis), rule)
    if not -ndim <= index < ndim:
        _fail(ShapeError, function, "axis", index, f"{-ndim} <= axis < {ndim} for {name} of shape {_shape(x)}")
    return index % ndim


def _where(function: str, x: Array, where: Any) -> Array:
    """``where`` as a bool array of the shape of ``x``."""
    xp = namespace(x)
    where = _numpy(function, "where", where) if xp is np else _same_library(xp, function, "where", where, x)
    if where.dtype != xp.bool if xp is not np else where.dtype.kind != "b":
        _fail(DtypeError, function, "where", f"of dtype {where.dtype}", "bools, True for possible classes")
    if where.shape == x.shape:
        return where
    try:
        return xp.broadcast_to(where, x.shape)
    except (ValueError, RuntimeError):
        _fail(ShapeError, function, "where", f"of shape {_shape(where)}", f"a shape that broadcasts to {_shape(x)}")


def out(scores: Scores, out: Any) -> Array:
    """``out``, which can hold the result of ``scores``."""
    x = scores.array
    if type(out) is not _ndarray and not is_foreign(out):
        _fail(DtypeError, scores.function, "out", f"a {type(out).__name__}", "an array of the result's shape and dtype")
    if out.shape != x.shape:
        _fail(ShapeError, scores.function, "out", f"of shape {_shape(out)}", f"the result's shape {_shape(x)}")
    if out.dtype != x.dtype and not (type(out) is _ndarray and out.dtype.newbyteorder("=") == x.dtype):
        _fail(DtypeError, scores.function, "out", f"of dtype {out.dtype}", f"the result's dtype {x.dtype}")
    if type(out) is _ndarray and not out.flags.writeable:
        _fail(OptionError, scores.function, "out", "read-only", "a writeable array")
    return out


def writes_safely(scores: Scores, out: Any) -> bool:
    """Whether a backend may write to ``out`` while it reads the scores: same place, or no place in common."""
    x = scores.array
    if out is x:
        return True
    if type(out) is not _ndarray or type(x) is not _ndarray:
        return True
    if not (out.dtype.isnative and out.flags.aligned):
        return False
    if scores.where is not None and np.may_share_memory(scores.where, out):
        return False
    if not np.may_share_memory(x, out):
        return True
    return bool(x.strides == out.strides and x.__array_interface__["data"] == out.__array_interface__["data"])


# --- several class axes -------------------------------------------------------------------------------------------------


class Axes(NamedTuple):
    """Several class axes brought to one, the last; and the way back."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]  # of the array before
    order: tuple[int, ...]  # the other axes, then the class axes

    def fold(self, x: Array) -> Array:
        """The class axes as one last axis: a view where the strides allow it."""
        xp = namespace(x)
        rows = tuple(self.shape[i] for i in self.order[: len(self.shape) - len(self.axes)])
        count = 1
        for i in self.axes:
            count *= self.shape[i]
        return xp.reshape(xp.permute_dims(x, self.order), (*rows, count))

    def unfold(self, y: Array) -> Array:
        """A result of ``fold``'s shape in the shape of the array before."""
        xp = namespace(y)
        back = tuple(self.order.index(i) for i in range(len(self.order)))
        return xp.permute_dims(xp.reshape(y, tuple(self.shape[i] for i in self.order)), back)

    def keep(self, y: Array) -> Array:
        """A result of the rows' shape with every class axis kept as one of length 1."""
        return namespace(y).reshape(y, tuple(1 if i in self.axes else n for i, n in enumerate(self.shape)))


def axes(function: str, x: Any, where: Any, axis: Any) -> tuple[Array, Array | None, Axes]:
    """``x`` and ``where`` with the given class axes (a tuple, an int, or None for all) as one last axis."""
    x = _floating(function, x)
    if x.ndim == 0:
        _axis(function, x, -1)
    given = range(x.ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    chosen = tuple(_axis(function, x, a) for a in given)
    if not chosen or len(set(chosen)) != len(chosen):
        _fail(OptionError, function, "axis", repr(axis), "one or more different axes")
    chosen = tuple(sorted(chosen))
    rows = tuple(i for i in range(x.ndim) if i not in chosen)
    folding = Axes(chosen, tuple(x.shape), (*rows, *chosen))
    return folding.fold(x), None if where is None else folding.fold(_where(function, x, where)), folding


# --- targets ------------------------------------------------------------------------------------------------------------


def without_targets(scores: Scores) -> Problem:
    """The problem of row statistics that need no targets."""
    return Problem(scores, None, 1.0, "none")


def with_targets(
    scores: Scores,
    backend: Backend,
    targets: Any,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    denominator: float | None = None,
) -> Problem:
    """The problem of a loss, its targets checked."""
    function, x, axis = scores.function, scores.array, scores.axis
    shape = x.shape
    rows = shape[:axis] + shape[axis + 1 :]
    if type(targets) is not _ndarray or targets.dtype is not _INT64 or targets.shape != rows:
        targets, dense = _targets(scores, rows, targets)
    else:
        dense = False
        if not targets.flags.aligned:
            targets = targets.copy()
    if type(ignore_index) is not int or dense or not -_BIG <= ignore_index < _BIG:
        ignore_index = _ignore_index(function, ignore_index, dense)
    if class_weight is not None:
        class_weight = _class_weight(scores, class_weight)
    if sample_weight is not None:
        sample_weight = _sample_weight(scores, rows, sample_weight)
    on, off = 1.0, 0.0
    if type(label_smoothing) is not float or label_smoothing != 0.0:
        smoothing = _number(function, "label_smoothing", label_smoothing, low=0.0, high=1.0)
        on, off = 1.0 - smoothing, smoothing / shape[axis]
    if type(z_loss) is not float or z_loss != 0.0:
        z_loss = _number(function, "z_loss", z_loss, low=0.0)
    if reduction != "mean" and reduction not in _REDUCTIONS:
        _reduction(function, reduction)
    result = Targets(
        "dense" if dense else "index", targets, on, off, class_weight, sample_weight, ignore_index, z_loss
    )
    mean = reduction == "mean" and denominator is None
    if dense and not mean:
        total = 1.0
    else:
        position, total = backend.target_totals(scores, result, mean)
        if position >= 0:
            _bad_target(scores, rows, result, position)
    if denominator is not None:
        if reduction != "mean":
            _fail(OptionError, function, "denominator", denominator, f"None with reduction={reduction!r}")
        total = _number(function, "denominator", denominator, low=0.0)
    if reduction != "mean":
        return Problem(scores, result, 1.0, reduction)
    return Problem(scores, result, 1.0 / total if total else 0.0, reduction)


def _targets(scores: Scores, rows: tuple[int, ...], targets: Any) -> tuple[Array, bool]:
    """The targets as an array, and whether they are dense."""
    function, x = scores.function, scores.array
    xp = namespace(x)
    if xp is np:
        targets = _numpy(function, "targets", targets)
        kind = targets.dtype.kind
        if targets.dtype.name == "bfloat16":
            kind = "f"
        if kind == "f" and targets.size == 0 and targets.shape == rows != x.shape:
            targets, kind = targets.astype(np.int64), "i"  # no row, no dtype: []
        if kind == "f" and targets.dtype.name not in _FLOATS:
            targets = targets.astype(np.float64)
        targets = _native_form(targets)
    else:
        targets = _same_library(xp, function, "targets", targets, x)
        kinds = {"b": "bool", "i": "integral", "f": "real floating"}
        kind = next((k for k, name in kinds.items() if xp.isdtype(targets.dtype, name)), "O")
    shape = tuple(targets.shape)
    if kind not in "biuf":
        remedy = "; number the classes, as sklearn.preprocessing.LabelEncoder does" if kind in "OUS" else ""
        _fail(DtypeError, function, "targets", f"of dtype {targets.dtype}", "integers or probabilities", remedy)
    if shape == tuple(x.shape):
        return targets, True
    if shape != tuple(rows):
        _bad_target_shape(scores, rows, shape)
    if kind == "f":
        remedy = "; use targets.astype(np.int64)" if xp is np else "; convert them to int64"
        _fail(DtypeError, function, "targets", f"of dtype {targets.dtype}", "integers as class indices", remedy)
    if kind == "b":
        remedy = "; use targets.astype(np.int64)" if xp is np else "; convert them to int64"
        _fail(DtypeError, function, "targets", "of dtype bool", "integers as class indices", remedy)
    return targets, False


def _bad_target_shape(scores: Scores, rows: tuple[int, ...], shape: tuple[int, ...]) -> NoReturn:
    """Say which shapes fit, and what the usual slip was."""
    function, name, full = scores.function, _name(scores.function), tuple(scores.array.shape)
    rule = f"{_shape(rows)} for class indices or {_shape(full)} for one row of probabilities each"
    remedy = ""
    fits = [i for i in range(len(full)) if full[:i] + full[i + 1 :] == shape and i != scores.axis]
    if fits:
        remedy = f"; these targets fit axis={fits[0]}: is that the class axis of {name} {_shape(full)}?"
    elif shape == (*rows, 1):
        remedy = "; drop the last axis: targets[..., 0]"
    elif rows == () and shape == (1,):
        remedy = "; pass the class alone: targets[0]"
    elif sorted(shape) == sorted(full):
        remedy = f"; are they transposed? the class axis of {name} is {scores.axis}"
    elif len(shape) == len(full) and shape[: scores.axis] == full[: scores.axis]:
        remedy = f"; {name} has {full[scores.axis]} classes, targets has {shape[scores.axis]}"
    _fail(ShapeError, function, "targets", f"of shape {_shape(shape)}", rule, remedy)


def _bad_target(scores: Scores, rows: tuple[int, ...], targets: Targets, position: int) -> NoReturn:
    """Name the first class index that is none, and what the usual slip was."""
    xp, classes = namespace(targets.array), scores.array.shape[scores.axis]
    flat = xp.reshape(targets.array, (-1,))
    value = int(flat[position])
    where = "targets"
    if rows:
        index: list[int] = []
        for n in reversed(rows):
            position, i = divmod(position, n)
            index.insert(0, i)
        where = f"targets[{', '.join(map(str, index))}]"
    ignored = "" if targets.ignore_index is None else f" or ignore_index={targets.ignore_index}"
    seen = np.asarray(flat) if getattr(flat, "device", "cpu") == "cpu" or xp is np else np.asarray([value])
    seen = seen[seen != targets.ignore_index]
    remedy = ""
    if value == -1 and targets.ignore_index != -1:
        remedy = "; to leave such rows out pass ignore_index=-1"
    elif classes == 1 and seen.max() == 1 and seen.min() == 0:
        remedy = "; two classes need two columns of logits: [0, x]"
    elif seen.max() == classes and seen.min() >= 1:
        remedy = "; labels start at 1? subtract 1"
    _fail(TargetError, scores.function, where, value, f"a class in [0, {classes}){ignored}", remedy)


def _ignore_index(function: str, ignore_index: Any, dense: bool) -> int | None:
    if ignore_index is None:
        return None
    try:
        index = operator.index(ignore_index)
    except TypeError:
        _fail(OptionError, function, "ignore_index", repr(ignore_index), "an int or None")
    if not -_BIG <= index < _BIG:
        _fail(OptionError, function, "ignore_index", index, "an int of 64 bits or None")
    if not dense:
        return index
    if index != -100:
        remedy = "; leave rows out with sample_weight=0"
        _fail(OptionError, function, "ignore_index", index, "class indices as targets, not dense ones", remedy)
    return None


def _class_weight(scores: Scores, weight: Any) -> Array:
    function, classes = scores.function, scores.array.shape[scores.axis]
    weight = _weight(scores, "class_weight", weight)
    if tuple(weight.shape) != (classes,):
        rule = f"{_shape((classes,))}, one weight for each class"
        _fail(ShapeError, function, "class_weight", f"of shape {_shape(weight)}", rule)
    return weight


def _sample_weight(scores: Scores, rows: tuple[int, ...], weight: Any) -> Array:
    function = scores.function
    weight = _weight(scores, "sample_weight", weight)
    if tuple(weight.shape) == tuple(rows):
        return weight
    try:
        return namespace(weight).broadcast_to(weight, rows)
    except (ValueError, RuntimeError):
        rule = f"{_shape(rows)}, one weight for each row"
        _fail(ShapeError, function, "sample_weight", f"of shape {_shape(weight)}", rule)


def _weight(scores: Scores, name: str, weight: Any) -> Array:
    """Weights as float32 or float64, each finite and not negative."""
    function, xp = scores.function, namespace(scores.array)
    if xp is np:
        if isinstance(weight, dict):
            _fail(DtypeError, function, name, "a dict", "an array of one weight for each class, in order")
        weight = _numpy(function, name, weight)
        dtype = weight.dtype
        if dtype.kind not in "biuf" and dtype.name != "bfloat16":
            _fail(DtypeError, function, name, f"of dtype {dtype}", "real numbers")
        if not (dtype is _FLOAT64 or dtype is _FLOAT32) or not weight.flags.aligned:
            single = dtype.name in ("float16", "bfloat16", "float32")
            weight = weight.astype(np.float32 if single else np.float64)
    else:
        weight = _same_library(xp, function, name, weight, scores.array)
        if not xp.isdtype(weight.dtype, ("bool", "integral", "real floating")):
            _fail(DtypeError, function, name, f"of dtype {weight.dtype}", "real numbers")
        if weight.dtype not in (xp.float32, xp.float64):
            weight = xp.astype(weight, xp.float32)
    with np.errstate(invalid="ignore"):
        if 0 in weight.shape or (xp.min(weight) >= 0 and xp.max(weight) < inf):
            return weight
    bad = ~((weight >= 0) & (weight < inf))
    first = int(xp.argmax(cast(xp, xp.reshape(bad, (-1,)), xp.int8)))
    value = float(xp.reshape(weight, (-1,))[first])
    position = ", ".join(str(int(i)) for i in np.unravel_index(first, tuple(weight.shape)))
    argument = f"{name}[{position}]" if position else name
    _fail(OptionError, function, argument, value, "a finite weight, 0 or more")


# --- small checks -------------------------------------------------------------------------------------------------------


def top(scores: Scores, k: Any) -> int:
    """``k`` of top-k."""
    classes = scores.array.shape[scores.axis]
    try:
        count = operator.index(k)
    except TypeError:
        _fail(OptionError, scores.function, "k", repr(k), f"an int in [1, {classes}]")
    if not 1 <= count <= classes:
        _fail(OptionError, scores.function, "k", count, f"1 <= k <= {classes}, the number of classes")
    return count


def _number(
    function: str, name: str, value: Any, low: float = -inf, high: float = inf, strict: bool = False
) -> float:
    """A real, finite option within its bounds."""
    bounds = f" in [{low:g}, {high:g}]" if high < inf else f" > {low:g}" if strict else f" >= {low:g}"
    rule = f"a finite number{bounds}"
    if isinstance(value, str):
        _fail(OptionError, function, name, repr(value), rule)
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        _fail(OptionError, function, name, f"a {type(value).__name__}", rule)
    if not (low < number if strict else low <= number) or not number <= high or number == inf:
        _fail(OptionError, function, name, number, rule)
    return number


def _reduction(function: str, reduction: Any) -> NoReturn:
    near = {"avg": "mean", "average": "mean", "batchmean": "mean", "total": "sum", "None": "none"}
    text = str(reduction)
    meant = near.get(text, text.lower())
    remedy = f"; did you mean {meant!r}?" if meant in _REDUCTIONS else ""
    _fail(OptionError, function, "reduction", repr(reduction), "'mean', 'sum' or 'none'", remedy)


def _same_library(xp: Any, function: str, name: str, value: Any, like: Array) -> Array:
    """``value`` as an array of the library of ``like``."""
    if is_foreign(value):
        if namespace(value, function) is not xp:
            kinds = f"a {type(value).__module__.partition('.')[0]} array"
            _fail(DtypeError, function, name, kinds, f"a {type(like).__module__.partition('.')[0]} array, as {_name(function)} is")
        return value
    return xp.asarray(_numpy(function, name, value), device=getattr(like, "device", None))


def _name(function: str) -> str:
    """What the function calls its scores."""
    return _NAMES.get(function, "logits")


def _shape(x: Any) -> str:
    """A shape as Python writes it."""
    shape = x if isinstance(x, tuple) else tuple(x.shape)
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"


def _fail(error: type[LastlayerError], function: str, argument: str, value: Any, rule: str, remedy: str = "") -> NoReturn:
    raise error(f"{function}: {argument} is {value}; expected {rule}{remedy}")
