"""Check the targets and options of a loss. In: scores, the user's arguments. Out: `Problem`, or an error."""

from __future__ import annotations

from math import inf
from typing import Any, NoReturn

import numpy as np
from numpy import ndarray

from lastlayer.arrays import namespace, truth
from lastlayer.errors import OptionError, named
from lastlayer.options import DENOMINATOR, REDUCTION, SHIFT, Given, Options, OptionValues, shares

from .check_numbers import ignore_index_of, number_option, shift_of
from .check_target_arrays import as_targets, shifted
from .check_top_k_targets import check_probabilities
from .check_weights import class_weight_of, sample_weight_of
from .target_errors import bad_row, bad_target, not_exchanged
from .types import LEAST, LIMIT, Problem, Scores, Targets, WholeScores, all_classes, new_tuple
from .wording import REDUCTIONS, bad_reduction

__all__ = ["effective_targets", "finish", "is_mean", "without_targets"]

_INT64 = np.dtype(np.int64)


def without_targets(scores: Scores) -> Problem:
    """The problem of row statistics without targets."""
    return Problem(scores, None, 1.0, "none")


def effective_targets(scores: Scores, given: Given, options: OptionValues) -> Targets:
    """The targets of a loss, checked except for the class indices themselves: a backend checks those."""
    function, x, axis, _, _, _ = scores
    _, _, ignore_index, label_smoothing, _, _, z_loss, reduction, _, shift = options
    targets, class_weight, sample_weight = given
    shape = x.shape
    rows = shape[:axis] + shape[axis + 1 :]
    kind = "index"
    if (
        type(targets) is not ndarray
        or type(x) is not ndarray
        or not (targets.dtype is _INT64 or (targets.dtype.kind in "iu" and targets.dtype.isnative))
        or targets.shape != rows
        or not targets.flags.aligned
    ):
        targets, kind = as_targets(scores, rows, targets)
    dense = kind == "dense"
    if dense and type(scores) is WholeScores:
        not_exchanged(function, x, axis, targets)
    if dense or type(ignore_index) is not int or not -LIMIT <= ignore_index < LIMIT:
        ignore_index = ignore_index_of(function, ignore_index, dense)
    if class_weight is not None:
        class_weight = class_weight_of(scores, class_weight)
    if sample_weight is not None:
        sample_weight = sample_weight_of(scores, rows, sample_weight)
    if type(shift) is not int or shift != 0:
        shift = shift_of(function, rows, shift)
        targets, sample_weight = shifted(scores, rows, targets, sample_weight, shift)
    on, off = 1.0, 0.0
    if type(label_smoothing) is not float or label_smoothing != 0.0:
        smoothing = number_option(function, "label_smoothing", label_smoothing, high=1.0)
        o = new_tuple(Options, options)
        if smoothing is not label_smoothing:  # a number of another type
            o = o._replace(label_smoothing=smoothing)
        on, off = shares(o, all_classes(scores))
    if type(z_loss) is not float or z_loss != 0.0:
        z_loss = number_option(function, "z_loss", z_loss)
    if reduction != "mean" and reduction not in REDUCTIONS:
        bad_reduction(function, reduction)
    return new_tuple(Targets, (kind, targets, on, off, class_weight, sample_weight, ignore_index, z_loss))


def is_mean(options: OptionValues) -> bool:
    """Whether the loss is divided by the sum of its targets' weights."""
    return options[REDUCTION] == "mean" and options[DENOMINATOR] is None


def finish(scores: Scores, targets: Targets, totals: tuple[int, Any], options: OptionValues) -> Problem:
    """The problem of a loss, or the error of its first wrong target.

    ``totals``, found by a backend: the flat position of the first wrong target, or -1; and the sum of the
    weights, for a mean.
    """
    function, _, _, _, _, _, _, reduction, denominator, _ = options
    position, total = totals
    if position >= 0:
        _wrong_target(scores, targets, position, options)
    if targets.kind == "sparse":
        check_probabilities(scores, targets, _shift(scores, options))
    if denominator is None and reduction == "mean" and type(total) is float and LEAST <= total < inf:
        return new_tuple(Problem, (scores, targets, 1.0 / total, reduction))  # the usual case
    if reduction != "mean":
        if denominator is not None:
            rule = f"None with reduction={reduction!r}"
            raise OptionError(function, "denominator", repr(denominator), rule)
        return new_tuple(Problem, (scores, targets, 1.0, reduction))
    if denominator is not None:
        total = number_option(function, "denominator", denominator)
        if 0.0 < total < LEAST:
            rule = f"0, or a finite number of at least {LEAST:g}"
            raise OptionError(function, "denominator", f"{total}", rule)
    elif not _divides(total):
        found = f"{total:g}" if isinstance(total, float) else str(total)
        weights = named("class_weight") + " and sample_weight"
        rule = f"0, or a finite sum of at least {LEAST:g}"
        raise OptionError(function, weights, found, rule, verb="add up to")
    return new_tuple(Problem, (scores, targets, _scale(total), reduction))


def _wrong_target(scores: Scores, targets: Targets, position: int, options: OptionValues) -> NoReturn:
    """Refuse the target at this flat position."""
    shape, axis = scores.array.shape, scores.axis
    rows = shape[:axis] + shape[axis + 1 :]
    wrong = bad_row if targets.kind == "dense" else bad_target
    wrong(scores, rows, targets, position, _shift(scores, options))


def _shift(scores: Scores, options: OptionValues) -> int:
    shape, axis = scores.array.shape, scores.axis
    return shift_of(scores.function, shape[:axis] + shape[axis + 1 :], options[SHIFT])


def _divides(total: Any) -> bool:
    """Whether a sum of weights is valid as a divisor; 0 is (it makes the mean 0), and NaN (the mean NaN)."""
    if isinstance(total, float):
        return total == 0.0 or LEAST <= total < inf or total != total
    return truth((total == 0.0) | ((total >= LEAST) & (total < inf)) | (total != total)) is not False


def _scale(total: Any) -> Any:
    """1 / total; 0 if the total is 0."""
    if isinstance(total, float):
        return 1.0 / total if total else 0.0
    xp = namespace(total)
    is_zero = total == 0
    return xp.where(is_zero, 0.0, 1.0 / xp.where(is_zero, 1.0, total))
