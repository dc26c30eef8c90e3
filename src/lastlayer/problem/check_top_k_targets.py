"""Check top-k targets: K classes of each row and their probabilities. Out: `TopK`, or an error."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from lastlayer.arrays import Array, namespace, truth
from lastlayer.errors import DtypeError, ShapeError, Text, named

from .check_arrays import bad_element, floats, kind_of, like, native_form, of_rows, within
from .target_errors import not_indices
from .types import ROUNDED, Scores, Targets, TopK
from .wording import of_shape, shape_text

__all__ = ["as_top_k", "check_probabilities", "is_top_k"]


def is_top_k(targets: Any) -> bool:
    """Whether targets are (indices, probabilities) or (indices, probabilities, rest).

    This is a tuple of two or three elements whose first is an array or a list. A tuple of numbers is taken as
    class indices, as a list is.
    """
    if not isinstance(targets, tuple) or len(targets) not in (2, 3):
        return False
    first = targets[0]
    return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) > 0


def as_top_k(
    scores: Scores, rows: tuple[int, ...], indices: Any, probabilities: Any, rest: Any = None
) -> TopK:
    """Top-k targets as arrays that fit the scores. Their values are checked later, except for ``rest``."""
    function, x = scores.function, scores.array
    if function in ("nll_loss", "log_loss"):
        rule, remedy = "class indices or probabilities of every class", "those of a few are for cross_entropy"
        raise DtypeError(function, "targets", "a tuple", rule, remedy)
    xp = namespace(x)
    indices = like(xp, function, "targets[0]", indices, x)
    kind = kind_of(xp, indices.dtype)
    if xp is np:
        if indices.size == 0 and kind == "f":
            indices, kind = indices.astype(np.int64), "i"  # [] has no dtype of its own
        indices = native_form(indices)
    if kind not in "iu":
        not_indices(function, "targets[0]", indices, remedy=kind in "bf")
    if indices.ndim != len(rows) + 1 or tuple(indices.shape[:-1]) != tuple(rows):
        k = f"{shape_text(rows)[:-1].rstrip(',')}, K)" if rows else "(K,)"
        raise ShapeError(function, "targets[0]", of_shape(indices), f"{k}, K classes for each row")
    probabilities = floats(scores, "targets[1]", probabilities)
    if tuple(probabilities.shape) != tuple(indices.shape):
        each = f"{shape_text(indices)}, a probability for each index in " + named("targets[0]")
        raise ShapeError(function, "targets[1]", of_shape(probabilities), each)
    return TopK(indices, probabilities, None if rest is None else _rest(scores, rows, rest))


def _rest(scores: Scores, rows: tuple[int, ...], rest: Any) -> Array | None:
    """``rest``, one number per row; None if it is 0 in every row."""
    function, xp = scores.function, namespace(scores.array)
    rest = floats(scores, "targets[2]", rest)
    if 0 in rest.shape:
        return of_rows(function, "targets[2]", rest, rows, "one number for each row")
    if within(xp, rest, -ROUNDED) is False:
        bad_element(function, "targets[2]", rest, rest >= -ROUNDED, "a finite number, 0 or more")
    if truth(xp.min(rest) >= 0) is not True:  # 1 minus a sum of rounded probabilities can be just below 0
        rest = xp.where(rest < 0, xp.zeros_like(rest), rest)
    all_zero = xp is np and not rest.any()
    rest = of_rows(function, "targets[2]", rest, rows, "one number for each row")
    return None if all_zero else rest


def check_probabilities(scores: Scores, targets: Targets, shift: int) -> None:
    """Raise unless each probability is finite and not negative; ignored entries may hold anything."""
    indices, p, _ = targets.array
    xp = namespace(p)
    if 0 in p.shape or within(xp, p, 0.0) is not False:
        return
    counts = indices == indices if targets.ignore_index is None else indices != targets.ignore_index
    good = (p >= 0) | ~counts
    if truth(xp.all(good & ((p < inf) | ~counts))) is False:
        p = xp.where(counts, p, 0)
        remedy: str | Text = ""
        if xp.all((p < 0) | ~counts):
            name = named("targets[1]")
            remedy = "log-probabilities? pass np.exp(" + name + "), or of a tensor " + name + ".exp()"
        rule = "a finite probability, 0 or more"
        bad_element(scores.function, "targets[1]", p, good, rule, remedy, p.ndim - 2, shift)
