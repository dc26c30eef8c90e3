"""Helpers for arrays of any library: namespaces, dtypes, devices. In: any array. Out: properties, arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import BackendError

__all__ = [
    "BFLOAT16",
    "Array",
    "ArrayT",
    "cast",
    "device",
    "from_bfloat",
    "integer",
    "is_foreign",
    "library",
    "namespace",
    "numbers",
    "overlaps_itself",
    "result_dtype",
    "to_bfloat",
    "truth",
    "wide",
    "widest",
]

Array = Any  # an array of any array-API library

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ArrayT = TypeVar("ArrayT", bound=Any, default=Any)  # the same, where the library is known
else:
    from typing import TypeVar

    ArrayT = TypeVar("ArrayT")

# NumPy has no bfloat16. A structured dtype marks 16 bits as bfloat16 without the package ml_dtypes.
BFLOAT16 = np.dtype([("bfloat16", np.uint16)])

# Libraries whose arrays do not name their namespace themselves; array-api-compat does it for them.
_WRAPPED = ("torch", "dask", "cupy", "jax", "jaxlib", "ndonnx", "sparse")


def is_foreign(x: Any) -> bool:
    """Whether ``x`` is an array of another library than NumPy; that library then computes the result."""
    kind = type(x)
    if kind is np.ndarray or kind is list or kind is tuple or isinstance(x, (np.ndarray, np.generic)):
        return False
    return hasattr(x, "__array_namespace__") or library(x) in _WRAPPED


def library(x: Any) -> str:
    """The top-level package that an array's type comes from."""
    return type(x).__module__.partition(".")[0]


def namespace(x: Any, function: str = "lastlayer") -> Any:
    """The array-API namespace of ``x``."""
    if not is_foreign(x):
        return np
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    try:
        import array_api_compat
    except ImportError:
        found = f"a {library(x)}.{type(x).__qualname__}"
        rule = "a NumPy array, or array-api-compat to be installed (pip install array-api-compat)"
        raise BackendError(function, "an argument", found, rule) from None
    return array_api_compat.array_namespace(x)


def result_dtype(xp: Any, dtype: Any) -> Any:
    """The dtype of losses and of lse for scores of this dtype: float64 for float64, else float32."""
    return xp.float64 if dtype == xp.float64 else xp.float32


def cast(xp: Any, x: Array, dtype: Any) -> Array:
    """``x`` in another dtype; NumPy arrays without axes become scalars, as NumPy's functions return them."""
    if xp is np:
        return np.asarray(x).astype(dtype, copy=False)[()]
    return xp.astype(x, dtype, copy=False)


def widest(xp: Any) -> Any:
    """The dtype to compute in: float64, or float32 in a library without it."""
    return xp.float64 if _has(xp, "float64") else xp.float32


def integer(xp: Any) -> Any:
    """The dtype of class indices: int64, or int32 in a library without it."""
    return xp.int64 if _has(xp, "int64") else xp.int32


def _has(xp: Any, name: str) -> bool:
    """Whether a library offers a dtype now: JAX has 64-bit dtypes only if they are enabled."""
    if xp is np:
        return True
    info = getattr(xp, "__array_namespace_info__", None)
    return hasattr(xp, name) if info is None else name in info().dtypes()


def truth(x: Array) -> bool | None:
    """The value of a bool array without axes; None if the array has no value yet, as while tracing."""
    try:
        return bool(x)
    except (TypeError, RuntimeError):  # raised by libraries for an array without values
        return None


def wide(xp: Any, x: Array) -> Array:
    """``x`` in the widest float."""
    return x.astype(np.float64) if xp is np else xp.astype(x, widest(xp))


def device(x: Array) -> Any:
    """The device of ``x``, as its library's functions take it; None if the library has no devices."""
    return getattr(x, "device", None)


def numbers(xp: Any, x: Array, count: int | None = None) -> Array:
    """0, 1, ..., ``count - 1`` on the device of ``x``; the default count is the length of its last axis."""
    return xp.arange(x.shape[-1] if count is None else count, dtype=integer(xp), device=device(x))


def overlaps_itself(shape: Any, strides: Any, size: int = 1) -> bool:
    """Whether some elements of an array of this shape and these strides share memory.

    ``size`` is the size of an element, in the unit of the strides.
    """
    if 0 in shape:
        return False
    steps = sorted((abs(step), n) for step, n in zip(strides, shape, strict=True) if n > 1)
    reach = size - 1
    for step, n in steps:
        if step <= reach:
            break
        reach += step * (n - 1)
    else:
        return False
    if steps[0][0] == 0:
        return True
    places = np.zeros(1, np.int64)  # compare the places of all elements: strides may interleave
    for step, n in steps:
        places = np.add.outer(places, step * np.arange(n)).reshape(-1)
    return bool((np.diff(np.sort(places)) < size).any())


def one_hot(xp: Any, q: Array, axis: int) -> Array:
    """Which rows are one-hot: a single 1, otherwise 0. Bools of the rows' shape."""
    ones = xp.sum(cast(xp, q == 1, integer(xp)), axis=axis)
    return (ones == 1) & xp.all((q == 0) | (q == 1), axis=axis)


def from_bfloat(bits: Any) -> Any:
    """The bits of bfloat16 numbers, as float32 numbers. For NumPy arrays."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bfloat(x: Any) -> Any:
    """The bits of the nearest bfloat16 numbers. For NumPy arrays."""
    x = x.astype(np.float32)
    bits = x.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)
