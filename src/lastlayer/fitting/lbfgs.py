"""L-BFGS with a metric as its initial matrix. In: an objective and a start. Out: its points, one per step.

The metric is scaled by the last step, s.y / y.M^-1 y: otherwise a metric of an earlier point would make every
step too long. Where differences of F are below its rounding, the line search uses slopes instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from .line_search import MOST_TRIALS, Place, fell
from .metric import Metric
from .objective import Objective, Point, dot
from .rows import Floats

__all__ = ["points"]

_WOLFE = 0.9  # the fraction of the first slope that may remain after a step


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
    """A point along the direction with a lower F and a flatter slope: Wolfe's conditions, by cubics."""
    start = Place(0.0, point.loss, dot(point.gradient, direction))
    length, low, high = 1.0, start, np.inf
    for _ in range(MOST_TRIALS):
        found = objective.point(point.parameters + length * direction)
        trial = Place(length, found.loss, dot(found.gradient, direction))
        lower = fell(start, trial)
        if lower and trial.slope >= _WOLFE * start.slope:
            return found
        if lower:
            nearest, low = low, trial
        else:
            nearest, high = low, length
        length = _next(nearest, trial, low.length, high)
    return None


def _next(a: Place, b: Place, low: float, high: float) -> float:
    """The minimum of the cubic through two places, kept away from the ends of [low, high]."""
    least, most = (
        (low + 0.1 * (high - low), low + 0.9 * (high - low)) if high < np.inf else (1.5 * low, 4 * low)
    )
    middle = (low + high) / 2 if high < np.inf else 2 * low
    with np.errstate(all="ignore"):
        u = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.length - b.length)
        root = np.sqrt(np.float64(u * u - a.slope * b.slope)) * np.sign(b.length - a.length)
        best = b.length - (b.length - a.length) * (b.slope + root - u) / (b.slope - a.slope + 2 * root)
    return float(min(max(best, least), most)) if np.isfinite(best) else middle
