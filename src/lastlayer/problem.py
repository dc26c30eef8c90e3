"""Arguments -> a checked problem in canonical form, or an error. In: what the user passed. Out: tuples.

Nothing after this module checks again. Two forms leave it: ``Scores``, which softmax and its kin need, and
``Problem``, which adds targets for the losses. ``Targets`` is the effective target ``t`` of each row::

    t_ij = s_i w_j (on q_ij + off)      q_i: one-hot of an index target, the dense row, or what `TopK` lists
                                        ignored rows: t = 0

NumPy's own dtypes take the short way through every function: a softmax of three numbers is a matter of
microseconds.
"""

from __future__ import annotations

import operator
from math import inf
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from .arrays import (
    BFLOAT16,
    Array,
    cast,
    device,
    integer,
    is_foreign,
    library,
    namespace,
    one_hot,
    overlaps_itself,
    truth,
    wide,
)
from .errors import DtypeError, LastlayerError, OptionError, ShapeError, TargetError, quoted, shown
from .options import Given, Said

__all__ = ["Axes", "Head", "Problem", "Scores", "Targets", "TopK"]

_ndarray = np.ndarray
_new = tuple.__new__  # a named tuple without the keyword arguments, at half the time
_FLOAT32, _FLOAT64, _INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_REDUCTIONS = ("mean", "sum", "none")
_NAMES = {
    "softmax": "x",
    "log_softmax": "x",
    "logsumexp": "x",
    "nll_loss": "log_probs",
    "log_loss": "probs",
    "linear_cross_entropy": "x @ weight.T",
    "linear_cross_entropy_grad": "x @ weight.T",
    "linear_row_stats": "x @ weight.T",
    "linear_top_k": "x @ weight.T",
}
_OF_NO_CLASSES = frozenset({"softmax", "log_softmax", "logsumexp"})  # these have a value without a class
_LIMIT = 1 << 63  # of ignore_index
_LABELS = "number the labels with pd.Categorical(targets).codes, and pass ignore_index=-1 for missing ones"
LEAST = 1e-200  # of what is divided by: quotients of ordinary numbers stay finite
MOST = 1e18  # of a weight: products of two are numbers of float32
ROUNDED = 0.01  # of a rest: what the rounding of 16-bit probabilities can make of 0


class Scores(NamedTuple):
    """Logits, log-probabilities or probabilities, with one class axis."""

    function: str  # the public function, for messages
    array: Array  # floating, at least one axis; NumPy's are aligned and of native byte order
    axis: int  # the class axis, 0 <= axis < array.ndim
    where: Array | None  # bool, broadcast to the array's shape: which classes are possible
    temperature: float  # finite, > 0
    softcap: float | None  # finite, > 0


class WholeScores(Scores):
    """Scores that were integers or bools when they were passed."""


class TopK(NamedTuple):
    """Rows of targets of which K classes are listed: ``q_j = sum_k p_k [index_k = j] + rest / V``."""

    indices: Array  # integers, the rows' shape and K
    probabilities: Array  # the same shape, float32 or float64; finite and >= 0 but where the index is ignored
    rest: Array | None  # the rows' shape, float32 or float64, finite, >= 0; None: 0


class Targets(NamedTuple):
    """Effective targets (see above)."""

    kind: str  # "index", "dense" or "sparse"
    array: Any  # index: integers of the rows' shape; dense: numbers of the scores' shape; sparse: `TopK`
    on: float  # 1 - smoothing
    off: float  # smoothing / V
    class_weight: Array | None  # (V,), float32 or float64, finite, >= 0
    sample_weight: Array | None  # the rows' shape, float32 or float64, finite, >= 0
    ignore_index: int | None  # index: of rows that are ignored; sparse: of entries that do not count
    z_loss: float  # finite, >= 0


class Totals(Protocol):
    """What checking a loss needs of a backend: it looks through the targets."""

    def target_totals(self, scores: Scores, targets: Targets, mean: bool) -> tuple[int, Any]: ...


class Problem(NamedTuple):
    """A loss to compute: ``scale`` times the sum of the rows' losses, or each row's."""

    scores: Scores
    targets: Targets | None
    scale: Any  # 1 / denominator for the mean, 0 for a mean over nothing; else 1; a float, or a foreign array
    reduction: str  # "mean", "sum" or "none"


# --- scores -------------------------------------------------------------------------------------------------


def scores(
    function: str,
    x: Any,
    axis: int = -1,
    where: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Scores:
    """The scores of a call, checked."""
    dtype, form = x.dtype if type(x) is _ndarray else None, Scores
    if not ((dtype is _FLOAT32 or dtype is _FLOAT64) and x.flags.aligned):
        whole = dtype is not None and dtype.kind in "biu"
        if dtype is None:  # a list, or an array of another kind
            x = x if (foreign := is_foreign(x)) else to_numpy(function, name_of(function), x)
            whole = is_integral(namespace(x, function), x) if foreign else x.dtype.kind in "biu"
        form = WholeScores if whole else Scores
        x = _floating(function, x)
    ndim = x.ndim
    if type(axis) is not int or not -ndim <= axis < ndim:
        axis = _axis(function, x, axis)
    elif axis < 0:
        axis += ndim
    if x.shape[axis] == 0 and function not in _OF_NO_CLASSES:
        raise ShapeError(
            f"{function}: {name_of(function)} is of shape {_shape(x)}; "
            f"expected at least one class on axis {axis}"
        )
    if where is not None:
        where = mask(function, x, where)
    if type(temperature) is not float or not LEAST <= temperature < inf:
        temperature = _number(function, "temperature", temperature, strict=True)
    if softcap is not None:
        softcap = _number(function, "softcap", softcap, strict=True)
    return _new(form, (function, x, axis, where, temperature, softcap))


def _floating(function: str, x: Any, name: str = "") -> Array:
    """``x`` as a floating array that backends can read."""
    name = name or name_of(function)
    if is_foreign(x):
        xp = namespace(x, function)
        if xp.isdtype(x.dtype, "real floating"):
            return x
        if xp.isdtype(x.dtype, ("bool", "integral")):
            return xp.astype(x, xp.asarray(0.0).dtype)
        raise DtypeError(f"{function}: {name} is of dtype {quoted(x.dtype)}; expected real numbers")
    x = to_numpy(function, name, x)
    dtype = x.dtype
    if _is_float(dtype):
        return _native_form(x)
    if dtype.kind in "biu":
        return x.astype(np.float64)
    remedy = f"; use {name}.astype(np.float64)"
    if dtype.kind == "c":
        remedy = f"; use {name}.real or abs({name})"
    elif dtype.kind in "SU":
        remedy = ""
    rule = f"expected {', '.join(_FLOATS)}, integers or bools"
    raise DtypeError(f"{function}: {name} is of dtype {quoted(dtype)}; {rule}{remedy}")


def to_numpy(function: str, name: str, x: Any) -> Any:
    """``x`` as a plain NumPy array."""
    if type(x) is _ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray):
        raise DtypeError(
            f"{function}: {name} is a masked array; expected a plain one: {name}.data, "
            f"with its mask in where= or sample_weight="
        )
    if x is None:
        raise DtypeError(f"{function}: {name} is None; expected an array of numbers")
    try:
        found = np.from_dlpack(x) if _has_only_dlpack(x) else np.asarray(x)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise _no_array(function, name, x) from error
    if found.ndim == 0 and found.dtype == object and not isinstance(x, (dict, np.ndarray, np.generic)):
        raise _no_array(function, name, x)
    return found


