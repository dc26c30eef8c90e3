"""KL divergence between two models' distributions. In: scores. Out: KL divergences and their quantiles."""

from __future__ import annotations

from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lastlayer import functional

from .rows import as_float64

__all__ = ["BINS", "Quantile", "bin_of", "divergence", "quantile"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_AT_ONCE = 1 << 15  # numbers of each array that is computed: what a cache holds
_SMALL = 1e-3  # nats: above it the sum has 12 digits or more without care
_PARTS = 64  # bins for each doubling
# Bin 0 holds all up to the first edge, bin i those above edge i - 1 and up to edge i, the last the rest.
_EDGES = 2.0 ** (np.arange(-60 * _PARTS, 20 * _PARTS + 1) / _PARTS)
BINS = len(_EDGES) + 1


class Quantile(NamedTuple):
    """A quantile of rows counted in bins: it lies between low and high, which differ by 1.1 %."""

    value: float  # the geometric mean of the bounds
    low: float
    high: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.6g} [{self.low:.6g}, {self.high:.6g}]"


def divergence(a: Any, b: Any, kinds: tuple[str, str], temperatures: tuple[float, float]) -> Floats:
    """KL(a || b) of each row of scores (n, V), in nats.

    ::

        sum_j p_j log(p_j / q_j) - p_j + q_j

    The sum of the last two terms over j is 0 for distributions. With them no summand is negative, even for
    rounded probabilities; without them small divergences would be inaccurate.
    """
    step = max(1, _AT_ONCE // max(1, a.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(a), step)]
    given = list(zip((a, b), kinds, temperatures, strict=True))
    found = [_divergence(*(_log_probabilities(x[part], kind, t) for x, kind, t in given)) for part in parts]
    return np.concatenate(found) if found else np.empty(0)


@np.errstate(all="ignore")
def _log_probabilities(scores: Any, kind: str, temperature: float) -> Floats:
    given = np.ascontiguousarray(as_float64(scores))
    if kind == "logits":
        return np.asarray(functional.log_softmax(given, temperature=temperature))
    return np.log(given) if kind == "probabilities" else given


@np.errstate(all="ignore")
def _divergence(log_p: Floats, log_q: Floats) -> Floats:
    p, q, d = np.exp(log_p), np.exp(log_q), log_p - log_q
    each = np.multiply(p, d)
    each += q
    each -= p
    found = each.sum(axis=1)
    if len(odd := np.flatnonzero(~(found > _SMALL))):  # NaN among them
        found[odd] = _careful(p[odd], q[odd], d[odd])
    return found  # type: ignore[no-any-return]


def _careful(p: Floats, q: Floats, d: Floats) -> Floats:
    """The same of rows whose terms cancel to d^2 / 2, and of rows with impossible classes."""
    each = np.where(np.abs(d) < 1, p * (np.expm1(-d) + d), q - p + p * d)  # exp(-d) may overflow
    each = np.where(p == 0, q, each)  # impossible in a; in b alone: infinite
    return np.maximum(each.sum(axis=1), 0.0)  # type: ignore[no-any-return]


def bin_of(values: Floats) -> Ints:
    """The bin of each divergence."""
    return np.searchsorted(_EDGES, values, side="left")


def quantile(weights: Floats, q: float) -> Quantile:
    """The smallest divergence that a share q of the weight does not exceed, from the weight of each bin."""
    cumulated = np.cumsum(weights)
    if not cumulated[-1]:
        return Quantile(nan, nan, nan)
    place = int(np.searchsorted(cumulated, q * cumulated[-1], side="left"))
    if place == 0:
        return Quantile(0.0, 0.0, float(_EDGES[0]))
    low = float(_EDGES[place - 1])
    if place == len(_EDGES):
        return Quantile(inf, low, inf)
    return Quantile(sqrt(low) * sqrt(float(_EDGES[place])), low, float(_EDGES[place]))
