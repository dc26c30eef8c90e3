"""L-BFGS whose first matrix is a metric. In: an objective and a start. Out: its points, one a step.

The metric's overall size is that of the last step, s.y / y.M^-1 y: a metric of an earlier point would make
every step too long. The line search trusts slopes where F is flat to its own rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .metric import Metric
from .objective import Objective, Point, dot
from .rows import Floats

__all__ = ["points"]

_FLAT = 1e-7  # relative: where the rounding of F begins, with products in float32
_ARMIJO, _WOLFE = 1e-4, 0.9


def points(
    objective: Objective, start: Floats, metric: Callable[[Point], Metric], *, memory: int = 20
) -> Iterator[Point]:
    """The start and the point after each step; it ends where the line search finds no better one.

    ``metric`` is called before each step with the point reached.
    """
    point = objective.point(start)
    yield point
    steps: list[Floats] = []
    changes: list[Floats] = []
    while True:
        direction = _direction(point.gradient, steps, changes, metric(point))
        found = _search(objective, point, direction)
        if found is None:
            return
        step, change = found.parameters - point.parameters, found.gradient - point.gradient
        if dot(step, change) > 0:
            steps, changes = [*steps, step][-memory:], [*changes, change][-memory:]
        point = found
        yield point


def _direction(gradient: Floats, steps: list[Floats], changes: list[Floats], metric: Metric) -> Floats:
    d, a = -gradient, []
    for s, y in zip(reversed(steps), reversed(changes), strict=True):
        a.append(dot(s, d) / dot(s, y))
        d -= a[-1] * y
    d = metric(d)
    if steps:
        d *= dot(steps[-1], changes[-1]) / dot(changes[-1], metric(changes[-1]))
    for s, y in zip(steps, changes, strict=True):
        d += (a.pop() - dot(y, d) / dot(s, y)) * s
    return d


def _search(objective: Objective, point: Point, direction: Floats) -> Point | None:
    """A point along the direction with a lower F and a flatter slope: Wolfe's conditions, by bisection."""
    f, slope = point.loss, dot(point.gradient, direction)
    length, low, high = 1.0, 0.0, np.inf
    for _ in range(30):
        found = objective.point(point.parameters + length * direction)
        slope2 = dot(found.gradient, direction)
        flat = found.loss <= f + _FLAT * abs(f) and slope2 <= -(1 - 2 * _ARMIJO) * slope
        if not (found.loss <= f + _ARMIJO * length * slope or flat):
            high = length
        elif slope2 < _WOLFE * slope:
            low = length
        else:
            return found
        length = 2 * low if high == np.inf else (low + high) / 2
    return None
