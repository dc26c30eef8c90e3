"""The law of the class axis. In: what two parts of a row's classes know of it. Out: what both together know.

A row may be cut anywhere (SIMD lanes, tiles of classes, vocabulary shards on other machines): ``merge`` joins
the parts.

The state counts the peak's own term, which is exactly 1, apart from the ``rest`` of the sum. The textbook's
``log(sum(exp(z - peak)))`` rounds ``1 + rest`` first and returns 0 for every confident row; ``log1p(rest)``
keeps all digits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .arrays import Array, cast, namespace

__all__ = ["RowStats", "pulled", "z_losses"]


@dataclass(frozen=True, slots=True, eq=False)
class RowStats:
    """What softmax and cross-entropy need to know of each row: arrays of the rows' shape, or None.

    With effective targets ``t`` (see ``docs/semantics.md``) and logits ``z``::

        peak   = max_j z_j                                rest   = sum_{j != argmax} exp(z_j - peak)
        argmax = lowest j with z_j = peak                 rank   = how many classes beat the target
        gap    = sum_j t_j (peak - z_j)                   mass   = sum_j t_j
        spread = sum_j exp(z_j - peak) (peak - z_j)       square = sum_{j != argmax} exp(z_j - peak)^2

    where ``peak - z_j`` is 0 at the peak, infinite or not, and 0 times infinity is 0. What is read from them
    (natural logarithms, in nats)::

        lse = peak + log1p(rest)         nll    = gap + mass log1p(rest)
        confidence = 1 / (1 + rest)      sum_p2 = (1 + square) / (1 + rest)^2
        correct = (rank = 0)             entropy = log1p(rest) + spread / (1 + rest)

    ``argmax`` and ``rank`` are int64, and -1 where there is none: in a row with a NaN, in the empty part, and
    (``rank``) in an ignored row. An infinite ``peak`` leaves ``lse`` infinite and the rest of these NaN.

    >>> import lastlayer as ll
    >>> stats = ll.row_stats([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], [2, 0])
    >>> stats.argmax.tolist(), stats.rank.tolist(), stats.correct.tolist()
    ([2, 0], [0, 0], [True, True])
    >>> stats.nll.round(4).tolist(), stats.confidence.round(4).tolist()
    ([0.3851, 0.1398], [0.6804, 0.8695])
    """

    peak: Array
    rest: Array
    argmax: Array | None = None
    gap: Array | None = None
    mass: Array | None = None
    rank: Array | None = None
    spread: Array | None = None
    square: Array | None = None
    dtype: Any = None  # of the results below; None: the peak's own

    @property
    def lse(self) -> Array:
        """Logarithm of the sum of the exponentials, in nats."""
        with np.errstate(all="ignore"):
            xp = namespace(self.peak)
            infinite = xp.isinf(self.peak)  # nothing to add to it, and rest has no meaning there
            return self._result(xp.where(infinite, self.peak, self.peak + xp.log1p(self.rest)))

    @property
    def nll(self) -> Array:
        """Cross-entropy with the effective targets: the row's loss, in nats; 0 for ignored rows."""
        with np.errstate(all="ignore"):
            xp = namespace(self.peak)
            gap, mass = self._need("gap"), self._need("mass")
            value = gap + mass * xp.log1p(self.rest) + self._unless_infinite()
            return self._result(xp.where(mass == 0, gap, value))

    @property
    def entropy(self) -> Array:
        """Entropy of the row's softmax, in nats."""
        with np.errstate(all="ignore"):
            xp = namespace(self.peak)
            spread = self._need("spread")
            return self._result(xp.log1p(self.rest) + spread / (1 + self.rest) + self._unless_infinite())

    @property
    def confidence(self) -> Array:
        """The largest probability of the row."""
        with np.errstate(all="ignore"):
            return self._result(1 / (1 + self.rest) + self._unless_infinite())

    @property
    def sum_p2(self) -> Array:
        """Sum of the squared probabilities."""
        with np.errstate(all="ignore"):
            return self._result((1 + self._need("square")) / (1 + self.rest) ** 2 + self._unless_infinite())

    @property
    def correct(self) -> Array:
        """Whether no class beats the target: bool."""
        return self._need("rank") == 0

    @staticmethod
    def empty(shape: tuple[int, ...], xp: Any = np) -> RowStats:
        """The part without any class: the identity of ``merge``."""
        zero = xp.zeros(shape, dtype=xp.float64)
        return RowStats(
            peak=xp.full(shape, -xp.inf, dtype=xp.float64),
            rest=zero,
            argmax=xp.full(shape, -1, dtype=xp.int64),
            gap=zero,
            mass=zero,
            rank=xp.zeros(shape, dtype=xp.int64),
            spread=zero,
            square=zero,
        )

    def merge(self, other: RowStats) -> RowStats:
        """The state of both parts' classes together: associative, and exact but for rounding.

        The classes of ``other`` come after those of ``self``, and its ``argmax`` already counts from the
        row's first class. A field that one part lacks is absent from the result. With ``high`` the part of
        the larger
        peak, ``low`` the other, ``drop = high.peak - low.peak`` and ``share = exp(-drop)``::

            rest   = high.rest + share (1 + low.rest)
            square = high.square + share^2 (1 + low.square)
            spread = high.spread + share (low.spread + drop (1 + low.rest))
            gap    = high.gap + low.gap + drop low.mass
        """
        xp = namespace(self.peak)
        with np.errstate(all="ignore"):
            first = ~(self.peak < other.peak)  # ties: the earlier classes
            if self.argmax is not None and other.argmax is not None:  # an empty part has no class to offer
                first = first & ~((self.argmax < 0) & (other.peak == self.peak))
            unknown = xp.isnan(self.peak) | xp.isnan(other.peak)

            def pick(a: Array, b: Array) -> tuple[Array, Array]:
                return xp.where(first, a, b), xp.where(first, b, a)

            high, low = pick(self.peak, other.peak)
            nothing = low == -xp.inf  # the lower part adds no probability, whatever the higher one is
            drop = xp.where(high == low, 0.0, high - low)
            share = xp.where(nothing, 0.0, xp.exp(-drop))
            high_rest, low_rest = pick(self.rest, other.rest)

            def value(a: Array) -> Array:
                return xp.where(unknown, xp.nan, a)

            def both(name: str) -> tuple[Array, Array] | None:
                a, b = getattr(self, name), getattr(other, name)
                return None if a is None or b is None else (a, b)

            merged: dict[str, Any] = {f.name: None for f in fields(RowStats)}
            merged["dtype"] = self.dtype
            merged["peak"] = value(high)
            merged["rest"] = value(high_rest + share * (1 + low_rest))
            if (pair := both("argmax")) is not None:
                merged["argmax"] = xp.where(unknown, -1, pick(*pair)[0])
            if (pair := both("square")) is not None:
                a, b = pick(*pair)
                merged["square"] = value(a + share * share * (1 + b))
            if (pair := both("spread")) is not None:
                a, b = pick(*pair)
                merged["spread"] = value(a + xp.where(share == 0, 0.0, share * (b + drop * (1 + low_rest))))
            if (gaps := both("gap")) is not None and (masses := both("mass")) is not None:
                low_mass = pick(*masses)[1]
                merged["gap"] = gaps[0] + gaps[1] + xp.where(low_mass == 0, 0.0, drop * low_mass)
                merged["mass"] = masses[0] + masses[1]
            if (pair := both("rank")) is not None:
                lost = unknown | (pair[0] < 0) | (pair[1] < 0)
                merged["rank"] = xp.where(lost, -1, pair[0] + pair[1])
            return RowStats(**merged)

    def _unless_infinite(self) -> Array:
        """0 for a finite peak; NaN for an infinite one, whose probabilities are not defined."""
        return self.peak - self.peak

    def _need(self, name: str) -> Array:
        value = getattr(self, name)
        if value is None:
            raise AttributeError(
                f"these row statistics lack {name!r}: they were made without it or without targets"
            )
        return value

    def _result(self, value: Array) -> Array:
        return cast(namespace(value), value, self.peak.dtype if self.dtype is None else self.dtype)


# --- the penalty of the squared log-normaliser, for statistics in NumPy arrays ---


def z_losses(stats: RowStats, weight: float, s: Array | None) -> Array | float:
    """``weight s lse^2`` of each row; 0 where s is 0, whatever the row holds. Without s it is 1."""
    if not weight:
        return 0.0
    found: Array = weight * stats.lse**2
    return found if s is None else np.where(s == 0, 0.0, found * s)


def pulled(stats: RowStats, weight: float, s: Array | None) -> RowStats:
    """The statistics with what multiplies p in a row's gradient for its mass: ``mass + 2 weight s lse``."""
    if not weight:
        return stats
    pull = 2 * weight * stats.lse
    return replace(stats, mass=stats.mass + (pull if s is None else np.where(s == 0, 0.0, pull * s)))
