"""Convert arguments to arrays that backends can read, in the library of the scores, or raise an error."""

from __future__ import annotations

from math import inf
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from lastlayer.arrays import BFLOAT16, Array, cast, device, integer, is_foreign, library, namespace, truth
from lastlayer.errors import DtypeError, OptionError, ShapeError, Text, named

from .types import LIMIT, Scores
from .wording import element, name_of, of_shape, other_library, shape_text, unfit

__all__ = [
    "FLOAT32",
    "FLOAT64",
    "as_int64",
    "bad_element",
    "floating",
    "floats",
    "is_float",
    "is_integral",
    "kind_of",
    "like",
    "mask",
    "native_form",
    "of_rows",
    "on_cpu",
    "to_numpy",
    "within",
]

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
_NUMBERS = "an array of numbers"
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def floating(function: str, x: Any, name: str = "") -> Array:
    """``x`` as a floating-point array that backends can read."""
    name = name or name_of(function)
    if is_foreign(x):
        xp = namespace(x, function)
        if xp.isdtype(x.dtype, "real floating"):
            return x
        if xp.isdtype(x.dtype, ("bool", "integral")):
            return xp.astype(x, xp.asarray(0.0).dtype)
        raise DtypeError(function, name, f"of dtype {x.dtype}", "real numbers")
    x = to_numpy(function, name, x)
    dtype = x.dtype
    if is_float(dtype):
        return native_form(x)
    if dtype.kind in "biu":
        return x.astype(np.float64)
    remedy: str | Text = "use " + named(name) + ".astype(np.float64)"
    if dtype.kind == "c":
        remedy = "use " + named(name) + ".real or abs(" + named(name) + ")"
    elif dtype.kind in "SU":
        remedy = ""
    rule = f"{', '.join(_FLOATS)}, integers or bools"
    raise DtypeError(function, name, f"of dtype {dtype}", rule, remedy)


def to_numpy(function: str, name: str, x: Any) -> Any:
    """``x`` as a plain NumPy array."""
    if type(x) is ndarray:
        return x
    if isinstance(x, np.ma.MaskedArray):
        rule = "a plain one: " + named(name) + ".data, with its mask in where= or sample_weight="
        raise DtypeError(function, name, "a masked array", rule)
    if x is None:
        raise DtypeError(function, name, "None", _NUMBERS)
    try:
        found = np.from_dlpack(x) if _has_only_dlpack(x) else np.asarray(x)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        _no_array(function, name, x, error)
    if found.ndim == 0 and found.dtype == object and not isinstance(x, (dict, np.ndarray, np.generic)):
        _no_array(function, name, x)
    return found


def _has_only_dlpack(x: Any) -> bool:
    """Whether DLPack is the only protocol by which the numbers of ``x`` can be read."""
    if not hasattr(x, "__dlpack__"):
        return False
    return not (hasattr(x, "__array__") or hasattr(x, "__array_interface__"))


def _no_array(function: str, name: str, x: Any, error: Exception | None = None) -> NoReturn:
    """Refuse an argument that cannot become an array; ``error`` is NumPy's error, if it raised one."""
    argument, found, remedy = named(name), f"a {type(x).__name__}", Text(())
    if library(x) == "torch":
        found = f"a tensor of {x.dtype} on {x.device}"
        write = ".float()" if "cpu" in str(x.device) else ".cpu()"
        if getattr(x, "requires_grad", False):
            found, write = "a tensor that requires grad", ".detach()"
        remedy = "write " + argument + write
    elif isinstance(x, (list, tuple)):
        if not any(library(part) == "torch" for part in x):
            found = f"{found} that makes no array"
            raise ShapeError(function, name, found, "rows of equal length") from error
        found, remedy = f"{found} of tensors", "write torch.stack(" + argument + ")"
    elif hasattr(x, "__iter__") and not hasattr(x, "__dlpack__"):
        remedy = "write list(" + argument + ")"
    raise DtypeError(function, name, found, _NUMBERS, remedy) from error


def native_form(x: Any) -> Any:
    """``x`` aligned and in native byte order: itself, or a copy."""
    if not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x if x.flags.aligned else x.copy()


