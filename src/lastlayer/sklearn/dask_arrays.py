"""Dask arrays as features. In: what the user gave. Out: chunks of rows, or predictions block by block.

Dask is not imported: who has an array of it has imported it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from lastlayer.errors import DtypeError, ShapeError

__all__ = ["dtype_of", "in_chunks_of_rows", "is_dask", "maps_blocks", "refuse_dask"]


def is_dask(x: Any) -> bool:
    """Whether x is a Dask array."""
    array = sys.modules.get("dask.array")
    return array is not None and isinstance(x, array.Array)


def refuse_dask(function: str, x: Any) -> None:
    """Raise where Dask's data would be gathered into memory behind the user's back."""
    if hasattr(x, "to_dask_array"):
        remedy = "use X.to_dask_array(lengths=True)"
        raise DtypeError(function, "X", f"a Dask {type(x).__name__}", "an array", remedy)
    if is_dask(x):
        other = (
            "SoftmaxClassifier" if function.endswith(".fit") else "X.map_blocks with a function of a block"
        )
        remedy = f"use X.compute(), or {other}"
        raise DtypeError(function, "X", "a Dask array", "an array in memory", remedy)


def maps_blocks(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that predicts take a Dask array: it then returns one, computed later, block by block."""

    @functools.wraps(method)
    def call(self: Any, X: Any) -> Any:  # noqa: N803
        if not is_dask(X):
            return method(self, X)
        check_is_fitted(self)
        x = in_chunks_of_rows(f"{type(self).__name__}.{method.__name__}", X)
        validate_data(self, X, reset=False, skip_check_array=True)
        like = method(self, np.zeros((1, x.shape[1]), dtype_of(x, False)))
        if like.ndim == 1:
            shape: dict[str, Any] = {"chunks": (x.chunks[0],), "drop_axis": 1}
        else:
            shape = {"chunks": (x.chunks[0], (like.shape[1],))}
        return x.map_blocks(_predicted, self, method.__name__, dtype=like.dtype, meta=like[:0], **shape)

    return call


def in_chunks_of_rows(function: str, X: Any) -> Any:  # noqa: N803
    """X in chunks of rows."""
    if X.ndim != 2:
        raise ShapeError(function, "X", f"of shape {X.shape}", "(N, D)")
    if any(np.isnan(n) for sizes in X.chunks for n in sizes):
        remedy = "call X.compute_chunk_sizes() first"
        raise ShapeError(function, "X", "of unknown chunk sizes", "known ones", remedy)
    if X.dtype.kind not in "biuf":
        raise DtypeError(function, "X", f"of dtype {X.dtype}", "real numbers")
    if not all(X.shape):
        raise ValueError(f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s)")
    return X if len(X.chunks[1]) == 1 else X.rechunk({0: "auto", 1: -1})


def dtype_of(x: Any, sparse: bool) -> Any:
    """The dtype in which the features are used."""
    known = ("float32", "float64") if sparse else ("float16", "float32", "float64")
    return x.dtype if x.dtype.name in known else np.dtype(np.float64)


def _predicted(x: Any, estimator: Any, method: str) -> Any:
    return getattr(estimator, method)(x)
