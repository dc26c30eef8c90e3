"""Newton's method by conjugate gradients. In: an objective and a start. Out: its points, one per step.

The Hessian is used only through its products with directions, so features may be sparse and numerous. Its
diagonal is the preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .line_search import Place, by_halving
from .metric import Metric, diagonal
from .objective import Objective, Point, dot
from .rows import Floats

__all__ = ["points"]

_LOOSEST = 0.3  # the fraction of the gradient that may remain after a step
_MOST_PRODUCTS = 500  # of one step


def points(objective: Objective, start: Floats, tol: float) -> Iterator[Point]:
    """The start and the point after each step; it ends where no shorter step gives a smaller F."""
    point = objective.point(start)
    first = point.norm
    yield point
    while True:
        left = max(min(_LOOSEST, float(np.sqrt(point.norm / first))), 0.5 * tol / point.norm)
        metric = diagonal(objective.diagonal(point.parameters))
        direction = _solve(objective.hessian(point.parameters), point.gradient, metric, left * point.norm)
        found = _search(objective, point, direction)
        if found is None:
            return
        point = found
        yield point


def _solve(hessian: Callable[[Floats], Floats], gradient: Floats, metric: Metric, norm: float) -> Floats:
    """The direction D with H D = -gradient, until the largest entry of the residual is at most ``norm``."""
    direction, residual = np.zeros_like(gradient), -gradient
    z = metric(residual)
    p, rz = z, dot(residual, z)
    for _ in range(_MOST_PRODUCTS):
        h = hessian(p)
        curvature = dot(p, h)
        if curvature <= 0:  # by rounding alone: F is convex
            break
        length = rz / curvature
        direction += length * p
        residual -= length * h
        if float(np.abs(residual).max()) <= norm:
            break
        z = metric(residual)
        rz, before = dot(residual, z), rz
        p = z + (rz / before) * p
    return direction


def _search(objective: Objective, point: Point, direction: Floats) -> Point | None:
    """A point along the direction with a lower F."""

    def at(length: float) -> tuple[Point, Place]:
        found = objective.point(point.parameters + length * direction)
        return found, Place(length, found.loss, dot(found.gradient, direction))

    return by_halving(Place(0.0, point.loss, dot(point.gradient, direction)), at)
