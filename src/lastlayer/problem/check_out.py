"""Check ``out``, the array for a result. In: scores and ``out``. Out: a plain array, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from lastlayer.arrays import Array, is_foreign, overlaps_itself
from lastlayer.errors import DtypeError, OptionError, ShapeError, named

from .types import Scores
from .wording import of_shape, shape_text

__all__ = ["can_write", "check_tensor_out", "out"]


def out(scores: Scores, out: Any) -> Array:
    """``out``, if it can hold the result for ``scores``; for a subclass such as np.memmap its plain array."""
    function, x = scores.function, scores.array
    if isinstance(out, ndarray) and not isinstance(out, np.ma.MaskedArray):
        out = np.asarray(out)
    plain = type(out) is ndarray
    if not plain and not is_foreign(out):
        raise DtypeError(function, "out", f"a {type(out).__name__}", "an array")
    if out.shape != x.shape or out.dtype != x.dtype:
        _check_form(function, x, out)
    if plain and not out.flags.writeable:
        raise OptionError(function, "out", "read-only", "a writeable array")
    if plain and not out.flags.c_contiguous:
        _check_places(function, out, out.strides, out.itemsize, "np.empty_like(x)")
    return out


def check_tensor_out(function: str, x: Any, out: Any, strides: Any, records: bool) -> None:
    """Raise unless the tensor ``out`` can hold a result with the shape and dtype of ``x``.

    ``strides`` are None if they are not known. ``records``: whether gradients are recorded.
    """
    if not hasattr(out, "layout"):
        raise DtypeError(function, "out", f"a {type(out).__name__}", "a tensor")
    _check_form(function, x, out)
    if out.device != x.device:
        rule = f"{x.device}, as " + named("x") + " is"
        raise DtypeError(function, "out", f"on device {out.device}", rule)
    if str(out.layout) != "torch.strided":
        raise DtypeError(function, "out", f"of layout {out.layout}", "torch.strided")
    if strides is not None:
        _check_places(function, out, strides, 1, "torch.empty(x.shape)")
    if records:
        raise OptionError(function, "out", "given while gradients are recorded", "None, or torch.no_grad()")


def _check_form(function: str, x: Any, out: Any) -> None:
    """Raise unless ``out`` has the shape and dtype of ``x``; the byte order may differ."""
    if out.shape != x.shape:
        raise ShapeError(function, "out", of_shape(out), f"the result's, {shape_text(x)}")
    swapped = type(out) is ndarray and out.dtype.newbyteorder("=") == x.dtype
    if out.dtype != x.dtype and not swapped:
        raise DtypeError(function, "out", f"of dtype {out.dtype}", f"the result's, {x.dtype}")


def _check_places(function: str, out: Any, strides: Any, size: int, instead: str) -> None:
    """Raise if elements share memory. ``size`` is that of one element, in the unit of the strides."""
    if overlaps_itself(out.shape, strides, size):
        found = f"{of_shape(out)} and strides {strides}, so some of its elements share memory"
        raise OptionError(function, "out", found, "a place for each", f"write {instead}")


def can_write(scores: Scores, out: Array) -> bool:
    """Whether a backend may write to ``out`` while it reads: its memory is the scores' own, or disjoint."""
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
