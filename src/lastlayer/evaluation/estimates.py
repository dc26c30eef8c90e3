"""Means with error bars. In: sums over rows, or over documents. Out: `Estimate`."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = [
    "Estimate",
    "Moments",
    "Z",
    "clustered",
    "clustered_proportion",
    "of_mean",
    "of_proportion",
    "scaled",
    "transformed",
    "trials_of",
    "wilson",
]

Z = 1.959963984540054  # of a 95 % interval of the normal distribution


class Estimate(NamedTuple):
    """An estimate from a sample: its value, standard error and 95 % interval (NaN where there is none)."""

    value: float
    stderr: float = nan
    low: float = nan
    high: float = nan

    def __float__(self) -> float:
        return self.value

    def __round__(self, digits: int = 0) -> float:
        return round(self.value, digits)

    # Compared and computed with it is its value, not the tuple.

    def __lt__(self, other: Any) -> bool:
        return self.value < float(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= float(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > float(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= float(other)

    def __mul__(self, other: Any) -> Any:
        return self.value * float(other)

    def __add__(self, other: Any) -> Any:
        return self.value + float(other)

    def __sub__(self, other: Any) -> float:
        return self.value - float(other)

    def __rsub__(self, other: Any) -> float:
        return float(other) - self.value

    def __truediv__(self, other: Any) -> float:
        return self.value / float(other)

    def __rmul__(self, other: Any) -> Any:
        return self.value * float(other)

    def __radd__(self, other: Any) -> float:
        return self.value + float(other)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return format(self.value, spec)

    def __str__(self) -> str:
        if not isfinite(self.stderr):
            return f"{self.value:.6g}"
        return f"{self.value:.6g} [{self.low:.6g}, {self.high:.6g}]"


class Moments(NamedTuple):
    """Weighted sums over rows: of w, w^2, w x, w^2 x and w^2 x^2."""

    w: float
    w2: float
    wx: float
    w2x: float
    w2x2: float


def of_mean(m: Moments) -> Estimate:
    """The mean ``sum w x / sum w``, and its standard error.

    ::

        stderr^2 = n_eff / (n_eff - 1) sum w^2 (x - mean)^2 / (sum w)^2        n_eff = (sum w)^2 / sum w^2

    With weights of 1 this is the sample's standard deviation over sqrt(n).
    """
    if not m.w:
        return Estimate(nan)
    mean = m.wx / m.w
    effective = m.w * m.w / m.w2 if m.w2 else nan  # the squares of very small weights vanish
    squares = m.w2x2 - 2 * mean * m.w2x + mean * mean * m.w2
    if not (isfinite(mean) and effective > 1):
        return Estimate(mean)
    return _normal(mean, sqrt(max(squares, 0.0) * effective / (effective - 1)) / m.w)


def of_proportion(m: Moments) -> Estimate:
    """A proportion, with Wilson's interval (1927) at ``n_eff`` trials."""
    if not m.w:
        return Estimate(nan)
    p, n = m.wx / m.w, m.w * m.w / m.w2 if m.w2 else nan
    if not isfinite(p) or not isfinite(n):
        return Estimate(p)
    stderr = sqrt(max(p * (1 - p), 0.0) / (n - 1)) if n > 1 else nan
    return Estimate(p, stderr, *wilson(p, n))


def wilson(p: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a proportion p of n trials (Wilson 1927)."""
    middle, shrink = p + Z**2 / (2 * n), 1 + Z**2 / n
    half = Z * sqrt(max(p * (1 - p), 0.0) / n + Z**2 / (4 * n**2))
    low, high = (middle - half) / shrink, (middle + half) / shrink
    return min(p, max(0.0, low)), max(p, min(1.0, high))  # at 0 and 1 the bounds are p, but for rounding


def trials_of(e: Estimate) -> float:
    """How many independent rows give a proportion its standard error, or at 0 and 1 its interval."""
    if not (isfinite(e.value) and isfinite(e.low) and isfinite(e.high)):
        return nan
    if 0 < e.value < 1 and e.stderr > 0:
        return e.value * (1 - e.value) / e.stderr**2 + 1
    width = e.high - e.low  # of Wilson's interval, z^2 / (n + z^2)
    return Z**2 * (1 - width) / width if width > 0 else nan


@np.errstate(over="ignore", invalid="ignore")
def clustered(w: npt.NDArray[Any], wx: npt.NDArray[Any]) -> Estimate:
    """The same mean from the sums of each document, whose rows depend on each other.

    ::

        stderr^2 = G / (G - 1) sum_g (wx_g - mean w_g)^2 / (sum w)^2         G documents
    """
    total = float(np.sum(w))
    if not total:
        return Estimate(nan)
    mean, groups = float(np.sum(wx)) / total, int(np.count_nonzero(w))
    if not isfinite(mean) or groups < 2:
        return Estimate(mean)
    squares = float(np.sum((wx - mean * w) ** 2))
    return _normal(mean, sqrt(squares * groups / (groups - 1)) / total)


def clustered_proportion(w: npt.NDArray[Any], wx: npt.NDArray[Any]) -> Estimate:
    """The same of a proportion, with Wilson's interval at the number of trials that has this standard error.

    ::

        n = p (1 - p) / stderr^2         where the error is 0, the number of documents
    """
    found, groups = clustered(w, wx), int(np.count_nonzero(w))
    p, error = found.value, found.stderr
    if not isfinite(error):
        return found
    n = p * (1 - p) / error**2 if error > 0 and 0 < p < 1 else float(groups)
    return Estimate(p, error, *wilson(p, n))


def _normal(value: float, stderr: float) -> Estimate:
    return Estimate(value, stderr, value - Z * stderr, value + Z * stderr)


def scaled(e: Estimate, factor: float) -> Estimate:
    """The estimate in other units."""
    return Estimate(*(part * factor for part in e))


def transformed(e: Estimate, function: Callable[[float], float]) -> Estimate:
    """The estimate of an increasing function of the mean: its interval is that of the mean, transformed."""
    low, high = function(e.low), function(e.high)
    return Estimate(function(e.value), function(e.value) * e.stderr, low, high)