def _has_only_dlpack(x: Any) -> bool:
    """Whether DLPack is the one way to the numbers of ``x``."""
    if not hasattr(x, "__dlpack__"):
        return False
    return not (hasattr(x, "__array__") or hasattr(x, "__array_interface__"))


def _no_array(function: str, name: str, x: Any) -> LastlayerError:
    """What is wrong with an argument that makes no array."""
    kind = quoted(type(x).__name__)
    rule = "expected an array of numbers"
    if library(x) == "torch":
        if getattr(x, "requires_grad", False):
            return DtypeError(
                f"{function}: {name} is a tensor that requires grad; {rule}; write {name}.detach()"
            )
        remedy = f"{name}.float()" if "cpu" in str(x.device) else f"{name}.cpu()"
        return DtypeError(
            f"{function}: {name} is a tensor of {x.dtype} on {x.device}; {rule}; write {remedy}"
        )
    if isinstance(x, (list, tuple)):
        if any(library(part) == "torch" for part in x):
            return DtypeError(f"{function}: {name} is a {kind} of tensors; {rule}; write torch.stack({name})")
        return ShapeError(
            f"{function}: {name} is a {kind} that makes no array; expected rows of equal length"
        )
    remedy = f"; write list({name})" if hasattr(x, "__iter__") and not hasattr(x, "__dlpack__") else ""
    return DtypeError(f"{function}: {name} is a {kind}; {rule}{remedy}")


def _native_form(x: Any) -> Any:
    """``x`` aligned and of native byte order: itself, or a copy."""
    if not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x if x.flags.aligned else x.copy()


def _axis(function: str, x: Array, axis: Any) -> int:
    """``axis`` counted from the front."""
    name, ndim = name_of(function), x.ndim
    if ndim == 0:
        raise ShapeError(f"{function}: {name} is a single number; expected at least one axis, of classes")
    try:
        index = int(operator.index(axis))
    except TypeError:
        rule = "an int, a tuple of ints or None" if name == "x" else "an int"
        raise OptionError(f"{function}: axis is {shown(axis)}; expected {rule}") from None
    if not -ndim <= index < ndim:
        raise ShapeError(
            f"{function}: axis is {index}; expected {-ndim} <= axis < {ndim} for {name} of shape {_shape(x)}"
        )
    return index % int(ndim)


def mask(function: str, x: Array, where: Any) -> Array:
    """``where`` as a bool array of the shape of ``x``."""
    xp = namespace(x)
    where = _like(xp, function, "where", where, x)
    if where.dtype != (np.bool_ if xp is np else xp.bool):
        raise DtypeError(
            f"{function}: where is of dtype {quoted(where.dtype)}; expected bools, True for possible classes"
        )
    if where.shape == x.shape:
        return where
    try:
        return xp.broadcast_to(where, x.shape)
    except (ValueError, RuntimeError):
        raise ShapeError(
            f"{function}: where is of shape {_shape(where)}; expected a shape that broadcasts to {_shape(x)}"
        ) from None


def out(scores: Scores, out: Any) -> Array:
    """``out``, if it can hold the result of ``scores``; of a subclass such as np.memmap, its plain array."""
    function, x = scores.function, scores.array
    if isinstance(out, _ndarray) and not isinstance(out, np.ma.MaskedArray):
        out = np.asarray(out)
    plain = type(out) is _ndarray
    if not plain and not is_foreign(out):
        raise DtypeError(f"{function}: out is a {quoted(type(out).__name__)}; expected an array")
    if out.shape != x.shape:
        raise ShapeError(f"{function}: out is of shape {_shape(out)}; expected the result's, {_shape(x)}")
    if out.dtype != x.dtype and not (plain and out.dtype.newbyteorder("=") == x.dtype):
        raise DtypeError(
            f"{function}: out is of dtype {quoted(out.dtype)}; expected the result's, {quoted(x.dtype)}"
        )
    if plain and not out.flags.writeable:
        raise OptionError(f"{function}: out is read-only; expected a writeable array")
    if plain and not out.flags.c_contiguous and overlaps_itself(out.shape, out.strides, out.itemsize):
        raise OptionError(
            f"{function}: out is of shape {_shape(out)} and strides {out.strides}, so some of its "
            "elements share memory; expected a place for each; write np.empty_like(x)"
        )
    return out


def can_write(scores: Scores, out: Array) -> bool:
    """Whether a backend may write to ``out`` while it reads: the scores' own place, or no place in common."""
    x, where = scores.array, scores.where
    if type(out) is not _ndarray or out is x:
        return True
    if not (out.dtype.isnative and out.flags.aligned):
        return False
    if where is not None and np.may_share_memory(where, out):
        return False
    if not np.may_share_memory(x, out):
        return True
    return bool(x.strides == out.strides and x.__array_interface__["data"] == out.__array_interface__["data"])


