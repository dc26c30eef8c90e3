"""Errors for wrong targets, with the usual mistake behind each. In: scores and targets. Out: an error."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from lastlayer.arrays import Array, cast, is_foreign, library, namespace, one_hot, truth
from lastlayer.errors import DtypeError, ShapeError, TargetError, Text, named, phrase

from .check_arrays import is_integral, on_cpu
from .types import Scores, Targets, held_classes
from .wording import element, name_of, of_shape, shape_text, two_columns

__all__ = ["bad_row", "bad_target", "bad_target_shape", "not_exchanged", "not_indices"]


def not_exchanged(function: str, whole: Array, axis: int, targets: Array) -> None:
    """Raise if scores and targets look swapped: the scores are one-hot integers, the targets floats."""
    xp, name = namespace(whole), named(name_of(function))
    if 0 in whole.shape or whole.shape[axis] == 1 or is_integral(namespace(targets), targets):
        return
    if truth(xp.all(one_hot(xp, whole, axis))):
        y = named("targets")
        found = "one-hot rows of integers, and " + y + f" is of dtype {targets.dtype}"
        remedy = "swapped? else pass " + name + " as floats"
        raise TargetError(function, name, found, name + " first, then " + y, remedy)


def bad_target_shape(scores: Scores, rows: tuple[int, ...], shape: tuple[int, ...]) -> NoReturn:
    """Refuse targets of this shape; the message says which shapes fit, and names the likely mistake."""
    function, axis, full = scores.function, scores.axis, tuple(scores.array.shape)
    name, targets = named(name_of(function)), named("targets")
    fits = [i for i in range(len(full)) if full[:i] + full[i + 1 :] == shape and i != axis]
    remedy: str | Text = ""
    if fits and not function.startswith("linear"):  # a linear head has its classes last
        remedy = phrase("they fit axis={}: is that the class axis of {}?", fits[0], name)
    elif rows == () and shape == (1,):
        remedy = "pass the class alone: " + targets + "[0]"
    elif shape == (*rows, 1):
        remedy = "drop the last axis: " + targets + "[..., 0]"
    elif any(shape[:i] + shape[i + 1 :] == full for i in range(len(shape))):
        remedy = "swapped? " + name + " comes first"
    elif sorted(shape) == sorted(full):
        remedy = "are they transposed? the class axis of " + name + f" is {axis}"
    elif len(shape) == len(full) and shape[:axis] + shape[axis + 1 :] == rows:
        remedy = name + f" has {full[axis]} classes, " + targets + f" has {shape[axis]}"
    rule = f"{shape_text(rows)} for class indices or {shape_text(full)} for " + phrase("dense targets")
    raise ShapeError(function, "targets", of_shape(shape), rule, remedy)


def bad_target(
    scores: Scores, rows: tuple[int, ...], targets: Targets, position: int, shift: int
) -> NoReturn:
    """Refuse the index at ``position``, which is no class; the message names the likely mistake."""
    sparse = targets.kind == "sparse"
    indices, name = (targets.array.indices, "targets[0]") if sparse else (targets.array, "targets")
    xp, classes, ignore = namespace(indices), held_classes(scores), targets.ignore_index
    flat = xp.reshape(indices, (-1,))
    value = int(flat[position])
    seen = np.asarray(flat if on_cpu(flat) else [value])
    seen = seen if ignore is None else seen[seen != ignore]
    remedy: str | Text = ""
    if value == -1:
        remedy = f"to leave such {'entries' if sparse else 'rows'} out pass ignore_index=-1"
    elif classes == 1 and seen.max() == 1 and seen.min() == 0:
        remedy = two_columns(scores.function)
    elif seen.max() == classes and seen.min() >= 1:
        remedy = "labels start at 1? subtract 1"
    argument = element(name, position, indices.shape, len(rows) - 1, shift)
    ignored = "" if ignore is None else f" or ignore_index={ignore}"
    raise TargetError(scores.function, argument, f"{value}", f"a class in [0, {classes}){ignored}", remedy)


def bad_row(scores: Scores, rows: tuple[int, ...], targets: Targets, position: int, shift: int) -> NoReturn:
    """Refuse the integer row at ``position``, which is not one-hot; the message names the likely mistake."""
    function, axis, q = scores.function, scores.axis, targets.array
    xp, place = namespace(q), [int(i) for i in np.unravel_index(position, rows)]
    index = (*place[:axis], slice(None), *place[axis:])
    row = q[index]
    ones, zeros = int(xp.sum(cast(xp, row == 1, xp.int32))), int(xp.sum(cast(xp, row == 0, xp.int32)))
    if ones + zeros < row.shape[0]:
        wrong = xp.reshape(cast(xp, (row != 0) & (row != 1), xp.int8), (-1,))
        verb, found = "holds", f"{int(row[int(xp.argmax(wrong))])}"
        remedy: str | Text = "class indices have one axis fewer, probabilities are floats"
    elif ones:
        verb, found = "is", f"1 for {ones} classes"
        remedy = "for several labels in a row use a binary loss of each class"
    else:
        verb, found = "is", "0 for all classes"
        remedy = "to leave such rows out give them a sample_weight of 0"
    if not rows or row.shape[0] == 1:
        remedy = two_columns(function)
    if rows:
        place[-1] += shift
    shown = [*map(str, place[:axis]), ":", *map(str, place[axis:])]
    if axis == len(rows):
        shown.pop()
    argument = f"targets[{', '.join(shown)}]" if rows else "targets"
    rule = "a one-hot row, since " + named("targets") + f" is of dtype {q.dtype} and of the shape of "
    raise TargetError(function, argument, found, rule + named(name_of(function)), remedy, verb=verb)


def not_indices(function: str, argument: str, y: Any, nan: bool = False, remedy: bool = True) -> NoReturn:
    """Refuse class indices that are no integers. ``remedy``: whether to say how to convert them."""
    name, write = named(argument), Text(("convert them to int64",))
    if not is_foreign(y):
        write = "np.where(np.isnan(" + name + "), -100, " + name + ")" if nan else name
        write = "use " + write + ".astype(np.int64)"
    elif library(y.dtype) == "torch":
        write = "torch.where(" + name + ".isnan(), -100, " + name + ")" if nan else name
        write = "write " + write + ".long()"
    holds, rule = " and holds NaN" if nan else "", phrase("integers as class indices")
    found = phrase("of dtype {0}{2}", y.dtype, shape_text(y), holds)  # PyTorch's losses show the shape too
    if argument == "targets":
        raise DtypeError(function, argument, found, rule, write if remedy else "")
    # PyTorch has no top-k targets, so these words are never translated for a drop-in.
    raise DtypeError(function, argument, str(found), str(rule), write if remedy else "")
