"""Check options that are single numbers. In: the user's options. Out: ints and floats, or an error."""

from __future__ import annotations

import operator
from math import inf
from typing import Any, NoReturn

from lastlayer.arrays import Array
from lastlayer.errors import OptionError, ShapeError, named, phrase

from .types import LEAST, LIMIT, Scores, held_classes
from .wording import bad_number, name_of, of_shape

__all__ = [
    "check_defer",
    "class_axis",
    "class_offset",
    "ignore_index_of",
    "no_ignore_index",
    "number_option",
    "shift_of",
    "top",
]


def class_axis(function: str, x: Array, axis: Any) -> int:
    """``axis`` as a non-negative int."""
    name, ndim = name_of(function), x.ndim
    if ndim == 0:
        raise ShapeError(function, name, "a single number", "at least one axis, of classes")
    try:
        index = int(operator.index(axis))
    except TypeError:
        rule = "an int, a tuple of ints or None" if name == "x" else "an int"
        raise OptionError(function, "axis", repr(axis), rule) from None
    if not -ndim <= index < ndim:
        bounds = f"{-ndim} <= " + named("axis") + f" < {ndim} for "
        raise ShapeError(function, "axis", f"{index}", bounds + named(name) + f" {of_shape(x)}")
    return index % int(ndim)


def shift_of(function: str, rows: tuple[int, ...], shift: Any) -> int:
    """``shift``, checked: position i is paired with the target of position i + shift."""
    try:
        places = operator.index(shift)
    except TypeError:
        places = -1
    if places < 0:
        raise OptionError(function, "shift", repr(shift), "an int of 0 or more")
    if places and not rows:
        raise ShapeError(function, "shift", f"{places}", "0 for a single row, which has no position")
    return places


def class_offset(function: str, offset: Any, target_logits: Any = None, index: bool = True) -> int:
    """The first class of a shard, checked. ``target_logits`` need a shard and index targets."""
    if offset is None or (target_logits is not None and not index):
        rule = "None without class_offset" if offset is None else "None without index targets"
        raise OptionError(function, "target_logits", "given", rule)
    try:
        first = operator.index(offset)
    except TypeError:
        first = -1
    if not 0 <= first < LIMIT:
        raise OptionError(function, "class_offset", repr(offset), "an int of 0 or more")
    return first


def ignore_index_of(function: str, ignore_index: Any, dense: bool) -> int | None:
    """``ignore_index``, checked. Dense targets allow only None and the default, which mean None."""
    if ignore_index is None:
        return None
    try:
        index = operator.index(ignore_index)
    except TypeError:
        index = LIMIT
    if not -LIMIT <= index < LIMIT:
        raise OptionError(function, "ignore_index", repr(ignore_index), "an int of 64 bits or None")
    if not dense:
        return index
    if index != -100:
        no_ignore_index(function, index)
    return None


def no_ignore_index(function: str, index: Any) -> NoReturn:
    """Refuse ``ignore_index`` with dense targets."""
    rule = phrase("no such option with dense targets")
    raise OptionError(function, "ignore_index", f"{index}", rule, "leave rows out with sample_weight=0")


def top(scores: Scores, k: Any) -> int:
    """The number ``k`` of classes that top-k returns, checked."""
    classes = held_classes(scores)
    try:
        count = operator.index(k)
    except TypeError:
        raise OptionError(scores.function, "k", repr(k), f"an int in [1, {classes}]") from None
    if not 1 <= count <= classes:
        rule = f"1 <= k <= {classes}, the number of classes"
        raise OptionError(scores.function, "k", f"{count}", rule)
    return count


def number_option(function: str, name: str, value: Any, *, high: float = inf, strict: bool = False) -> float:
    """A finite number, 0 or more (``strict``: above 0)."""
    if getattr(value, "requires_grad", False):  # where gradients are possible, no tensor comes here
        remedy = "write " + named(name) + ".detach()"
        raise OptionError(function, name, "a tensor that requires a gradient", "a number", remedy)
    try:
        number = float("nan" if isinstance(value, str) else value)
    except (TypeError, ValueError, RuntimeError):
        number = -inf
    if 0.0 <= number <= high and number < inf and not (strict and number < LEAST):
        return number
    if strict and 0.0 < number < LEAST:
        raise OptionError(function, name, f"{number}", f"a finite number of at least {LEAST:g}")
    bad_number(function, name, value, high, strict)


def check_defer(function: str, defer: Any) -> None:
    """Raise unless ``defer`` is a known mode of deferred logits."""
    if defer not in ("training", "always", "never"):
        rule = "'training' (only where a graph is recorded), 'always' or 'never'"
        raise OptionError(function, "defer", repr(defer), rule)
