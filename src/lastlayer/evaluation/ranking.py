"""Areas under ROC and precision-recall curves. In: scores, and which rows are of the class. Out: areas.

::

    roc_auc           = P(positive > negative) + P(equal) / 2, of a random positive row and a negative one
    average_precision = sum over distinct scores of (R - R_before) P       R recall, P precision from it on

A `Ranking` counts both kinds of rows at each distinct score. If there are too many distinct scores, their
last bits are dropped, as few as possible; the result then has an error bound. The number of dropped bits
depends on the set of rows alone, so the counts are the same for any split and order of the rows.
"""

from __future__ import annotations

from math import nan
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .exact import UNIT, Sums

__all__ = ["Areas", "Ranking", "keys_of", "limit_of", "ranking_numbers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SCORES = 1 << 16  # distinct scores that are told apart
_OF_ALL = 1 << 21  # of all classes together
_ONE = 1 << -UNIT  # a weight of 1 in the units of exact sums


class Areas(NamedTuple):
    """Both areas, each with its largest possible error."""

    roc_auc: float
    roc_auc_bound: float
    average_precision: float
    average_precision_bound: float


def limit_of(rankings: int) -> int:
    """The number of distinct scores that each of so many rankings distinguishes."""
    return max(64, min(_SCORES, _OF_ALL // rankings))


def keys_of(scores: Floats, kind: str) -> Ints:
    """An integer for each score, in the scores' order: the bits of the float, equal for 0 and -0.

    Of a probability above 1/2 they are the bits of ``1 - p``, which is exact, so that probabilities near 1
    stay as different as those near 0. Probabilities outside [0, 1] count as 0 and 1.
    """
    if kind != "probabilities":
        return _ordered(scores)
    p = np.clip(scores, 0.0, 1.0)
    half = int(_ordered(np.array([0.5]))[0])
    return np.where(p > 0.5, 2 * half - _ordered(1 - p), _ordered(p))


def _ordered(x: Floats) -> Ints:
    """The bits of floats as integers in the floats' order."""
    bits: Ints = np.ascontiguousarray(x + 0.0).view(np.int64)
    found: Ints = bits ^ ((bits >> 63) & np.int64(0x7FFF_FFFF_FFFF_FFFF))
    return found


class Ranking:
    """The weight of positive and negative rows at each distinct key, without its last ``dropped`` bits."""

    def __init__(self, limit: int) -> None:
        self.limit, self.dropped = limit, 0
        self.keys: Ints = np.empty(0, np.int64)  # in order
        self.sums = (Sums(0), Sums(0))  # negative, positive

    def add(self, keys: Ints, positive: npt.NDArray[np.bool_], weights: Floats | None) -> None:
        """Add rows: the key of each, whether it is of the class, and its weight."""
        keys = keys >> self.dropped
        before = self.dropped
        self._make_room(_distinct(np.sort(keys)))
        places = np.searchsorted(self.keys, keys >> (self.dropped - before))
        w = np.ones(len(keys)) if weights is None else weights
        for sums, which in zip(self.sums, (~positive, positive), strict=True):
            sums.add(w[which], places[which])

    def merge(self, other: Ranking) -> None:
        """Add those of other rows."""
        most = max(self.dropped, other.dropped)
        self._drop(most - self.dropped)
        self._make_room(_distinct(other.keys >> (most - other.dropped)))
        places = np.searchsorted(self.keys, other.keys >> (self.dropped - other.dropped))
        for mine, theirs in zip(self.sums, other.sums, strict=True):
            mine.merge(theirs.spread(len(self.keys), places))

    def _make_room(self, keys: Ints) -> None:
        """Places for these keys too, all in order; bits are dropped until they fit."""
        every = _distinct(np.sort(np.concatenate([self.keys, keys])))
        if len(every) == len(self.keys):
            return
        low, high = 0, 63  # bits to drop: the fewest that fit
        while low < high:
            middle = (low + high) // 2
            fits = np.count_nonzero(np.diff(every >> middle)) < self.limit
            low, high = (low, middle) if fits else (middle + 1, high)
        self._drop(low)
        every = _distinct(every >> low)
        places = np.searchsorted(every, self.keys)
        self.sums = (self.sums[0].spread(len(every), places), self.sums[1].spread(len(every), places))
        self.keys = every

    def _drop(self, bits: int) -> None:
        """Drop more of the last bits."""
        if not bits:
            return
        shifted = self.keys >> bits
        every = _distinct(shifted)
        places = np.searchsorted(every, shifted)
        self.sums = (self.sums[0].spread(len(every), places), self.sums[1].spread(len(every), places))
        self.keys, self.dropped = every, self.dropped + bits

    def areas(self) -> Areas:
        """The areas; NaN where there are no positive or no negative rows."""
        n, p = (sums.values() for sums in self.sums)
        total_n, total_p = float(n.sum()), float(p.sum())
        if not (total_n and total_p):
            return Areas(nan, nan, nan, nan)
        below = np.cumsum(n) - n
        pairs = total_n * total_p
        area = float((p * (below + n / 2)).sum()) / pairs
        bound = float((p * n).sum()) / 2 / pairs if self.dropped else 0.0
        p, n = p[::-1], n[::-1]
        tp, fp = np.cumsum(p), np.cumsum(n)  # from the highest score on
        if not self.dropped:
            return Areas(area, 0.0, float((p * tp / (tp + fp)).sum()) / total_p, 0.0)
        # All that is known of a bin's rows is that they lie between those above and those below.
        most = np.where(p > 0, tp / np.where(p > 0, tp + fp - n, 1.0), 0.0)
        least = (tp - p) / (tp - p + fp + (tp - p + fp == 0))
        high, low = float((p * most).sum()) / total_p, float((p * least).sum()) / total_p
        return Areas(area, bound, (high + low) / 2, (high - low) / 2)

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON: whole weights as numbers, others as text in units of 2^-120."""
        columns = (self.keys.tolist(), *map(_weights, self.sums))
        rows = [list(row) for row in zip(*columns, strict=True)]
        return {"limit": self.limit, "dropped": self.dropped, "scores": rows}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Ranking:
        """Read the result of `to_dict`."""
        found = cls(saved["limit"])
        found.dropped, rows = saved["dropped"], saved["scores"]
        found.keys = np.array([row[0] for row in rows], np.int64)
        if (
            type(found.dropped) is not int
            or not 0 <= found.dropped < 64
            or (found.keys[1:] <= found.keys[:-1]).any()
        ):
            raise ValueError("the scores of a ranking are not in order")
        found.sums = (Sums(len(rows)), Sums(len(rows)))
        for place, (_, *weights) in enumerate(rows):
            for sums, weight in zip(found.sums, weights, strict=True):
                value = int(weight) if isinstance(weight, str) else weight * _ONE
                if type(value) is not int or value < 0:
                    raise ValueError(f"a weight of a ranking is {weight!r}")
                if value:
                    sums.large[place] = value
        return found


def _distinct(ordered: Ints) -> Ints:
    """The distinct numbers of an array in order."""
    return ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))]


def _weights(sums: Sums) -> list[int | str]:
    """The weights: whole ones as numbers, others as text in units of 2^-120."""
    first, bits = sums.limbs[:, 0], 20  # of the first limb below 1
    is_whole = ~sums.limbs[:, 1:].any(axis=1) & (first & ((1 << bits) - 1) == 0)
    found: list[int | str] = (first >> bits).tolist()
    for k in {*np.flatnonzero(~is_whole).tolist(), *sums.large}:
        total = sums.total(k)
        found[k] = total // _ONE if total % _ONE == 0 else str(total)
    return found


def ranking_numbers(rankings: list[Ranking], binary: bool) -> dict[str, Any]:
    """The numbers of an evaluation: of class 1, or the means of each class against the rest.

    The means are over the classes that have both positive and negative rows.
    """
    names = Areas._fields
    if not rankings:
        return dict.fromkeys((*names, "roc_auc_by_class", "average_precision_by_class"))
    table = np.array([ranking.areas() for ranking in rankings])  # (K, 4)
    there = ~np.isnan(table[:, 0])
    means = table[there].mean(axis=0) if there.any() else np.full(len(names), nan)
    found: dict[str, Any] = dict(zip(names, map(float, means), strict=True))
    found["roc_auc_by_class"] = None if binary else table[:, 0]
    found["average_precision_by_class"] = None if binary else table[:, 2]
    return found