# --- the linear head ----------------------------------------------------------------------------------------


class Head(NamedTuple):
    """What makes logits: ``x @ weight.T + bias``. Leading axes of ``x`` are the rows'."""

    x: Array  # floating, (..., D)
    weight: Array  # floating, (V, D), V > 0
    bias: Array | None  # floating, (V,)
    memory: int | None  # bytes that may be used meanwhile, > 0


def head(function: str, x: Any, weight: Any, bias: Any = None, max_memory: Any = None) -> Head:
    """The linear head of a call, checked."""
    x = _floating(function, x, "x")
    weight = _part_of_head(function, "weight", weight, x)
    bias = None if bias is None else _part_of_head(function, "bias", bias, x)
    if x.ndim == 0:
        raise ShapeError(f"{function}: x is a single number; expected at least one axis, of features")
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        turned = weight.ndim == 2 and weight.shape[0] == x.shape[-1]
        raise ShapeError(
            f"{function}: weight is of shape {_shape(weight)}; expected (V, {x.shape[-1]}), "
            f"a row for each class, for x of shape {_shape(x)}{'; use weight.T' if turned else ''}"
        )
    if weight.shape[0] == 0:
        raise ShapeError(f"{function}: weight is of shape {_shape(weight)}; expected at least one class")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(
            f"{function}: bias is of shape {_shape(bias)}; "
            f"expected ({weight.shape[0]},), one number for each class"
        )
    if max_memory is not None:
        max_memory = int(_number(function, "max_memory", max_memory, strict=True))
    return Head(x, weight, bias, max_memory)


def _part_of_head(function: str, name: str, value: Any, x: Array) -> Array:
    """``weight`` or ``bias``, of the library of ``x``."""
    xp = namespace(x)
    if xp is np and is_foreign(value):
        raise DtypeError(
            f"{function}: {name} is a {quoted(library(value))} array; expected a numpy array, as x is"
        )
    if xp is not np and is_foreign(value) and namespace(value, function) is not xp:
        raise DtypeError(
            f"{function}: {name} is a {quoted(library(value))} array; "
            f"expected a {quoted(library(x))} array, as x is"
        )
    if xp is not np and not is_foreign(value):
        value = xp.asarray(to_numpy(function, name, value), device=device(x))
    return _floating(function, value, name)


def head_scores(function: str, head: Head, temperature: float = 1.0, softcap: float | None = None) -> Scores:
    """The scores that a head makes, for NumPy arrays: an array of their shape and dtype, in no memory."""
    dtypes = {a.dtype for a in (head.x, head.weight, head.bias) if a is not None}
    widest = _FLOAT64 if _FLOAT64 in dtypes else _FLOAT32  # what two kinds of 16 bits have in common
    dtype = dtypes.pop() if len(dtypes) == 1 else widest
    shape = (*head.x.shape[:-1], head.weight.shape[0])
    return scores(function, np.broadcast_to(np.zeros((), dtype), shape), -1, None, temperature, softcap)


def enough_memory(function: str, head: Head, needed: int) -> None:
    """Whether ``max_memory`` allows what the smallest plan needs."""
    if head.memory is not None and needed > head.memory:
        raise OptionError(
            f"{function}: max_memory is {head.memory}; expected at least {needed} bytes "
            f"for x of shape {_shape(head.x)} and weight of shape {_shape(head.weight)}"
        )


# --- several class axes -------------------------------------------------------------------------------------


class Axes(NamedTuple):
    """Several class axes brought to one, the last; and the way back."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]  # of the array before
    order: tuple[int, ...]  # the other axes, then the class axes

    def fold(self, x: Array) -> Array:
        """``x`` with its class axes as one last axis: a view where the strides allow it."""
        xp = namespace(x)
        rows = len(self.order) - len(self.axes)
        x = xp.permute_dims(x, self.order)
        classes = 1
        for n in x.shape[rows:]:
            classes *= n
        return xp.reshape(x, (*x.shape[:rows], classes))

    def unfold(self, y: Array) -> Array:
        """``y``, of the folded shape, in the shape of the array before."""
        xp = namespace(y)
        y = xp.reshape(y, tuple(self.shape[i] for i in self.order))
        return xp.permute_dims(y, tuple(self.order.index(i) for i in range(len(self.order))))

    def keep(self, y: Array) -> Array:
        """``y``, of the rows' shape, with every class axis kept as one of length 1."""
        return namespace(y).reshape(y, tuple(1 if i in self.axes else n for i, n in enumerate(self.shape)))


def axes(function: str, x: Any, where: Any, axis: Any) -> tuple[Array, Array | None, Axes]:
    """``x`` and ``where`` with the given class axes (a tuple, an int, or None for all) as one last axis."""
    x = _floating(function, x)
    form = folding(function, x, axis)
    return form.fold(x), None if where is None else form.fold(mask(function, x, where)), form


