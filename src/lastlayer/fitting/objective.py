"""The function that is minimized. In: rows and the penalty. Out: its value, gradient and Hessian products.

    F(W, b) = (1 / s) sum_n s_n cross_entropy_n + |W|^2 / (2 C s)      s = the sum of the rows' weights

It is scikit-learn's objective of `LogisticRegression`; the intercepts b are not penalized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .rows import Floats, Rows

__all__ = ["Objective", "Point", "dot"]


class Point(NamedTuple):
    """Parameters, with F and its gradient there."""

    parameters: Floats  # (K, D + 1)
    loss: float
    gradient: Floats  # (K, D + 1)
    noise: float  # sum_n |s_n (softmax - t)|^2 / s^2
    norm: float  # the largest absolute entry of the gradient

    @classmethod
    def of(cls, parameters: Floats, loss: float, gradient: Floats, noise: float) -> Point:
        """A point with the norm of its gradient; NaN if the gradient has a NaN."""
        return cls(parameters, loss, gradient, noise, float(max(gradient.max(), -gradient.min())))


class Objective:
    """F over some rows. ``penalty`` is 1 / (C s); ``passes`` counts the passes over the rows."""

    def __init__(self, rows: Rows, penalty: float, intercept: bool = True) -> None:
        self.rows, self.penalty, self.intercept = rows, penalty, intercept
        self.passes = 0.0

    def start(self) -> Floats:
        """Parameters of zeros."""
        return self.rows.start()

    def point(self, parameters: Floats) -> Point:
        """F and its gradient: one pass."""
        self.passes += 1
        loss, gradient, noise = self.rows.sums(parameters)
        w = parameters[:, :-1]
        self._finish(gradient, w)
        loss = loss / self.rows.total + 0.5 * self.penalty * float(np.einsum("kd,kd->", w, w))
        return Point.of(parameters, loss, gradient, noise / self.rows.total**2)

    def hessian(self, parameters: Floats) -> Callable[[Floats], Floats]:
        """The Hessian at the parameters as a function of a direction: one pass per product."""
        product = self.rows.hessian(parameters)

        def apply(direction: Floats) -> Floats:
            self.passes += 1
            h = product(direction)
            self._finish(h, direction[:, :-1])
            return h

        return apply

    def diagonal(self, parameters: Floats) -> Floats:
        """The Hessian's diagonal (K, D + 1): one pass."""
        self.passes += 1
        h = self.rows.diagonal(parameters) / self.rows.total
        h[:, :-1] += self.penalty
        if not self.intercept:
            h[:, -1] = 1
        return h

    def _finish(self, sums: Floats, w: Floats) -> None:
        sums /= self.rows.total
        sums[:, :-1] += self.penalty * w
        if not self.intercept:
            sums[:, -1] = 0


def dot(a: Floats, b: Floats) -> float:
    """The inner product of two arrays of the same layout, without copies."""
    return float(np.dot(a.ravel("K"), b.ravel("K")))
