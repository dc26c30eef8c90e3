"""The choice of solver and metric, from the size of the problem alone: a pure function."""

from __future__ import annotations

from typing import NamedTuple

from .rows import logits_of

__all__ = ["DEFAULT_MEMORY", "Plan", "Size", "choose"]

DEFAULT_MEMORY = 256 << 20
_MOST_IN_SPAN = 2000  # rows; for this many, eigenvectors take seconds
_HISTORY = 2 << 30  # bytes of the steps that L-BFGS remembers, if there are very many parameters
_MANY = 400  # classes; from this number on the metric of two levels costs more than it saves


class Size(NamedTuple):
    """The sizes that the choice depends on."""

    rows: int
    features: int
    classes: int
    item: int = 8  # bytes of a number in a product
    sparse: bool = False


class Plan(NamedTuple):
    """The solver, and how its metric is estimated."""

    solver: str  # "lbfgs" or "newton-cg"
    metric: str  # "levels" or "shares": see metric.py; or "diagonal"
    samples: tuple[int, ...] = ()  # rows of the samples that are fitted first
    rows: int = 0  # rows, at most, from which the metric is estimated
    # when the metric is computed again: after this many steps, or such a decrease; the last repeats
    renewals: tuple[tuple[int, float], ...] = ()
    memory: int = 20  # steps that L-BFGS remembers
    reduced: bool = False  # whether W is fitted in the span of the rows: of fewer rows than features


def choose(size: Size, max_memory: int = DEFAULT_MEMORY, solver: str = "auto") -> Plan:
    """The plan for a problem of some size.

    Sparse features, and very many dense ones, take Newton's method with conjugate gradients. If there are
    fewer rows than features, W is fitted in the span of the rows. All others take L-BFGS with a metric.
    """
    n, d, k = size.rows, size.features, logits_of(size.classes)
    if n < 0.7 * d and n <= _MOST_IN_SPAN and not size.sparse:
        return choose(size._replace(features=n, item=8), max_memory, solver)._replace(reduced=True)
    if solver == "newton-cg" or (solver == "auto" and (size.sparse or d > 3000)):
        return Plan("newton-cg", "diagonal", reduced=size.sparse and n < d)
    if size.sparse or d > 3000:
        return Plan("lbfgs", "diagonal")
    most = max(1000, min(n, max_memory // 3 // (d * size.item)))
    if k > _MANY:
        return Plan("lbfgs", "shares", rows=most, memory=max(5, min(10, _HISTORY // (16 * k * (d + 1)))))
    parameters = k * (d + 1)
    samples = tuple(m for m in (n // 64, n // 8) if max(2000, parameters) <= m <= most)
    renewals = ((12, 0.01), (30, 0.0)) if samples else ((5, 0.0), (12, 0.03), (30, 0.0))
    return Plan("lbfgs", "levels", samples, most, renewals)
