"""Which library an array belongs to. In: any array. Out: its array-API namespace."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import BackendError

__all__ = ["Array", "cast", "is_foreign", "namespace", "result_dtype"]

Array = Any  # an array of any array-API library

# Libraries whose arrays do not name their namespace themselves; array-api-compat does it for them.
_WRAPPED = ("torch", "dask", "cupy", "jax", "jaxlib", "ndonnx", "sparse")


def is_foreign(x: Any) -> bool:
    """Whether ``x`` is an array of another library than NumPy: computed by it and returned as its kind."""
    if isinstance(x, (np.ndarray, np.generic)):
        return False
    return hasattr(x, "__array_namespace__") or type(x).__module__.partition(".")[0] in _WRAPPED


def namespace(x: Any, function: str = "lastlayer") -> Any:
    """The array-API namespace of ``x``."""
    if not is_foreign(x):
        return np
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    try:
        import array_api_compat
    except ImportError:
        kind = f"{type(x).__module__.partition('.')[0]}.{type(x).__qualname__}"
        raise BackendError(
            f"{function}: an argument is a {kind}; expected a NumPy array, or array-api-compat to be "
            "installed (pip install array-api-compat)"
        ) from None
    return array_api_compat.array_namespace(x)


def result_dtype(xp: Any, dtype: Any) -> Any:
    """The dtype of losses and log-sums for scores of this dtype: float64 for float64, float32 for the rest."""
    return xp.float64 if dtype == xp.float64 else xp.float32


def cast(xp: Any, x: Array, dtype: Any) -> Array:
    """``x`` in another dtype; NumPy's arrays without axes become scalars, as everywhere in NumPy."""
    if xp is np:
        return np.asarray(x).astype(dtype, copy=False)[()]
    return xp.astype(x, dtype, copy=False)
