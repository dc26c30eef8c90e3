"""Check scores and their options. In: the user's arguments. Out: `Scores`, or an error."""

from __future__ import annotations

from math import inf
from typing import Any

from numpy import ndarray

from lastlayer.arrays import is_foreign, namespace
from lastlayer.errors import ShapeError, phrase

from .check_arrays import FLOAT32, FLOAT64, floating, is_integral, mask, to_numpy
from .check_numbers import class_axis, number_option
from .types import LEAST, Scores, WholeScores, new_tuple
from .wording import name_of, of_shape

__all__ = ["scores"]

_OF_NO_CLASSES = frozenset({"softmax", "log_softmax", "logsumexp"})  # these are defined for V = 0


def scores(
    function: str,
    x: Any,
    axis: int = -1,
    where: Any = None,
    temperature: float = 1.0,
    softcap: float | None = None,
) -> Scores:
    """The checked scores of a call."""
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
        rule = "at least one class " + phrase("on axis {}", axis)
        raise ShapeError(function, name_of(function), of_shape(x), rule)
    if where is not None:
        where = mask(function, x, where)
    if type(temperature) is not float or not LEAST <= temperature < inf:
        temperature = number_option(function, "temperature", temperature, strict=True)
    if softcap is not None:
        softcap = number_option(function, "softcap", softcap, strict=True)
    return new_tuple(form, (function, x, axis, where, temperature, softcap))
