"""How a problem is fitted, by its size alone: a pure function."""

from __future__ import annotations

from typing import NamedTuple

from .rows import logits_of

__all__ = ["DEFAULT_MEMORY", "Plan", "Size", "choose"]

DEFAULT_MEMORY = 256 << 20
_MOST_IN_SPAN = 2000  # rows: the eigenvectors of so many take seconds
_HISTORY = 2 << 30  # bytes of the steps that L-BFGS remembers, where parameters are very many
_MANY = 400  # classes, from which the metric of two levels costs more than it saves


class Size(NamedTuple):
    """What the choice depends on."""

    rows: int
    features: int
    classes: int
    item: int = 8  # bytes of a number in a product
    sparse: bool = False


class Plan(NamedTuple):
    """The solver, and where its metric comes from."""

    solver: str  # "lbfgs" or "newton-cg"
    metric: str  # "levels" or "shares": see metric.py; or "diagonal"
    samples: tuple[int, ...] = ()  # rows of the samples that are fitted first
    rows: int = 0  # at most, of the sample from which the metric is estimated
    renewals: tuple[
        tuple[int, float], ...
    ] = ()  # of the metric: after so many steps, or such a fall; the last repeats
    memory: int = 20  # steps that L-BFGS remembers
    reduced: bool = False  # W is fitted in the span of the rows, which are fewer than the features


def choose(size: Size, max_memory: int = DEFAULT_MEMORY, solver: str = "auto") -> Plan:
    """The plan for a problem of some size.

    Sparse features, and dense ones that are very many, take Newton's method with conjugate gradients; fewer
    rows than features are fitted in the span of the rows. Otherwise it is L-BFGS with a metric.
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
