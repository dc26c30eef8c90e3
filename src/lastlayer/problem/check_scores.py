"""The scores of a call and their options -> `Scores`, or an error; and where a result may be written."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
from numpy import ndarray

from lastlayer.arrays import Array, is_foreign, namespace, overlaps_itself
from lastlayer.errors import DtypeError, OptionError, ShapeError, quoted

from .check_arrays import FLOAT32, FLOAT64, floating, is_integral, mask, to_numpy
from .check_numbers import class_axis, number_option
from .types import LEAST, Scores, WholeScores, new_tuple
from .wording import name_of, shape_text

__all__ = ["can_write", "out", "scores"]

_OF_NO_CLASSES = frozenset({"softmax", "log_softmax", "logsumexp"})  # these have a value without a class


def scores(
    function: str,
    x: Any,
    axis: int = -1,
    where: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Scores:
    """The scores of a call, checked."""
    dtype, form = x.dtype if type(x) is ndarray else None, Scores
    if not ((dtype is FLOAT32 or dtype is FLOAT64) and x.flags.aligned):
        whole = dtype is not None and dtype.kind in "biu"
        if dtype is None:  # a list, or an array of another kind
            x = x if (foreign := is_foreign(x)) else to_numpy(function, name_of(function), x)
            whole = is_integral(namespace(x, function), x) if foreign else x.dtype.kind in "biu"
        form = WholeScores if whole else Scores
        x = floating(function, x)
    ndim = x.ndim
    if type(axis) is not int or not -ndim <= axis < ndim:
        axis = class_axis(function, x, axis)
    elif axis < 0:
        axis += ndim
    if x.shape[axis] == 0 and function not in _OF_NO_CLASSES:
        raise ShapeError(
            f"{function}: {name_of(function)} is of shape {shape_text(x)}; "
            f"expected at least one class on axis {axis}"
        )
    if where is not None:
        where = mask(function, x, where)
    if type(temperature) is not float or not LEAST <= temperature < inf:
        temperature = number_option(function, "temperature", temperature, strict=True)
    if softcap is not None:
        softcap = number_option(function, "softcap", softcap, strict=True)
    return new_tuple(form, (function, x, axis, where, temperature, softcap))


def out(scores: Scores, out: Any) -> Array:
    """``out``, if it can hold the result of ``scores``; of a subclass such as np.memmap, its plain array."""
    function, x = scores.function, scores.array
    if isinstance(out, ndarray) and not isinstance(out, np.ma.MaskedArray):
        out = np.asarray(out)
    plain = type(out) is ndarray
    if not plain and not is_foreign(out):
        raise DtypeError(f"{function}: out is a {quoted(type(out).__name__)}; expected an array")
    if out.shape != x.shape:
        raise ShapeError(
            f"{function}: out is of shape {shape_text(out)}; expected the result's, {shape_text(x)}"
        )
    if out.dtype != x.dtype and not (plain and out.dtype.newbyteorder("=") == x.dtype):
        raise DtypeError(
            f"{function}: out is of dtype {quoted(out.dtype)}; expected the result's, {quoted(x.dtype)}"
        )
    if plain and not out.flags.writeable:
        raise OptionError(f"{function}: out is read-only; expected a writeable array")
    if plain and not out.flags.c_contiguous and overlaps_itself(out.shape, out.strides, out.itemsize):
        raise OptionError(
            f"{function}: out is of shape {shape_text(out)} and strides {out.strides}, so some of its "
            "elements share memory; expected a place for each; write np.empty_like(x)"
        )
    return out


def can_write(scores: Scores, out: Array) -> bool:
    """Whether a backend may write to ``out`` while it reads: the scores' own place, or no place in common."""
    x, where = scores.array, scores.where
    if type(out) is not ndarray or out is x:
        return True
    if not (out.dtype.isnative and out.flags.aligned):
        return False
    if where is not None and np.may_share_memory(where, out):
        return False
    if not np.may_share_memory(x, out):
        return True
    return bool(x.strides == out.strides and x.__array_interface__["data"] == out.__array_interface__["data"])