def mask(function: str, x: Array, where: Any) -> Array:
    """``where`` as a bool array of the shape of ``x``."""
    xp = namespace(x)
    where = like(xp, function, "where", where, x)
    if where.dtype != (np.bool_ if xp is np else xp.bool):
        raise DtypeError(function, "where", f"of dtype {where.dtype}", "bools, True for possible classes")
    if where.shape == x.shape:
        return where
    try:
        return xp.broadcast_to(where, x.shape)
    except (ValueError, RuntimeError):
        rule = f"a shape that broadcasts to {shape_text(x)}"
        raise ShapeError(function, "where", of_shape(where), rule) from None


def as_int64(xp: Any, y: Array) -> Array:
    """Class indices as int64; a uint64 index above its range becomes the largest int64, which is no class."""
    if y.dtype == getattr(xp, "uint64", None):
        y = xp.where(y > LIMIT - 1, xp.asarray(LIMIT - 1, dtype=y.dtype), y)
    return cast(xp, y, integer(xp))


def within(xp: Any, a: Array, low: float, high: float = inf) -> bool | None:
    """Whether all numbers are finite and in [low, high]; None if the values are not known (traced)."""
    if xp is np:
        return bool(a.min() >= low and (top := a.max()) <= high and top < inf)
    top = xp.max(a)
    return truth((xp.min(a) >= low) & (top <= high) & (top < inf))


def of_rows(function: str, name: str, value: Array, rows: tuple[int, ...], rule: str) -> Array:
    """``value`` broadcast to the shape of the rows."""
    if tuple(value.shape) == tuple(rows):
        return value
    try:
        return namespace(value).broadcast_to(value, rows)
    except (ValueError, RuntimeError):
        raise ShapeError(function, name, of_shape(value), f"{shape_text(rows)}, {rule}") from None


def floats(scores: Scores, name: str, value: Any) -> Array:
    """``value`` as an array of float32 or float64, in the library of the scores."""
    function, xp = scores.function, namespace(scores.array)
    if isinstance(value, dict):
        unfit(function, name, value, None)
    value = like(xp, function, name, value, scores.array)
    dtype = value.dtype
    if kind_of(xp, dtype) not in "biuf":
        unfit(function, name, value, dtype)
    if xp is not np:
        return value if dtype in (xp.float32, xp.float64) else xp.astype(value, xp.float32)
    if not (dtype is FLOAT64 or dtype is FLOAT32) or not value.flags.aligned:
        single = dtype.name in ("float16", "bfloat16", "float32")
        value = value.astype(FLOAT32 if single else FLOAT64)
    return value


def bad_element(
    function: str, name: str, value: Array, good: Array, rule: str | Text, remedy: str | Text = "",
    axis: int = 0, shift: int = 0,
) -> NoReturn:  # fmt: skip
    """Refuse ``value``, naming its first element that is not ``good`` or is infinite."""
    xp = namespace(value)
    good = xp.reshape(good & (value < inf), (-1,))
    first = int(xp.argmin(cast(xp, good, xp.int8)))
    number = float(xp.reshape(value, (-1,))[first])
    argument = element(name, first, value.shape, axis, shift)
    raise OptionError(function, argument, f"{number}", rule, remedy)


def like(xp: Any, function: str, name: str, value: Any, scores: Array) -> Array:
    """``value`` as an array of the library of the scores."""
    if xp is np:
        return to_numpy(function, name, value)
    if not is_foreign(value):
        return xp.asarray(to_numpy(function, name, value), device=device(scores))
    if namespace(value, function) is xp:
        return value
    other_library(function, name, value, library(scores))


def is_float(dtype: Any) -> bool:
    """Whether a NumPy dtype is float16, bfloat16, float32 or float64, in either byte order."""
    return dtype.char in "efd" or (dtype.kind == "V" and (dtype.name == "bfloat16" or dtype == BFLOAT16))


def kind_of(xp: Any, dtype: Any) -> str:
    """NumPy's letter for the kind of a dtype: b(ool), i(nteger), u(nsigned), f(loat), or another."""
    if xp is np:
        return "f" if is_float(dtype) else str(dtype.kind)
    kinds = (("b", "bool"), ("i", "integral"), ("f", "real floating"))
    return next((letter for letter, kind in kinds if xp.isdtype(dtype, kind)), "O")


def is_integral(xp: Any, a: Array) -> bool:
    """Whether an array holds integers or bools."""
    return kind_of(xp, a.dtype) in "biu"


def on_cpu(x: Array) -> bool:
    """Whether an array is in CPU memory, so that its numbers can be read without a transfer."""
    return is_foreign(x) is False or "cpu" in str(device(x) or "cpu").lower()
