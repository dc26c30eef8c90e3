"""The length of a step along a direction. In: F and its slope at two places. Out: whether F fell enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

__all__ = ["MOST_TRIALS", "Place", "by_halving", "fell"]

MOST_TRIALS = 30
_ARMIJO = 1e-4  # Armijo's constant: F has to fall by this fraction of the linear prediction
_FLAT = 1e-7  # the relative rounding error of F, with products in float32

Found = TypeVar("Found")


class Place(NamedTuple):
    """A place along a direction."""

    length: float
    loss: float
    slope: float


def fell(start: Place, trial: Place) -> bool:
    """Armijo's condition; if F changes less than its rounding, its form for slopes (Hager, Zhang, 2005)."""
    flat = trial.loss <= start.loss + _FLAT * abs(start.loss)
    return trial.loss <= start.loss + _ARMIJO * trial.length * start.slope or (
        flat and trial.slope <= -(1 - 2 * _ARMIJO) * start.slope
    )


def by_halving(start: Place, at: Callable[[float], tuple[Found, Place]]) -> Found | None:
    """The first of the lengths 1, 1/2, 1/4, ... where F fell; None if it does not."""
    length = 1.0
    for _ in range(MOST_TRIALS):
        found, trial = at(length)
        if fell(start, trial):
            return found
        length /= 2
    return None
