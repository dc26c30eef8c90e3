"""Rows of two models -> the numbers whose means are compared. In: `Rows` of both. Out: metrics; estimates."""

from __future__ import annotations

from math import isfinite, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .estimates import Estimate, Moments, Z, clustered, clustered_proportion, of_mean, of_proportion
from .rows import Rows

__all__ = [
    "GROUP_METRICS",
    "GROUP_OF_KNOWN",
    "METRICS",
    "OF_KNOWN",
    "Flips",
    "GroupComparison",
    "Paired",
    "by_group",
    "group_metrics_of",
    "metrics_of",
    "paired",
]

Floats = npt.NDArray[np.float64]

_COMPARED = ("log_loss", "brier", "accuracy")
# The differences are b minus a; flipped: one of the models is right, the other is not.
METRICS = (
    "log_loss_a", "log_loss_b", "log_loss", "brier_a", "brier_b", "brier",
    "accuracy_a", "accuracy_b", "accuracy", "flipped", "kl",
)  # fmt: skip
OF_KNOWN = 6  # of them: what a row of unknown label has not
# By group: the sums of w and w^2, and of w x, w^2 x and w^2 x^2 of each number.
_OF_KNOWN = ("w", "w2", *(f"{sum_} {x}" for x in ("log_loss", "brier") for sum_ in ("w", "w2", "w2x2")))
_OF_ALL = ("w", "w2", *(f"{sum_} {x}" for x in ("accuracy", "kl") for sum_ in ("w", "w2", "w2x2")))
GROUP_METRICS = (*_OF_KNOWN, *_OF_ALL, "w flipped", "only_a", "only_b")
GROUP_OF_KNOWN = len(_OF_KNOWN)


class Paired(NamedTuple):
    """A mean of both models, and the mean of the rows' differences, b minus a."""

    a: Estimate
    b: Estimate
    difference: Estimate

    def __str__(self) -> str:
        return f"{self.a.value:.6g} -> {self.b.value:.6g}, {self.difference}"


class Flips(NamedTuple):
    """How many rows a alone, b alone, both or neither predict correctly."""

    only_a: int
    only_b: int
    both: int
    neither: int


class GroupComparison(NamedTuple):
    """The differences, b minus a, over the rows of a group."""

    n: int
    log_loss: Estimate
    accuracy: Estimate
    brier: Estimate
    only_a: int
    only_b: int
    kl: Estimate


@np.errstate(invalid="ignore")  # both losses may be infinite: their difference is NaN
def metrics_of(a: Rows, b: Rows, kl: Floats) -> tuple[Floats, ...]:
    """`METRICS` of each row; rows whose label is unknown count as wrong."""
    right = [(rows.rank == 0).astype(np.float64) for rows in (a, b)]
    return (
        a.loss, b.loss, b.loss - a.loss, a.brier, b.brier, b.brier - a.brier,
        *right, right[1] - right[0], np.abs(right[1] - right[0]), kl,
    )  # fmt: skip


@np.errstate(over="ignore", invalid="ignore")
def group_metrics_of(metrics: tuple[Floats, ...], w: Floats | None) -> tuple[Floats, ...]:
    """`GROUP_METRICS` of each row."""
    x = dict(zip(METRICS, metrics, strict=True))
    w = np.ones(len(metrics[0])) if w is None else w

    def sums(names: tuple[str, ...]) -> list[Floats]:
        return [part for name in names for part in (w * x[name], w * w * x[name], (w * x[name]) ** 2)]

    of_known, of_all = sums(("log_loss", "brier")), sums(("accuracy", "kl"))
    flips = (w * x["flipped"], np.maximum(-x["accuracy"], 0), np.maximum(x["accuracy"], 0))
    return (w, w * w, *of_known, w, w * w, *of_all, *flips)


def paired(name: str, moments: Any, documents: list[Floats] | None) -> Paired | Estimate:
    """The estimates of a mean; ``documents``: the columns of the sums by document, for the errors.

    A `Paired` for metrics that both models have; an `Estimate` for "flipped" and "kl".
    """
    if name not in _COMPARED:
        return _estimate(name, moments, documents)
    a, b, difference = (_estimate(f"{name}{end}", moments, documents) for end in ("_a", "_b", ""))
    if name == "accuracy":
        i = METRICS.index("flipped")
        of = Moments(*moments.of(i, False))
        if documents is None:
            n = of.w * of.w / of.w2 if of.w2 else nan
        else:  # as many rows as have this error if they are independent
            n = float(np.count_nonzero(documents[0]))
            share, error = of.wx / of.w if of.w else nan, difference.stderr
            variance = share - difference.value**2
            n = variance / error**2 if error > 0 and variance > 0 else n
        difference = _of_flips(difference, of.wx / of.w if of.w else nan, n)
    return Paired(a, b, difference)


def _estimate(name: str, moments: Any, documents: list[Floats] | None) -> Estimate:
    i = METRICS.index(name)
    known, is_share = i < OF_KNOWN, name in ("accuracy_a", "accuracy_b", "flipped")
    if documents is None:
        return (of_proportion if is_share else of_mean)(Moments(*moments.of(i, known)))
    of = clustered_proportion if is_share else clustered
    return of(documents[int(known)], documents[i + 2])


def _of_flips(e: Estimate, flipped: float, n: float) -> Estimate:
    """A difference of two proportions of the same rows, with the interval of Agresti and Min (2005).

    That is the normal one after half a row was added to each cell of the table of both models: it has a width
    where no row has flipped. ``flipped``: the share of rows that one model alone has right; n: rows.
    """
    if not (isfinite(e.value) and isfinite(n)) or n <= 0 or e.stderr != e.stderr:
        return e
    total, net = n + 2, n * e.value
    middle, squares = net / total, flipped * n + 1 - net * net / total
    half = Z * sqrt(max(squares, 0.0)) / total
    return Estimate(e.value, e.stderr, max(-1.0, middle - half), min(1.0, middle + half))


def by_group(groups: Any) -> dict[Any, GroupComparison]:
    """The differences of each group, whose rows are taken as independent."""
    if not groups.places:
        return {}
    names = ("n", *GROUP_METRICS)
    columns = [groups.column(0), *(groups.column(m + 2) for m in range(len(GROUP_METRICS)))]
    known = 1 + GROUP_OF_KNOWN  # where the sums over all rows begin
    found = {}
    for key, *row in zip(groups.keys(), *map(np.ndarray.tolist, columns), strict=True):
        of_known = dict(zip(names[1:known], row[1:known], strict=True))
        of_all = dict(zip(names[known:], row[known:], strict=True))
        loss, brier = (_of_sums(of_known, name) for name in ("log_loss", "brier"))
        accuracy, kl = (_of_sums(of_all, name) for name in ("accuracy", "kl"))
        w, w2 = of_all["w"], of_all["w2"]
        if w and w2:
            accuracy = _of_flips(accuracy, of_all["w flipped"] / w, w * w / w2)
        only_a, only_b = (int(of_all[name]) for name in ("only_a", "only_b"))
        found[key] = GroupComparison(int(row[0]), loss, accuracy, brier, only_a, only_b, kl)
    return found


def _of_sums(row: dict[str, float], name: str) -> Estimate:
    return of_mean(Moments(row["w"], row["w2"], *(row[f"{sum_} {name}"] for sum_ in ("w", "w2", "w2x2"))))
