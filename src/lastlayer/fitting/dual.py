"""Newton's method in the span of the rows, for more sparse features than rows. In: rows. Out: points.

The solution lies in the span of the rows: W = A^T X, where A (N, K) has a number for each row and logit.
Gradient, directions and residuals are all of that form, so conjugate gradients compute with (N, K) numbers
instead of (D, K), and a step takes one product with X X^T:

    gradient = X^T (r + penalty A)                      r = s (softmax - t) / total
    Hessian times X^T a + intercepts c: X^T (H (X X^T a + c) + penalty a)       H: by the logits of each row
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .line_search import Place, by_halving
from .objective import Objective, Point
from .rows import Floats
from .sparse import SparseRows

__all__ = ["points"]

_LOOSEST = 0.3  # the fraction of the gradient that may remain after a step
_MOST_PRODUCTS = 500  # of one step


class _Iterate:
    """A, the intercepts, and the quantities computed from them."""

    def __init__(self, objective: Objective, rows: SparseRows, a: Floats, b: Floats, scores: Floats) -> None:
        self.a, self.b, self.scores = a, b, scores  # scores: X X^T A
        self.z = (scores + b).astype(rows.dtype)
        losses, g = rows.losses(self.z)
        self.r = g.astype(np.float64) / rows.total
        self.noise = float(np.vdot(self.r, self.r))
        self.loss = float(losses.sum(dtype=np.float64)) / rows.total
        self.loss += 0.5 * objective.penalty * float(np.vdot(a, scores))
        self.residual = self.r + objective.penalty * a  # the gradient is X^T of it
        self.intercept = self.r.sum(axis=0) if objective.intercept else np.zeros(len(b))

    def slope(self, u: Floats, c: Floats) -> float:
        """The derivative of F along a direction whose scores are u, and intercepts c."""
        return float(np.vdot(self.residual, u)) + float(self.intercept @ c)


def points(objective: Objective, rows: SparseRows, tol: float) -> Iterator[Point]:
    """The start, at zero, and the point after each step; it ends where no shorter step gives a smaller F."""
    n, k = rows.count, rows.logits
    place = _Iterate(objective, rows, np.zeros((n, k)), np.zeros(k), np.zeros((n, k)))
    point = _point(objective, rows, place)
    first = point.norm
    yield point
    while True:
        left = max(min(_LOOSEST, float(np.sqrt(point.norm / first))), 0.3 * tol / point.norm)
        step = _solve(objective, rows, place, left)
        found = _search(objective, rows, place, step)
        if found is None:
            return
        place = found
        point = _point(objective, rows, place)
        yield point


def _point(objective: Objective, rows: SparseRows, place: _Iterate) -> Point:
    objective.passes += 1
    gradient = rows.gathered(place.residual.astype(rows.dtype))
    gradient[:, -1] = place.intercept
    parameters = rows.gathered(place.a.astype(rows.dtype))
    parameters[:, -1] = place.b
    return Point.of(parameters, place.loss, gradient, place.noise)


Step = tuple[Floats, Floats, Floats]  # a, its scores X X^T a, intercepts


def _solve(objective: Objective, rows: SparseRows, place: _Iterate, left: float) -> Step:
    """The Newton step by conjugate gradients, until a fraction ``left`` of the gradient's norm remains."""
    p = rows.softmax(place.z).astype(np.float64)
    by_logits = rows.curvature(p)

    def curvature(u: Floats) -> Floats:
        return by_logits(u) / rows.total

    def scores(v: Floats) -> Floats:
        objective.passes += 1
        return rows.times(rows.transposed_times(v.astype(rows.dtype))).astype(np.float64)

    # Scales of the preconditioner: one for all weights, one for the intercepts.
    spread = rows.weighted(p * (1 - p) / rows.total)
    squares = rows.mean_square() / rows.features
    of_weights = 1 / (float(spread.sum()) / rows.logits * squares + objective.penalty)
    total = spread.sum(axis=0)
    of_intercepts = np.where(total > 0, 1 / np.where(total > 0, total, 1), 0) if objective.intercept else 0
    rho, rho_b = -place.residual, -place.intercept
    rho_scores = scores(rho)
    a, u, c = np.zeros_like(rho), np.zeros_like(rho), np.zeros_like(rho_b)
    size = first = of_weights * float(np.vdot(rho, rho_scores)) + float(rho_b @ (of_intercepts * rho_b))
    d, d_scores, d_b = of_weights * rho, of_weights * rho_scores, of_intercepts * rho_b
    for _ in range(_MOST_PRODUCTS):
        if not size > left**2 * first:
            break
        h = curvature(d_scores + d_b)
        h_b = h.sum(axis=0) if objective.intercept else np.zeros_like(d_b)
        h += objective.penalty * d
        bent = float(np.vdot(h, d_scores)) + float(h_b @ d_b)
        if bent <= 0:  # by rounding alone: F is convex
            break
        length = size / bent
        h_scores = scores(h)
        a, u, c = a + length * d, u + length * d_scores, c + length * d_b
        rho, rho_scores, rho_b = rho - length * h, rho_scores - length * h_scores, rho_b - length * h_b
        before = size
        size = of_weights * float(np.vdot(rho, rho_scores)) + float(rho_b @ (of_intercepts * rho_b))
        factor = size / before
        d = of_weights * rho + factor * d
        d_scores = of_weights * rho_scores + factor * d_scores
        d_b = of_intercepts * rho_b + factor * d_b
    return a, u, c


def _search(objective: Objective, rows: SparseRows, place: _Iterate, step: Step) -> _Iterate | None:
    """A point along the step with a lower F; its scores follow from those of the step."""
    a, u, c = step

    def at(length: float) -> tuple[_Iterate, Place]:
        found = _Iterate(
            objective, rows, place.a + length * a, place.b + length * c, place.scores + length * u
        )
        return found, Place(length, found.loss, found.slope(u, c))

    return by_halving(Place(0.0, place.loss, place.slope(u, c)), at)
