"""Fits softmax regression. In: rows, the penalty, a tolerance. Out: parameters whose gradient is below it.

Samples are fitted first, until their gradient is below the sampling noise. So the fit of all rows begins near
the solution, with the metric of the sample. If float32 products are too coarse for the tolerance, the last
steps are taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import dual, lbfgs, newton
from . import metric as metrics
from .linalg import blas_on_one_thread
from .objective import Objective, Point
from .plan import Plan
from .rows import Floats, Rows
from .span import Span
from .sparse import SparseRows
from .two_level import SAMPLED, two_level

__all__ = ["Fit", "Report", "fit"]

_SAMPLE_STEPS = 30
_NOISE = 0.3  # a sample is fitted until its gradient's norm is this fraction of the sampling noise
_STALLED = 15  # steps without a smaller gradient while F does not change


class Report(NamedTuple):
    """The state after a step, for observers of the fit."""

    iteration: int
    passes: float
    point: Point


class Fit(NamedTuple):
    """Fitted parameters, and how they were reached."""

    parameters: Floats  # (K, D + 1), float64: the weights, and the intercepts in the last column
    loss: float  # F
    norm: float  # the largest absolute entry of F's gradient
    iterations: int
    passes: float  # over all rows
    converged: bool


class _Problem(NamedTuple):
    rows: Rows
    penalty: float
    plan: Plan
    tol: float
    max_iter: int
    intercept: bool
    rng: np.random.Generator


class _State:
    """The state shared by the stages of a fit."""

    def __init__(self, problem: _Problem, report: Callable[[Report], None] | None) -> None:
        self.problem, self.report = problem, report
        self.iterations, self.passes = 0, 0.0
        self.metric: metrics.Metric | None = None


def fit(
    rows: Rows,
    penalty: float,
    plan: Plan,
    *,
    tol: float = 1e-4,
    max_iter: int = 1000,
    intercept: bool = True,
    seed: Any = 0,
    start: Floats | None = None,
    report: Callable[[Report], None] | None = None,
) -> Fit:
    """Minimize F from ``start``, or from samples and zeros, until its gradient is at most ``tol``."""
    problem = _Problem(rows, penalty, plan, tol, max_iter, intercept, np.random.default_rng(seed))
    state = _State(problem, report)
    with blas_on_one_thread():
        dense = not isinstance(rows, SparseRows)
        return _fit_reduced(state) if dense and plan.reduced and start is None else _fit_all(state, start)


def _fit_all(state: _State, start: Floats | None) -> Fit:
    rows, penalty, plan, tol, max_iter, _, _ = state.problem
    parameters = Objective(rows, penalty).start() if start is None else start
    if start is None:
        for count in plan.samples:
            parameters = _fit_sample(state, count, parameters)
    while True:
        point = _fit_rows(state, rows, parameters)
        converged = point.norm <= tol
        certain = rows.is_exact or point.norm + rows.rounding <= tol
        if state.iterations >= max_iter or (certain if converged else rows.is_exact):
            return _fit(state, point)
        rows, parameters = rows.exact(), point.parameters


def _fit(state: _State, point: Point) -> Fit:
    converged = point.norm <= state.problem.tol
    if len(point.parameters) > 1:  # adding a number to all intercepts changes nothing
        point.parameters[:, -1] -= point.parameters[:, -1].mean()
    return Fit(point.parameters, point.loss, point.norm, state.iterations, state.passes, converged)


def _fit_reduced(state: _State) -> Fit:
    """Fit in coordinates of the rows' span, until the gradient with respect to all features is small.

    Its largest entry may differ from that of the gradient with respect to the coordinates.
    """
    p = state.problem
    span = Span(p.rows)
    exact = Objective(p.rows.exact(), p.penalty, p.intercept)
    tol, start = p.tol, Objective(span.rows, p.penalty).start()
    while True:
        state.problem = p._replace(rows=span.rows, tol=tol)
        found = _fit_rows(state, span.rows, start)
        point = exact.point(span.back(found.parameters))
        if point.norm <= p.tol or state.iterations >= p.max_iter or found.norm > tol:
            state.problem = p
            return _fit(state, point)
        tol, start = 0.5 * tol * p.tol / point.norm, found.parameters


def _fit_sample(state: _State, count: int, start: Floats) -> Floats:
    p = state.problem
    part = p.rows.sample(count, p.rng)
    objective = Objective(part, p.penalty, p.intercept)
    first = state.metric or metrics.shared_block(part, p.penalty, p.intercept, p.rng)
    size = part.mean_square()
    for number, point in enumerate(lbfgs.points(objective, start, lambda _: first)):
        if float(np.vdot(point.gradient, point.gradient)) <= _NOISE**2 * point.noise * size:
            break
        if number == _SAMPLE_STEPS:
            break
    state.passes += objective.passes * part.count / p.rows.count
    state.metric = two_level(part, point.parameters, p.penalty, p.intercept, p.rng)
    return point.parameters


def _fit_rows(state: _State, rows: Rows, start: Floats) -> Point:
    """Steps over all rows until the tolerance, the last iteration or a stall."""
    p = state.problem
    objective = Objective(rows, p.penalty, p.intercept)
    if p.plan.solver == "newton-cg":
        if isinstance(rows, SparseRows) and p.plan.reduced and not start.any():
            steps = dual.points(objective, rows, p.tol)
        else:
            steps = newton.points(objective, start, p.tol)
    else:
        steps = lbfgs.points(objective, start, _Renewal(state, objective), memory=p.plan.memory)
    best, loss, since, passes = np.inf, np.inf, 0, state.passes
    for number, point in enumerate(steps):
        state.iterations += number > 0
        state.passes = passes + objective.passes
        if state.report:
            state.report(Report(state.iterations, state.passes, point))
        if point.norm < 0.9 * best or point.loss < loss - 1e-7 * abs(loss):
            best, loss, since = min(best, point.norm), point.loss, 0
        since += 1
        if point.norm <= p.tol or state.iterations >= p.max_iter or since > _STALLED:
            break
    return point


class _Renewal:
    """The metric of a point: that of the sample, or of parameters of zero, until the plan renews it."""

    def __init__(self, state: _State, objective: Objective) -> None:
        self.state, self.objective = state, objective
        self.left = list(state.problem.plan.renewals)
        self.number, self.norm = -1, np.inf

    def __call__(self, point: Point) -> metrics.Metric:
        p, state = self.state.problem, self.state
        self.number += 1
        if self.number == 0:
            self.norm = point.norm
        if state.metric is None:
            state.metric = self._first(point)
        elif self.left and (self.number >= self.left[0][0] or point.norm <= self.left[0][1] * self.norm):
            if len(self.left) > 1:  # the last one repeats
                self.left.pop(0)
            self.number, self.norm = 0, point.norm
            part = p.rows.sample(min(p.plan.rows, SAMPLED), p.rng)
            state.metric = two_level(part, point.parameters, p.penalty, p.intercept, p.rng)
        return state.metric

    def _first(self, point: Point) -> metrics.Metric:
        p = self.state.problem
        if p.plan.metric == "diagonal":
            return metrics.diagonal(self.objective.diagonal(point.parameters))
        count = min(p.plan.rows, metrics.rows_needed(p.rows.features))
        part = p.rows.sample(count, p.rng)
        if p.plan.metric == "levels":
            return metrics.shared_block(part, p.penalty, p.intercept, p.rng)
        share = np.maximum(p.rows.shares(), 0.5 / p.rows.total)
        return metrics.shares(part, p.penalty, p.intercept, p.rng, share)
