"""What is wrong with targets, and what the usual mistake was. In: scores and targets. Out: messages."""

from __future__ import annotations

import numpy as np

from lastlayer.arrays import Array, cast, namespace, one_hot, truth
from lastlayer.errors import TargetError

from .check_arrays import is_integral, on_cpu
from .types import Scores, Targets
from .wording import element, name_of, shape_text, two_columns

__all__ = ["bad_row", "bad_target", "bad_target_shape", "not_exchanged"]


def not_exchanged(function: str, whole: Array, axis: int, targets: Array) -> None:
    """Refuse one-hot rows of integers as scores where the targets are floats: they may be swapped."""
    xp, name = namespace(whole), name_of(function)
    if 0 in whole.shape or whole.shape[axis] == 1 or is_integral(namespace(targets), targets):
        return
    if truth(xp.all(one_hot(xp, whole, axis))):
        raise TargetError(
            f"{function}: {name} is one-hot rows of integers, and targets is of dtype {targets.dtype}; "
            f"expected {name} first, then targets; swapped? else pass {name} as floats"
        )


def bad_target_shape(scores: Scores, rows: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Which shapes fit, and what the usual slip was."""
    function, axis, full = scores.function, scores.axis, tuple(scores.array.shape)
    name = name_of(function)
    fits = [i for i in range(len(full)) if full[:i] + full[i + 1 :] == shape and i != axis]
    remedy = ""
    if fits and not function.startswith("linear"):  # a linear head has its classes last
        remedy = f"; they fit axis={fits[0]}: is that the class axis of {name}?"
    elif rows == () and shape == (1,):
        remedy = "; pass the class alone: targets[0]"
    elif shape == (*rows, 1):
        remedy = "; drop the last axis: targets[..., 0]"
    elif any(shape[:i] + shape[i + 1 :] == full for i in range(len(shape))):
        remedy = f"; swapped? {name} comes first"
    elif sorted(shape) == sorted(full):
        remedy = f"; are they transposed? the class axis of {name} is {axis}"
    elif len(shape) == len(full) and shape[:axis] + shape[axis + 1 :] == rows:
        remedy = f"; {name} has {full[axis]} classes, targets has {shape[axis]}"
    return (
        f"{function}: targets is of shape {shape_text(shape)}; expected {shape_text(rows)} for class indices "
        f"or {shape_text(full)} for dense targets{remedy}"
    )


def bad_target(scores: Scores, rows: tuple[int, ...], targets: Targets, position: int, shift: int) -> str:
    """The first class index that is none, and what the usual slip was."""
    sparse = targets.kind == "sparse"
    indices, name = (targets.array.indices, "targets[0]") if sparse else (targets.array, "targets")
    xp, classes, ignore = namespace(indices), scores.array.shape[scores.axis], targets.ignore_index
    flat = xp.reshape(indices, (-1,))
    value = int(flat[position])
    seen = np.asarray(flat if on_cpu(flat) else [value])
    seen = seen if ignore is None else seen[seen != ignore]
    remedy = ""
    if value == -1:
        remedy = f"; to leave such {'entries' if sparse else 'rows'} out pass ignore_index=-1"
    elif classes == 1 and seen.max() == 1 and seen.min() == 0:
        remedy = two_columns(scores.function)
    elif seen.max() == classes and seen.min() >= 1:
        remedy = "; labels start at 1? subtract 1"
    argument = element(name, position, indices.shape, len(rows) - 1, shift)
    ignored = "" if ignore is None else f" or ignore_index={ignore}"
    return f"{scores.function}: {argument} is {value}; expected a class in [0, {classes}){ignored}{remedy}"


def bad_row(scores: Scores, rows: tuple[int, ...], targets: Targets, position: int, shift: int) -> str:
    """The first row of integers that is not one-hot, and what the usual slip was."""
    function, axis, q = scores.function, scores.axis, targets.array
    xp, place = namespace(q), [int(i) for i in np.unravel_index(position, rows)]
    index = (*place[:axis], slice(None), *place[axis:])
    row = q[index]
    ones, zeros = int(xp.sum(cast(xp, row == 1, xp.int32))), int(xp.sum(cast(xp, row == 0, xp.int32)))
    if ones + zeros < row.shape[0]:
        wrong = xp.reshape(cast(xp, (row != 0) & (row != 1), xp.int8), (-1,))
        what = f"holds {int(row[int(xp.argmax(wrong))])}"
        remedy = "; class indices have one axis fewer, probabilities are floats"
    elif ones:
        what = f"is 1 for {ones} classes"
        remedy = "; for several labels in a row use a binary loss of each class"
    else:
        what = "is 0 for all classes"
        remedy = "; to leave such rows out give them a sample_weight of 0"
    if not rows or row.shape[0] == 1:
        remedy = two_columns(function)
    if rows:
        place[-1] += shift
    shown = [*map(str, place[:axis]), ":", *map(str, place[axis:])]
    if axis == len(rows):
        shown.pop()
    argument = f"targets[{', '.join(shown)}]" if rows else "targets"
    return (
        f"{function}: {argument} {what}; expected a one-hot row, since targets is of dtype {q.dtype} "
        f"and of the shape of {name_of(function)}{remedy}"
    )
