"""Options that are single numbers -> checked ints and floats, or an error."""

from __future__ import annotations

import operator
from math import inf
from typing import Any

from lastlayer.arrays import Array
from lastlayer.errors import OptionError, ShapeError, shown

from .types import LEAST, LIMIT, Scores
from .wording import bad_number, name_of, shape_text

__all__ = [
    "check_defer",
    "class_axis",
    "class_offset",
    "ignore_index_of",
    "number_option",
    "shift_of",
    "top",
]


def class_axis(function: str, x: Array, axis: Any) -> int:
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
            f"{function}: axis is {index}; expected {-ndim} <= axis < {ndim} "
            f"for {name} of shape {shape_text(x)}"
        )
    return index % int(ndim)


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


def class_offset(function: str, offset: Any, target_logits: Any = None, index: bool = True) -> int:
    """The first class of a shard, checked; ``target_logits`` go with it, and with index targets."""
    if offset is None or (target_logits is not None and not index):
        rule = "None without class_offset" if offset is None else "None without index targets"
        raise OptionError(f"{function}: target_logits is given; expected {rule}")
    try:
        first = operator.index(offset)
    except TypeError:
        first = -1
    if not 0 <= first < LIMIT:
        raise OptionError(f"{function}: class_offset is {shown(offset)}; expected an int of 0 or more")
    return first


def ignore_index_of(function: str, ignore_index: Any, dense: bool) -> int | None:
    """``ignore_index``, checked; dense targets have no such option."""
    if ignore_index is None:
        return None
    try:
        index = operator.index(ignore_index)
    except TypeError:
        index = LIMIT
    if not -LIMIT <= index < LIMIT:
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


def number_option(function: str, name: str, value: Any, *, high: float = inf, strict: bool = False) -> float:
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


def check_defer(function: str, defer: Any) -> None:
    """Raise unless ``defer`` says when logits are deferred."""
    if defer not in ("training", "always", "never"):
        raise OptionError(
            f"{function}: defer is {shown(defer)}; expected 'training' (only where a graph is recorded), "
            "'always' or 'never'"
        )
