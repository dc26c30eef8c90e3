"""Merge statistics along the class axis. In: the state of two parts of a row's classes. Out: that of both.

The classes of a row may be divided anywhere: into SIMD lanes, tiles of classes, or vocabulary shards on
several machines. The peak's own term of the sum is exactly 1 and is left out of ``rest``. The usual formula
``log(sum(exp(z - peak)))`` rounds ``1 + rest`` and so gives 0 for every confident row; ``log1p(rest)`` does
not.
"""

from __future__ import annotations

from typing import Any

from .arrays import Array

__all__ = ["comes_first", "law", "logit_moments", "of_targets"]

State = Any  # an object with the fields of `RowStats`


def law(a: State, b: State, xp: Any, first: Any) -> dict[str, Any]:
    """The merged fields of two parts; ``first`` is true in the rows whose peak is in ``a``."""
    if first is None:
        first = ~(a.peak < b.peak)  # with equal peaks, the earlier classes
        if a.argmax is not None and b.argmax is not None:  # an argmax of -1 is that of no class
            first = first & ~((a.argmax < 0) & (b.peak == a.peak))
    unknown = xp.isnan(a.peak) | xp.isnan(b.peak)

    def pick(a: Array, b: Array) -> tuple[Array, Array]:
        return xp.where(first, a, b), xp.where(first, b, a)

    high, low = pick(a.peak, b.peak)
    impossible = low == -xp.inf  # all classes of the lower part are: it adds no probability
    drop = xp.where(high == low, 0.0, high - low)
    share = xp.where(impossible, 0.0, xp.exp(-drop))
    high_rest, low_rest = pick(a.rest, b.rest)
    low_sum = xp.where(impossible, 0.0, 1 + low_rest)

    def value(a: Array) -> Array:
        return xp.where(unknown, xp.nan, a)

    def both(name: str) -> tuple[Array, Array] | None:
        x, y = getattr(a, name), getattr(b, name)
        return None if x is None or y is None else (x, y)

    merged: dict[str, Any] = {"peak": value(high), "rest": value(high_rest + share * low_sum)}
    if (pair := both("argmax")) is not None:
        merged["argmax"] = xp.where(unknown, -1, pick(*pair)[0])
    if (pair := both("square")) is not None:
        x, y = pick(*pair)
        merged["square"] = value(x + share * share * xp.where(impossible, 0.0, 1 + y))
    if (pair := both("spread")) is not None:
        x, y = pick(*pair)
        merged["spread"] = value(x + xp.where(share == 0, 0.0, share * (y + drop * low_sum)))
        if (moments := both("moment")) is not None:  # (f + drop)^2 of each class of the lower part
            x, low_moment = pick(*moments)
            moved = low_moment + 2 * drop * y + drop * drop * low_sum
            merged["moment"] = value(x + xp.where(share == 0, 0.0, share * moved))
    if (gaps := both("gap")) is not None and (masses := both("mass")) is not None:
        low_mass = pick(*masses)[1]
        merged["gap"] = gaps[0] + gaps[1] + xp.where(low_mass == 0, 0.0, drop * low_mass)
        merged["mass"] = masses[0] + masses[1]
    if (pair := both("rank")) is not None:
        unranked = unknown | (pair[0] < 0) | (pair[1] < 0)
        merged["rank"] = xp.where(unranked, -1, pair[0] + pair[1])
    return merged


def logit_moments(a: State, xp: Any) -> tuple[Array, Array]:
    """Mean and variance of ``peak - z`` under the row's probabilities; the variance is that of z.

    The variance is a difference. The peak's probability p contributes at least p mean^2 to it, so the
    relative error grows by no more than about 1 / p.
    """
    mean = a.spread / (1 + a.rest)
    variance = a.moment / (1 + a.rest) - mean * mean
    return mean, xp.where(variance < 0, 0.0, variance)


def comes_first(a: Any, b: Any) -> Array:
    """In which rows the peak of ``a`` is larger than that of ``b``, or equal and at a lower class."""
    if a.argmax is None or b.argmax is None:
        lower: Any = (a.classes or ()) < (b.classes or ())
    else:  # an argmax of -1 is that of no class
        lower = (a.argmax >= 0) & ((b.argmax < 0) | (a.argmax < b.argmax))
    found: Array = (a.peak > b.peak) | ((a.peak == b.peak) & lower)
    return found


def of_targets(a: State, b: State, xp: Any) -> dict[str, Any]:
    """The merged targets and weights of two shards, which have the same rows."""
    found: dict[str, Any] = {}
    if a.weight is not None and b.weight is not None:
        found["weight"] = a.weight
    if a.target_weight is not None and b.target_weight is not None:
        # It is 0 in every shard except the one that holds the target.
        found["target_weight"] = a.target_weight + b.target_weight
    if a.target is not None and b.target is not None:
        found["target"] = xp.where(a.target < 0, b.target, a.target)
    return found
