"""Features, weight and bias of a linear head -> `Head`, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer.arrays import Array, device, is_foreign, library, namespace
from lastlayer.errors import DtypeError, OptionError, ShapeError, quoted

from .check_arrays import FLOAT32, FLOAT64, floating, to_numpy
from .check_numbers import number_option
from .check_scores import scores
from .types import Head, Scores
from .wording import shape_text

__all__ = ["enough_memory", "head", "head_scores"]


def head(function: str, x: Any, weight: Any, bias: Any = None, max_memory: Any = None) -> Head:
    """The linear head of a call, checked."""
    x = floating(function, x, "x")
    weight = _part_of_head(function, "weight", weight, x)
    bias = None if bias is None else _part_of_head(function, "bias", bias, x)
    if x.ndim == 0:
        raise ShapeError(f"{function}: x is a single number; expected at least one axis, of features")
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        turned = weight.ndim == 2 and weight.shape[0] == x.shape[-1]
        raise ShapeError(
            f"{function}: weight is of shape {shape_text(weight)}; expected (V, {x.shape[-1]}), "
            f"a row for each class, for x of shape {shape_text(x)}{'; use weight.T' if turned else ''}"
        )
    if weight.shape[0] == 0:
        raise ShapeError(f"{function}: weight is of shape {shape_text(weight)}; expected at least one class")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(
            f"{function}: bias is of shape {shape_text(bias)}; "
            f"expected ({weight.shape[0]},), one number for each class"
        )
    if max_memory is not None:
        max_memory = int(number_option(function, "max_memory", max_memory, strict=True))
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
    return floating(function, value, name)


def head_scores(function: str, head: Head, temperature: float = 1.0, softcap: float | None = None) -> Scores:
    """The scores that a head makes, for NumPy arrays: an array of their shape and dtype, in no memory."""
    dtypes = {a.dtype for a in (head.x, head.weight, head.bias) if a is not None}
    widest = FLOAT64 if FLOAT64 in dtypes else FLOAT32  # what two kinds of 16 bits have in common
    dtype = dtypes.pop() if len(dtypes) == 1 else widest
    shape = (*head.x.shape[:-1], head.weight.shape[0])
    return scores(function, np.broadcast_to(np.zeros((), dtype), shape), -1, None, temperature, softcap)


def enough_memory(function: str, head: Head, needed: int) -> None:
    """Whether ``max_memory`` allows what the smallest plan needs."""
    if head.memory is not None and needed > head.memory:
        raise OptionError(
            f"{function}: max_memory is {head.memory}; expected at least {needed} bytes "
            f"for x of shape {shape_text(head.x)} and weight of shape {shape_text(head.weight)}"
        )