def folding(function: str, x: Array, axis: Any) -> Axes:
    """How the given class axes of ``x`` are brought to one."""
    if x.ndim == 0 and axis is None:  # one class
        return Axes((), (), ())
    if x.ndim == 0:
        _axis(function, x, -1)
    given = range(x.ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    chosen = tuple(sorted(_axis(function, x, a) for a in given))
    if not chosen or len(set(chosen)) != len(chosen):
        raise OptionError(f"{function}: axis is {shown(axis)}; expected one or more different axes")
    rows = tuple(i for i in range(x.ndim) if i not in chosen)
    return Axes(chosen, tuple(x.shape), (*rows, *chosen))


# --- targets ------------------------------------------------------------------------------------------------


def without_targets(scores: Scores) -> Problem:
    """The problem of row statistics that need no targets."""
    return Problem(scores, None, 1.0, "none")


def with_targets(scores: Scores, backend: Totals, given: Given, options: Said) -> Problem:
    """The problem of a loss, its targets checked; ``backend`` looks through the class indices."""
    function, x, axis, _, _, _ = scores
    _, _, ignore_index, label_smoothing, _, _, z_loss, reduction, denominator, shift = options
    targets, class_weight, sample_weight = given
    shape = x.shape
    rows = shape[:axis] + shape[axis + 1 :]
    kind = "index"
    if (
        type(targets) is not _ndarray
        or type(x) is not _ndarray
        or not (targets.dtype is _INT64 or (targets.dtype.kind in "iu" and targets.dtype.isnative))
        or targets.shape != rows
        or not targets.flags.aligned
    ):
        targets, kind = _targets(scores, rows, targets)
    dense = kind == "dense"
    if dense and type(scores) is WholeScores:
        not_exchanged(function, x, axis, targets)
    if dense or type(ignore_index) is not int or not -_LIMIT <= ignore_index < _LIMIT:
        ignore_index = _ignore_index(function, ignore_index, dense)
    if class_weight is not None:
        class_weight = _class_weight(scores, class_weight)
    if sample_weight is not None:
        sample_weight = _sample_weight(scores, rows, sample_weight)
    if type(shift) is not int or shift != 0:
        shift = shift_of(function, rows, shift)
        targets, sample_weight = _shifted(scores, rows, targets, sample_weight, shift)
    on, off = 1.0, 0.0
    if type(label_smoothing) is not float or label_smoothing != 0.0:
        smoothing = _number(function, "label_smoothing", label_smoothing, high=1.0)
        on, off = 1.0 - smoothing, smoothing / shape[axis]
    if type(z_loss) is not float or z_loss != 0.0:
        z_loss = _number(function, "z_loss", z_loss)
    if reduction != "mean" and reduction not in _REDUCTIONS:
        raise OptionError(_bad_reduction(function, reduction))
    checked = _new(Targets, (kind, targets, on, off, class_weight, sample_weight, ignore_index, z_loss))
    total: Any = 1.0
    mean = reduction == "mean" and denominator is None
    if mean or not dense or is_integral(namespace(targets), targets):
        position, total = backend.target_totals(scores, checked, mean)
        if position >= 0:
            bad = _bad_row if dense else _bad_target
            raise TargetError(bad(scores, rows, checked, position, shift))
    if kind == "sparse":
        _check_probabilities(scores, checked, shift)
    if denominator is not None:
        if reduction != "mean":
            raise OptionError(
                f"{function}: denominator is {shown(denominator)}; "
                f"expected None with reduction={shown(reduction)}"
            )
        total = _number(function, "denominator", denominator)
        if 0.0 < total < LEAST:
            raise OptionError(
                f"{function}: denominator is {total}; expected 0, or a finite number of at least {LEAST:g}"
            )
    elif mean and not _divides(total):
        found = f"{total:g}" if isinstance(total, float) else str(total)
        raise OptionError(
            f"{function}: class_weight and sample_weight add up to {found}; "
            f"expected 0, or a finite sum of at least {LEAST:g}"
        )
    if reduction != "mean":
        return _new(Problem, (scores, checked, 1.0, reduction))
    return _new(Problem, (scores, checked, _scale(total), reduction))


def _divides(total: Any) -> bool:
    """Whether a sum of weights can be divided by; 0 and NaN have a meaning of their own."""
    if isinstance(total, float):
        return total == 0.0 or LEAST <= total < inf or total != total
    return truth((total == 0.0) | ((total >= LEAST) & (total < inf)) | (total != total)) is not False


def _scale(total: Any) -> Any:
    """1 / total, and 0 of 0."""
    if isinstance(total, float):
        return 1.0 / total if total else 0.0
    xp = namespace(total)
    nothing = total == 0
    return xp.where(nothing, 0.0, 1.0 / xp.where(nothing, 1.0, total))


def _targets(scores: Scores, rows: tuple[int, ...], targets: Any) -> tuple[Any, str]:
    """The targets in the form of their kind, and this."""
    function, x = scores.function, scores.array
    if is_top_k(targets):
        return _top_k(scores, rows, *targets), "sparse"
    xp = namespace(x)
    targets = _like(xp, function, "targets", targets, x)
    kind = _kind(xp, targets.dtype)
    if xp is np:
        if kind == "f" and targets.size == 0 and targets.shape == rows:
            targets, kind = targets.astype(np.int64), "i"  # [] has no dtype of its own
        elif kind == "f" and not _is_float(targets.dtype):
            targets = targets.astype(np.float64)
        targets = _native_form(targets)
    if kind not in "biuf":
        raise unfit(function, "targets", targets, targets.dtype)
    if tuple(targets.shape) == tuple(x.shape):
        return targets, "dense"
    if tuple(targets.shape) != tuple(rows):
        raise ShapeError(_bad_target_shape(scores, rows, tuple(targets.shape)))
    if kind in "bf":
        remedy, holds = "use targets.astype(np.int64)" if xp is np else "convert them to int64", ""
        if xp is np and kind == "f" and np.isnan(targets.astype(np.float64)).any():
            remedy = "use np.where(np.isnan(targets), -100, targets).astype(np.int64)"
            holds = " and holds NaN"
        rule = "expected integers as class indices"
        raise DtypeError(f"{function}: targets is of dtype {quoted(targets.dtype)}{holds}; {rule}; {remedy}")
    return targets, "index"


def not_exchanged(function: str, whole: Array, axis: int, targets: Array) -> None:
    """Refuse one-hot rows of integers as scores where the targets are floats: they may be swapped."""
    xp, name = namespace(whole), name_of(function)
    if 0 in whole.shape or whole.shape[axis] == 1 or is_integral(namespace(targets), targets):
        return
    if truth(xp.all(one_hot(xp, whole, axis))):
        raise TargetError(
            f"{function}: {name} is one-hot rows of integers, and targets is of dtype {targets.dtype}; "
            f"expected {name} first, then targets; swapped? else pass {name} as floats"
        )


def _bad_target_shape(scores: Scores, rows: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Which shapes fit, and what the usual slip was."""
    function, axis, full = scores.function, scores.axis, tuple(scores.array.shape)
    name = name_of(function)
    fits = [i for i in range(len(full)) if full[:i] + full[i + 1 :] == shape and i != axis]
    remedy = ""
    if fits and not function.startswith("linear"):  # a linear head has its classes last
        remedy = f"; they fit axis={fits[0]}: is that the class axis of {name}?"
    elif rows == () and shape == (1,):
        remedy = "; pass the class alone: targets[0]"
    elif shape == (*rows, 1):
        remedy = "; drop the last axis: targets[..., 0]"
    elif any(shape[:i] + shape[i + 1 :] == full for i in range(len(shape))):
        remedy = f"; swapped? {name} comes first"
    elif sorted(shape) == sorted(full):
        remedy = f"; are they transposed? the class axis of {name} is {axis}"
    elif len(shape) == len(full) and shape[:axis] + shape[axis + 1 :] == rows:
        remedy = f"; {name} has {full[axis]} classes, targets has {shape[axis]}"
    return (
        f"{function}: targets is of shape {_shape(shape)}; expected {_shape(rows)} for class indices "
        f"or {_shape(full)} for dense targets{remedy}"
    )


def _bad_target(scores: Scores, rows: tuple[int, ...], targets: Targets, position: int, shift: int) -> str:
    """The first class index that is none, and what the usual slip was."""
    sparse = targets.kind == "sparse"
    indices, name = (targets.array.indices, "targets[0]") if sparse else (targets.array, "targets")
    xp, classes, ignore = namespace(indices), scores.array.shape[scores.axis], targets.ignore_index
    flat = xp.reshape(indices, (-1,))
    value = int(flat[position])
    seen = np.asarray(flat if _on_cpu(flat) else [value])
    seen = seen if ignore is None else seen[seen != ignore]
    remedy = ""
    if value == -1:
        remedy = f"; to leave such {'entries' if sparse else 'rows'} out pass ignore_index=-1"
    elif classes == 1 and seen.max() == 1 and seen.min() == 0:
        remedy = _two_columns(scores.function)
    elif seen.max() == classes and seen.min() >= 1:
        remedy = "; labels start at 1? subtract 1"
    argument = _element(name, position, indices.shape, len(rows) - 1, shift)
    ignored = "" if ignore is None else f" or ignore_index={ignore}"
    return f"{scores.function}: {argument} is {value}; expected a class in [0, {classes}){ignored}{remedy}"


def _two_columns(function: str) -> str:
    """What to do about one score for two classes."""
    name, columns = {
        "log_loss": ("probs", "1 - p, p"),
        "nll_loss": ("log_probs", "log(1 - p), log(p)"),
    }.get(function, ("logits", "0, x"))
    return f"; two classes need two columns of {name}: [{columns}]"


def _bad_row(scores: Scores, rows: tuple[int, ...], targets: Targets, position: int, shift: int) -> str:
    """The first row of integers that is not one-hot, and what the usual slip was."""
    function, axis, q = scores.function, scores.axis, targets.array
    xp, place = namespace(q), [int(i) for i in np.unravel_index(position, rows)]
    index = (*place[:axis], slice(None), *place[axis:])
    row = q[index]
    ones, zeros = int(xp.sum(cast(xp, row == 1, xp.int32))), int(xp.sum(cast(xp, row == 0, xp.int32)))
    if ones + zeros < row.shape[0]:
        wrong = xp.reshape(cast(xp, (row != 0) & (row != 1), xp.int8), (-1,))
        what = f"holds {int(row[int(xp.argmax(wrong))])}"
        remedy = "; class indices have one axis fewer, probabilities are floats"
    elif ones:
        what = f"is 1 for {ones} classes"
        remedy = "; for several labels in a row use a binary loss of each class"
    else:
        what = "is 0 for all classes"
        remedy = "; to leave such rows out give them a sample_weight of 0"
    if not rows or row.shape[0] == 1:
        remedy = _two_columns(function)
    if rows:
        place[-1] += shift
    shown = [*map(str, place[:axis]), ":", *map(str, place[axis:])]
    if axis == len(rows):
        shown.pop()
    argument = f"targets[{', '.join(shown)}]" if rows else "targets"
    return (
        f"{function}: {argument} {what}; expected a one-hot row, since targets is of dtype {q.dtype} "
        f"and of the shape of {name_of(function)}{remedy}"
    )


def shift_of(function: str, rows: tuple[int, ...], shift: Any) -> int:
    """How many positions further on the targets lie."""
    try:
        places = operator.index(shift)
    except TypeError:
        places = -1
    if places < 0:
        raise OptionError(f"{function}: shift is {shown(shift)}; expected an int of 0 or more")
    if places and not rows:
        raise ShapeError(f"{function}: shift is {places}; expected 0 for a single row, which has no position")
    return places


def _shifted(
    scores: Scores, rows: tuple[int, ...], targets: Any, sample_weight: Array | None, shift: int
) -> tuple[Any, Array | None]:
    """Targets and sample weights of the rows ``shift`` positions further on, and 0 at the end."""
    if shift == 0 or not rows:
        return targets, sample_weight
    xp = namespace(scores.array)
    if sample_weight is None:
        sample_weight = xp.ones(rows, dtype=xp.float32, device=device(scores.array))
    axis = len(rows) - 1
    sample_weight = later(xp, sample_weight, axis, shift)
    if isinstance(targets, TopK):
        return TopK(*(None if a is None else later(xp, a, axis, shift) for a in targets)), sample_weight
    return later(xp, targets, axis, shift), sample_weight


def later(xp: Any, a: Array, axis: int, shift: int) -> Array:
    """What lies ``shift`` places further along an axis, and zeros after its end."""
    found = a[(slice(None),) * axis + (slice(shift, None), ...)]
    missing = (*a.shape[:axis], a.shape[axis] - found.shape[axis], *a.shape[axis + 1 :])
    return xp.concat([found, xp.zeros(missing, dtype=a.dtype, device=device(a))], axis=axis)


# --- shards of the classes ----------------------------------------------------------------------------------


class Shard(NamedTuple):
    """Targets of a shard, in the terms of its own classes: what `with_targets` takes."""

    first: int  # the shard's first class among all
    targets: Any  # indices of other shards and ignored ones are `ELSEWHERE`, to be ignored
    sample_weight: Any  # 0 in ignored rows
    ignore_index: int | None


ELSEWHERE = -1  # the index of a class that another shard holds


def class_offset(function: str, offset: Any, target_logits: Any = None, index: bool = True) -> int:
    """The first class of a shard, checked; ``target_logits`` go with it, and with index targets."""
    if offset is None or (target_logits is not None and not index):
        rule = "None without class_offset" if offset is None else "None without index targets"
        raise OptionError(f"{function}: target_logits is given; expected {rule}")
    try:
        first = operator.index(offset)
    except TypeError:
        first = -1
    if not 0 <= first < _LIMIT:
        raise OptionError(f"{function}: class_offset is {shown(offset)}; expected an int of 0 or more")
    return first


def shard(
    scores: Scores, first: int, targets: Any, sample_weight: Any, ignore_index: Any, label_smoothing: Any
) -> Shard:
    """The targets of a call whose scores are those of the classes from ``first`` on."""
    function, x = scores.function, scores.array
    rows = x.shape[: scores.axis] + x.shape[scores.axis + 1 :]
    if _number(function, "label_smoothing", label_smoothing, high=1.0):
        raise no_smoothing(function, label_smoothing)
    targets, kind = _targets(scores, rows, targets)
    ignore_index = _ignore_index(function, ignore_index, kind == "dense")
    if kind == "dense":
        if is_integral(namespace(x), targets):  # a part of a one-hot row is one-hot or 0
            targets = wide(namespace(x), targets)
        return Shard(first, targets, sample_weight, -100)
    if sample_weight is not None:
        sample_weight = _sample_weight(scores, rows, sample_weight)
    if kind == "sparse" and targets.rest is not None:
        raise OptionError(
            f"{function}: targets[2] is not 0; expected no rest with class_offset: "
            "it depends on how many classes all shards have"
        )
    xp = namespace(x)
    y = _int64(xp, targets.indices if kind == "sparse" else targets)
    local, ignored = own_indices(xp, y, first, x.shape[scores.axis], ignore_index)
    bad = xp.reshape((y < 0) & ~ignored, (-1,))
    if truth(xp.any(bad)):
        place = int(xp.argmax(cast(xp, bad, xp.int8)))
        name = _element("targets[0]" if kind == "sparse" else "targets", place, y.shape)
        rule = "a class of 0 or more" + ("" if ignore_index is None else f" or ignore_index={ignore_index}")
        raise TargetError(f"{function}: {name} is {int(xp.reshape(y, (-1,))[place])}; expected {rule}")
    if kind == "sparse":
        return Shard(first, (local, targets.probabilities), sample_weight, ELSEWHERE)
    ones = xp.ones(rows, dtype=xp.float32, device=device(x)) if sample_weight is None else sample_weight
    return Shard(first, local, xp.where(ignored, xp.zeros_like(ones), ones), ELSEWHERE)


def no_smoothing(function: str, label_smoothing: Any) -> OptionError:
    """What is wrong with smoothed targets of a shard."""
    return OptionError(
        f"{function}: label_smoothing is {label_smoothing}; expected 0 with class_offset: "
        "it depends on how many classes all shards have"
    )


def own_indices(xp: Any, y: Any, first: int, classes: int, ignore_index: int | None) -> tuple[Any, Any]:
    """Class indices counted from ``first``, `ELSEWHERE` for those of other shards; and which are ignored."""
    ignored = y != y if ignore_index is None else y == ignore_index
    own = (y >= first) & (y - first < classes) & ~ignored
    return xp.where(own, y - first, xp.full_like(y, ELSEWHERE)), ignored


def shard_indices(scores: Scores, targets: Any) -> Array:
    """Class indices among all classes as int64, in the rows' shape."""
    rows = scores.array.shape[: scores.axis] + scores.array.shape[scores.axis + 1 :]
    return _int64(namespace(scores.array), _targets(scores, rows, targets)[0])


def _int64(xp: Any, y: Array) -> Array:
    """Class indices as int64; one beyond it stays beyond every class."""
    if y.dtype == getattr(xp, "uint64", None):
        y = xp.where(y > _LIMIT - 1, xp.asarray(_LIMIT - 1, dtype=y.dtype), y)
    return cast(xp, y, integer(xp))


def target_logits(scores: Scores, value: Any) -> Array:
    """The logit of each row's target, in the rows' shape."""
    function, x = scores.function, scores.array
    rows = x.shape[: scores.axis] + x.shape[scores.axis + 1 :]
    value = _floats(scores, "target_logits", value)
    return _of_rows(function, "target_logits", value, rows, "one logit for each row")


# --- top-k targets ------------------------------------------------------------------------------------------


def is_top_k(targets: Any) -> bool:
    """Whether targets are (indices, probabilities) or (indices, probabilities, rest).

    They are a tuple of two or three whose first is no number. A tuple of numbers holds class indices, as a
    list does.
    """
    if not isinstance(targets, tuple) or len(targets) not in (2, 3):
        return False
    first = targets[0]
    return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) > 0


def _top_k(scores: Scores, rows: tuple[int, ...], indices: Any, probabilities: Any, rest: Any = None) -> TopK:
    """Listed targets as arrays that fit the scores; their numbers are looked at later."""
    function, x = scores.function, scores.array
    if function in ("nll_loss", "log_loss"):
        raise DtypeError(
            f"{function}: targets is a tuple; expected class indices or probabilities of every class; "
            "those of a few are for cross_entropy"
        )
    xp = namespace(x)
    indices = _like(xp, function, "targets[0]", indices, x)
    kind = _kind(xp, indices.dtype)
    if xp is np:
        if indices.size == 0 and kind == "f":
            indices, kind = indices.astype(np.int64), "i"  # [] has no dtype of its own
        indices = _native_form(indices)
    if kind not in "iu":
        remedy = f"; {'use targets[0].astype(np.int64)' if xp is np else 'convert them to int64'}"
        raise DtypeError(
            f"{function}: targets[0] is of dtype {quoted(indices.dtype)}; expected integers as class indices"
            f"{remedy if kind in 'bf' else ''}"
        )
    if indices.ndim != len(rows) + 1 or tuple(indices.shape[:-1]) != tuple(rows):
        k = f"{_shape(rows)[:-1].rstrip(',')}, K)" if rows else "(K,)"
        raise ShapeError(
            f"{function}: targets[0] is of shape {_shape(indices)}; expected {k}, K classes for each row"
        )
    probabilities = _floats(scores, "targets[1]", probabilities)
    if tuple(probabilities.shape) != tuple(indices.shape):
        raise ShapeError(
            f"{function}: targets[1] is of shape {_shape(probabilities)}; "
            f"expected {_shape(indices)}, a probability for each index in targets[0]"
        )
    return TopK(indices, probabilities, None if rest is None else _rest(scores, rows, rest))


def _rest(scores: Scores, rows: tuple[int, ...], rest: Any) -> Array | None:
    """What the listed probabilities leave, one number a row; None where that is 0 in all of them."""
    function, xp = scores.function, namespace(scores.array)
    rest = _floats(scores, "targets[2]", rest)
    if 0 in rest.shape:
        return _of_rows(function, "targets[2]", rest, rows, "one number for each row")
    if _within(xp, rest, -ROUNDED) is False:
        _bad_element(function, "targets[2]", rest, rest >= -ROUNDED, "a finite number, 0 or more")
    if truth(xp.min(rest) >= 0) is not True:  # 1 less a sum of rounded probabilities
        rest = xp.where(rest < 0, xp.zeros_like(rest), rest)
    nothing = xp is np and not rest.any()
    rest = _of_rows(function, "targets[2]", rest, rows, "one number for each row")
    return None if nothing else rest


def _within(xp: Any, a: Array, low: float, high: float = inf) -> bool | None:
    """Whether all numbers are finite and from ``low`` to ``high``; None where they cannot be looked at."""
    if xp is np:
        return bool(a.min() >= low and (top := a.max()) <= high and top < inf)
    top = xp.max(a)
    return truth((xp.min(a) >= low) & (top <= high) & (top < inf))


def _check_probabilities(scores: Scores, targets: Targets, shift: int) -> None:
    """Whether each is finite and not negative, but for those of ignored entries."""
    indices, p, _ = targets.array
    xp = namespace(p)
    if 0 in p.shape or _within(xp, p, 0.0) is not False:
        return
    counts = indices == indices if targets.ignore_index is None else indices != targets.ignore_index
    good = (p >= 0) | ~counts
    if truth(xp.all(good & ((p < inf) | ~counts))) is False:
        p = xp.where(counts, p, 0)
        places, rule = (p.ndim - 2, shift), "a finite probability, 0 or more"
        if xp.all((p < 0) | ~counts):
            rule += "; log-probabilities? pass np.exp(targets[1]), or of a tensor targets[1].exp()"
        _bad_element(scores.function, "targets[1]", p, good, rule, *places)


def _ignore_index(function: str, ignore_index: Any, dense: bool) -> int | None:
    if ignore_index is None:
        return None
    try:
        index = operator.index(ignore_index)
    except TypeError:
        index = _LIMIT
    if not -_LIMIT <= index < _LIMIT:
        raise OptionError(
            f"{function}: ignore_index is {shown(ignore_index)}; expected an int of 64 bits or None"
        )
    if not dense:
        return index
    if index != -100:
        raise OptionError(
            f"{function}: ignore_index is {index}; expected no such option with dense targets; "
            "leave rows out with sample_weight=0"
        )
    return None


def _class_weight(scores: Scores, weight: Any) -> Array:
    function, classes = scores.function, scores.array.shape[scores.axis]
    weight = _weight(scores, "class_weight", weight)
    if tuple(weight.shape) != (classes,):
        raise ShapeError(
            f"{function}: class_weight is of shape {_shape(weight)}; "
            f"expected ({classes},), one weight for each class"
        )
    return weight


def _sample_weight(scores: Scores, rows: tuple[int, ...], weight: Any) -> Array:
    weight = _weight(scores, "sample_weight", weight)
    return _of_rows(scores.function, "sample_weight", weight, rows, "one weight for each row")


def _of_rows(function: str, name: str, value: Array, rows: tuple[int, ...], rule: str) -> Array:
    """``value`` in the rows' shape."""
    if tuple(value.shape) == tuple(rows):
        return value
    try:
        return namespace(value).broadcast_to(value, rows)
    except (ValueError, RuntimeError):
        raise ShapeError(
            f"{function}: {name} is of shape {_shape(value)}; expected {_shape(rows)}, {rule}"
        ) from None


def _weight(scores: Scores, name: str, weight: Any) -> Array:
    """Weights as float32 or float64, each finite and not negative."""
    function, xp = scores.function, namespace(scores.array)
    weight = _floats(scores, name, weight)
    if 0 in weight.shape or _within(xp, weight, 0.0, MOST) is not False:
        return weight
    if xp.all((weight >= 0) & (weight < inf)):
        _bad_element(function, name, weight, weight <= MOST, f"a weight of at most {MOST:g}")
    _bad_element(function, name, weight, weight >= 0, "a finite weight, 0 or more")


def _floats(scores: Scores, name: str, value: Any) -> Array:
    """``value`` as an array of float32 or float64, of the scores' library."""
    function, xp = scores.function, namespace(scores.array)
    if isinstance(value, dict):
        raise unfit(function, name, value, None)
    value = _like(xp, function, name, value, scores.array)
    dtype = value.dtype
    if _kind(xp, dtype) not in "biuf":
        raise unfit(function, name, value, dtype)
    if xp is not np:
        return value if dtype in (xp.float32, xp.float64) else xp.astype(value, xp.float32)
    if not (dtype is _FLOAT64 or dtype is _FLOAT32) or not value.flags.aligned:
        single = dtype.name in ("float16", "bfloat16", "float32")
        value = value.astype(_FLOAT32 if single else _FLOAT64)
    return value


def _bad_element(
    function: str, name: str, value: Array, good: Array, rule: str, axis: int = 0, shift: int = 0
) -> NoReturn:
    """The first number that is not ``good`` and finite."""
    xp = namespace(value)
    good = xp.reshape(good & (value < inf), (-1,))
    first = int(xp.argmin(cast(xp, good, xp.int8)))
    number = float(xp.reshape(value, (-1,))[first])
    argument = _element(name, first, value.shape, axis, shift)
    raise OptionError(f"{function}: {argument} is {number}; expected {rule}")


def _element(name: str, position: int, shape: Any, axis: int = 0, shift: int = 0) -> str:
    """What an element is called, ``name[i, j]`` for a flat position; ``shift``: so much further on."""
    if not len(shape):
        return name
    place = [int(i) for i in np.unravel_index(position, tuple(shape))]
    place[axis] += shift
    return f"{name}[{', '.join(map(str, place))}]"


# --- small checks -------------------------------------------------------------------------------------------


def top(scores: Scores, k: Any) -> int:
    """``k`` of top-k, checked."""
    classes = scores.array.shape[scores.axis]
    try:
        count = operator.index(k)
    except TypeError:
        raise OptionError(f"{scores.function}: k is {shown(k)}; expected an int in [1, {classes}]") from None
    if not 1 <= count <= classes:
        raise OptionError(
            f"{scores.function}: k is {count}; expected 1 <= k <= {classes}, the number of classes"
        )
    return count


def _number(function: str, name: str, value: Any, *, high: float = inf, strict: bool = False) -> float:
    """A finite number, 0 or more (``strict``: above 0)."""
    if getattr(value, "requires_grad", False):  # tensors that are differentiated have a way of their own
        raise OptionError(
            f"{function}: {name} is a tensor that requires a gradient; expected a number; "
            f"write {name}.detach()"
        )
    try:
        number = float("nan" if isinstance(value, str) else value)
    except (TypeError, ValueError, RuntimeError):
        number = -inf
    if 0.0 <= number <= high and number < inf and not (strict and number < LEAST):
        return number
    if strict and 0.0 < number < LEAST:
        raise OptionError(f"{function}: {name} is {number}; expected a finite number of at least {LEAST:g}")
    bad_number(function, name, value, high, strict)


def bad_number(function: str, name: str, value: Any, high: float, strict: bool) -> NoReturn:
    """What is wrong with a number option."""
    given = repr(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    if getattr(value, "ndim", 1) == 0:
        given = str(value)
    bounds = f"in [0, {high:g}]" if high < inf else "above 0" if strict else "of 0 or more"
    raise OptionError(f"{function}: {name} is {quoted(given)}; expected a finite number {bounds}")


def _bad_reduction(function: str, reduction: Any) -> str:
    near = {"avg": "mean", "average": "mean", "batchmean": "mean", "total": "sum"}
    text = str(reduction).strip().lower()
    meant = near.get(text, text)
    remedy = f"; did you mean {shown(meant)}?" if meant in _REDUCTIONS else ""
    return f"{function}: reduction is {shown(reduction)}; expected 'mean', 'sum' or 'none'{remedy}"


def unfit(function: str, name: str, value: Any, dtype: Any) -> DtypeError:
    """What is wrong with an argument that holds no real numbers."""
    if name == "targets":
        remedy = f"; {_LABELS}" if getattr(dtype, "kind", "-") in "OSUTMm" else ""
        rule = "expected class indices or probabilities"
        return DtypeError(f"{function}: targets is of dtype {quoted(dtype)}; {rule}{remedy}")
    if isinstance(value, dict):
        rule = "expected an array, one weight for each class in order"
        return DtypeError(f"{function}: {name} is a dict; {rule}")
    return DtypeError(f"{function}: {name} is of dtype {quoted(dtype)}; expected real numbers")


def unknown_head(function: str, owner: str, head: Any) -> DtypeError:
    """What is wrong with a layer that is no linear head, or not only that."""
    if head is None:
        return DtypeError(f"{function}: {owner} is None; expected a torch.nn.Linear")
    name, module = type(head).__name__, type(head).__module__
    if name == "Linear" and not module.startswith("torch."):  # another layer of this name
        name = f"{module}.{name}"
    kind = f"a {quoted(name)}"
    kind += " whose forward is replaced" if "forward" in getattr(head, "__dict__", {}) else ""
    remedy = f"; call {function} before get_peft_model" if hasattr(head, "base_layer") else ""
    return DtypeError(f"{function}: {owner} is {kind}; expected a torch.nn.Linear{remedy}")


def check_defer(function: str, defer: Any) -> None:
    """Raise unless ``defer`` says when logits are deferred."""
    if defer not in ("training", "always", "never"):
        raise OptionError(
            f"{function}: defer is {shown(defer)}; expected 'training' (only where a graph is recorded), "
            "'always' or 'never'"
        )


def _like(xp: Any, function: str, name: str, value: Any, scores: Array) -> Array:
    """``value`` as an array of the scores' library."""
    if xp is np:
        return to_numpy(function, name, value)
    if not is_foreign(value):
        return xp.asarray(to_numpy(function, name, value), device=device(scores))
    if namespace(value, function) is xp:
        return value
    raise DtypeError(
        f"{function}: {name} is a {quoted(library(value))} array; "
        f"expected a {quoted(library(scores))} array, as {name_of(function)} is"
    )


def _is_float(dtype: Any) -> bool:
    """Whether a NumPy dtype is one of the four floats, in either byte order."""
    return dtype.char in "efd" or (dtype.kind == "V" and (dtype.name == "bfloat16" or dtype == BFLOAT16))


def _kind(xp: Any, dtype: Any) -> str:
    """NumPy's letter for what a dtype holds: b(ool), i(nteger), u(nsigned), f(loat), or another."""
    if xp is np:
        return "f" if _is_float(dtype) else str(dtype.kind)
    kinds = (("b", "bool"), ("i", "integral"), ("f", "real floating"))
    return next((letter for letter, kind in kinds if xp.isdtype(dtype, kind)), "O")


def is_integral(xp: Any, a: Array) -> bool:
    """Whether an array holds integers or bools."""
    return _kind(xp, a.dtype) in "biu"


def _on_cpu(x: Array) -> bool:
    return is_foreign(x) is False or "cpu" in str(device(x) or "cpu").lower()


def name_of(function: str) -> str:
    """What the function calls its scores."""
    return _NAMES.get(function, "logits")


def _shape(x: Any) -> str:
    """A shape as Python writes it."""
    return str(tuple(int(n) for n in (x if isinstance(x, tuple) else x.shape)))
