"""Check class weights and sample weights. In: the user's weights. Out: finite arrays, or an error."""

from __future__ import annotations

from math import inf
from typing import Any

from lastlayer.arrays import Array, namespace
from lastlayer.errors import ShapeError, Text, phrase

from .check_arrays import bad_element, floats, of_rows, within
from .types import MOST, Scores, held_classes
from .wording import of_shape

__all__ = ["class_weight_of", "class_weight_shape", "sample_weight_of"]

_RULE = "a finite weight, 0 or more"


def class_weight_of(scores: Scores, weight: Any) -> Array:
    """``class_weight``, one number for each class."""
    function, classes = scores.function, held_classes(scores)
    weight = _weight(scores, "class_weight", weight, phrase(_RULE))
    class_weight_shape(function, weight, classes)
    return weight


def class_weight_shape(function: str, weight: Any, classes: int) -> None:
    """Raise unless the shape of class weights is one number for each class."""
    if tuple(weight.shape) != (classes,):
        rule = f"({classes},), one weight for each class"
        raise ShapeError(function, "class_weight", of_shape(weight), rule)


def sample_weight_of(scores: Scores, rows: tuple[int, ...], weight: Any) -> Array:
    """``sample_weight``, one number for each row."""
    weight = _weight(scores, "sample_weight", weight, _RULE)
    return of_rows(scores.function, "sample_weight", weight, rows, "one weight for each row")


def _weight(scores: Scores, name: str, weight: Any, rule: str | Text) -> Array:
    """Weights as float32 or float64, each finite and not negative."""
    function, xp = scores.function, namespace(scores.array)
    weight = floats(scores, name, weight)
    if 0 in weight.shape or within(xp, weight, 0.0, MOST) is not False:
        return weight
    if xp.all((weight >= 0) & (weight < inf)):
        bad_element(function, name, weight, weight <= MOST, f"a weight of at most {MOST:g}")
    bad_element(function, name, weight, weight >= 0, rule)
