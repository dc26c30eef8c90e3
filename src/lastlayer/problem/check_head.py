"""Check features, weight and bias of a linear head. In: the user's arguments. Out: `Head`, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer.arrays import Array, device, is_foreign, library, namespace
from lastlayer.errors import OptionError, ShapeError, Text, named

from .check_arrays import FLOAT32, FLOAT64, floating, to_numpy
from .check_numbers import number_option
from .check_scores import scores
from .types import Head, Scores
from .wording import of_shape, other_library

__all__ = ["enough_memory", "head", "head_scores", "shape_of_heads"]


def head(function: str, x: Any, weight: Any, bias: Any = None, max_memory: Any = None) -> Head:
    """The checked linear head of a call."""
    x = floating(function, x, "x")
    weight = _part_of_head(function, "weight", weight, x)
    bias = None if bias is None else _part_of_head(function, "bias", bias, x)
    if x.ndim == 0:
        raise ShapeError(function, "x", "a single number", "at least one axis, of features")
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        turned = weight.ndim == 2 and weight.shape[0] == x.shape[-1]
        rule = f"(V, {x.shape[-1]}), a row for each class, for " + named("x") + f" {of_shape(x)}"
        raise ShapeError(function, "weight", of_shape(weight), rule, _turn(turned))
    if weight.shape[0] == 0:
        raise ShapeError(function, "weight", of_shape(weight), "at least one class")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ShapeError(function, "bias", of_shape(bias), f"({weight.shape[0]},), one number for each class")
    if max_memory is not None:
        max_memory = int(number_option(function, "max_memory", max_memory, strict=True))
    return Head(x, weight, bias, max_memory)


def _turn(turned: bool) -> str | Text:
    """The remedy if the weight is transposed: its columns are the classes."""
    return "use " + named("weight") + ".T" if turned else ""


def shape_of_heads(function: str, x: Any, weight: Any, bias: Any) -> tuple[int, ...]:
    """The shape of the logits for PyTorch's form of a head: (C,), (N, C) or (N, C, d1, ...), C classes.

    ``x`` is (D,) or (N, D). ``weight`` is (C, D), or (C, d1, ..., D) for several heads on the same features.
    Only shapes are checked.
    """
    if not 1 <= x.ndim <= 2:
        remedy = "write " + named("x") + ".flatten(0, -2) and " + named("targets") + ".flatten()"
        raise ShapeError(function, "x", of_shape(x), "(D,) or (N, D)", remedy if x.ndim else "")
    own, features = tuple(weight.shape), x.shape[-1]
    if len(own) < 2 or own[-1] != features:
        rule = f"(C, {features}) or (C, d1, ..., {features}), for " + named("x") + f" {of_shape(x)}"
        raise ShapeError(
            function, "weight", of_shape(weight), rule, _turn(len(own) == 2 and own[0] == features)
        )
    if bias is not None and tuple(bias.shape) != own[:-1]:
        rule = f"{own[:-1]}, for " + named("weight") + f" {of_shape(weight)}"
        raise ShapeError(function, "bias", of_shape(bias), rule)
    if len(own) > 2 and x.ndim == 1:
        rule = f"(N, {features}), for " + named("weight") + f" {of_shape(weight)}, which has several heads"
        raise ShapeError(function, "x", of_shape(x), rule, "write " + named("x") + "[None]")
    return (*x.shape[:-1], *own[:-1])


def _part_of_head(function: str, name: str, value: Any, x: Array) -> Array:
    """``weight`` or ``bias`` as an array of the library of ``x``."""
    xp = namespace(x)
    if xp is np and is_foreign(value):
        other_library(function, name, value, "numpy", "x")
    if xp is not np and is_foreign(value) and namespace(value, function) is not xp:
        other_library(function, name, value, library(x), "x")
    if xp is not np and not is_foreign(value):
        value = xp.asarray(to_numpy(function, name, value), device=device(x))
    return floating(function, value, name)


def head_scores(function: str, head: Head, temperature: float = 1.0, softcap: float | None = None) -> Scores:
    """Scores that stand for a head's logits: zeros of their shape and dtype, broadcast from one number.

    The checks of targets and options need only the shape and the dtype. For NumPy arrays.
    """
    dtypes = {a.dtype for a in (head.x, head.weight, head.bias) if a is not None}
    widest = FLOAT64 if FLOAT64 in dtypes else FLOAT32  # float16 with bfloat16 gives float32
    dtype = dtypes.pop() if len(dtypes) == 1 else widest
    shape = (*head.x.shape[:-1], head.weight.shape[0])
    return scores(function, np.broadcast_to(np.zeros((), dtype), shape), -1, None, temperature, softcap)


def enough_memory(function: str, head: Head, needed: int) -> None:
    """Raise unless ``max_memory`` is at least ``needed``, the bytes of the smallest plan."""
    if head.memory is not None and needed > head.memory:
        rule = f"at least {needed} bytes for " + named("x") + f" {of_shape(head.x)} and "
        rule += named("weight") + f" {of_shape(head.weight)}"
        raise OptionError(function, "max_memory", f"{head.memory}", rule)
