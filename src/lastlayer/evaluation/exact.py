"""Exact sums of floats. In: numbers, each with the place it is added to. Out: the same sum in any order.

A number is divided into three integers, in units of 2^-20, 2^-70 and 2^-120, and integers are added. So a sum
does not depend on how the rows were split or ordered, or on the number of threads. What is below 2^-120 is
cut off; numbers of 2^32 and more are kept as Python's integers; infinities and NaN are counted.
"""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer.backends.core import core

__all__ = ["UNIT", "Counts", "Sums"]

UNIT = -120  # the exponent of the last limb's unit
_FIRST = 20  # minus that of the first
_BASE = 50  # bits between two limbs
_LARGE = 2.0**32
_AT_ONCE = 1 << 10  # rows whose limbs add up in 64 bits

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Sums:
    """K sums: of all numbers that were added to each place."""

    def __init__(self, size: int) -> None:
        self.limbs: Ints = np.zeros((size, 3), np.int64)  # the last two in [0, 2^50)
        self.large: dict[int, int] = {}  # place -> sum of the numbers of 2^32 and more, in units of 2^-120
        self.odd: dict[int, list[int]] = {}  # place -> how many +inf, -inf, NaN

    def __len__(self) -> int:
        return len(self.limbs)

    def add(self, values: Floats, places: Ints | int = 0) -> None:
        """Add each number to its place, or all to one place."""
        values = np.ascontiguousarray(values)
        one = places if isinstance(places, int) else None
        at = None if isinstance(places, int) else np.ascontiguousarray(places)
        if core.BUILT and core.add_exactly(values, at, one or 0, self.limbs) == 0:
            return
        usual = np.abs(values) < _LARGE
        for i in np.flatnonzero(~usual):
            self._add_odd(float(values[i]), int(at[i]) if at is not None else one or 0)
        if not core.BUILT:
            self._add(np.where(usual, values, 0.0), at, one or 0)

    def _add(self, values: Floats, places: Ints | None, place: int) -> None:
        """Add numbers below 2^32, without the core."""
        for start in range(0, len(values), _AT_ONCE):
            limbs = _limbs(values[start : start + _AT_ONCE])
            if places is None:
                self.limbs[place] += limbs.sum(axis=1)
            else:
                np.add.at(self.limbs, places[start : start + _AT_ONCE], limbs.T)
            self._carry()

    def merge(self, other: Sums, places: Ints | None = None) -> None:
        """Add the sums of another: place by place, or each to one of ``places``, all different."""
        if places is None:
            self.limbs += other.limbs
            self._carry()
        else:
            self.limbs[places] += other.limbs
            self._carry(places)
        for place, value in other.large.items():
            at = place if places is None else int(places[place])
            self.large[at] = self.large.get(at, 0) + value
        for place, counts in other.odd.items():
            mine = self.odd.setdefault(place if places is None else int(places[place]), [0, 0, 0])
            for i in range(3):
                mine[i] += counts[i]

    def spread(self, size: int, places: Ints) -> Sums:
        """The same sums at other places of ``size``; those of one place are added."""
        found = Sums(size)
        for start in range(0, len(self), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            np.add.at(found.limbs, places[part], self.limbs[part])
            found._carry()
        for place, value in self.large.items():
            at = int(places[place])
            found.large[at] = found.large.get(at, 0) + value
        return found

    def first(self, size: int) -> Sums:
        """The sums of the first places alone."""
        found = Sums(0)
        found.limbs, found.large, found.odd = self.limbs[:size], self.large, self.odd
        return found

    def total(self, place: int = 0) -> int:
        """The finite part of a sum as one integer, in units of 2^-120."""
        a, b, c = (int(v) for v in self.limbs[place])
        return (((a << _BASE) + b) << _BASE) + c + self.large.get(place, 0)

    def value(self, place: int = 0) -> float:
        """A sum, rounded once."""
        if place in self.odd:
            plus, minus, lost = self.odd[place]
            return nan if lost or (plus and minus) else inf if plus else -inf
        return _rounded(self.total(place))

    def values(self) -> Floats:
        """All sums, each rounded once."""
        first = self.limbs[:, 0]
        is_exact = ~self.limbs[:, 1:].any(axis=1) & (np.abs(first) < 1 << 53)  # as counts are
        found = np.where(is_exact, first * 2.0**-_FIRST, 0.0)
        for k in {*np.flatnonzero(~is_exact).tolist(), *self.large, *self.odd}:
            found[k] = self.value(k)
        return found

    def whole(self) -> int:
        """The finite parts of all sums, added up, in units of 2^-120."""
        a, b, c = (sum(self.limbs[:, i].tolist()) for i in range(3))
        return int((((a << _BASE) + b) << _BASE) + c + sum(self.large.values()))

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON: integers as text, of the places that are not 0."""
        places = sorted({*np.flatnonzero(self.limbs.any(axis=1)).tolist(), *self.large})
        totals = {k: self.total(k) for k in places}
        found: dict[str, Any] = {"size": len(self), "sums": {str(k): str(v) for k, v in totals.items() if v}}
        if self.odd:
            found["not_finite"] = {str(k): self.odd[k] for k in sorted(self.odd)}
        return found

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Sums:
        """Read the result of `to_dict`."""
        found = cls(saved["size"])
        found.large = {int(k): int(text) for k, text in saved["sums"].items()}
        found.odd = {int(k): [int(n) for n in counts] for k, counts in saved.get("not_finite", {}).items()}
        if not all(0 <= k < len(found) for k in (*found.large, *found.odd)):
            raise ValueError(f"a place is not one of {len(found)}")
        if any(len(counts) != 3 or min(counts) < 0 for counts in found.odd.values()):
            raise ValueError("a number of rows is negative or missing")
        return found

    def _add_odd(self, value: float, place: int) -> None:
        if value - value == 0:
            top, bottom = value.as_integer_ratio()  # a large number is whole
            self.large[place] = self.large.get(place, 0) + ((top << -UNIT) // bottom)
            return
        counts = self.odd.setdefault(place, [0, 0, 0])
        counts[2 if value != value else 0 if value > 0 else 1] += 1

    def _carry(self, places: Any = slice(None)) -> None:
        limbs = self.limbs[places]
        for i in (2, 1):
            high = limbs[:, i] >> _BASE
            limbs[:, i] -= high << _BASE
            limbs[:, i - 1] += high
        self.limbs[places] = limbs


class Counts:
    """K sums of weights: integers while no row has a weight of its own, exact sums besides."""

    def __init__(self, size: int) -> None:
        self.counts: Ints = np.zeros(size, np.int64)
        self.sums: Sums | None = None

    def __len__(self) -> int:
        return len(self.counts)

    def add(self, places: Ints, weights: Floats | None = None) -> None:
        """Count each row at its place, or add its weight there."""
        if weights is None:
            self.counts += np.bincount(places, minlength=len(self.counts))
            return
        self.sums = Sums(len(self.counts)) if self.sums is None else self.sums
        self.sums.add(weights, places)

    def merge(self, other: Counts) -> None:
        """Add the weights of another, place by place."""
        self.counts += other.counts
        if other.sums is not None:
            self.sums = Sums(len(self.counts)) if self.sums is None else self.sums
            self.sums.merge(other.sums)

    def __getstate__(self) -> tuple[int, Ints, Ints | None, Sums | None]:
        """For another process: of large tables that are mostly 0, the other places."""
        places = np.flatnonzero(self.counts)
        if 4 * len(places) > len(self.counts):
            return len(self), self.counts, None, self.sums
        return len(self), self.counts[places], places, self.sums

    def __setstate__(self, state: tuple[int, Ints, Ints | None, Sums | None]) -> None:
        size, counts, places, self.sums = state
        if places is None:
            self.counts = counts.copy()
            return
        self.counts = np.zeros(size, np.int64)
        self.counts[places] = counts

    def values(self) -> Floats:
        """The weights."""
        counts = self.counts.astype(np.float64)
        return counts if self.sums is None else counts + self.sums.values()

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON: the places that are not 0."""
        found: dict[str, Any] = {
            "size": len(self.counts),
            "counts": {str(k): int(self.counts[k]) for k in np.flatnonzero(self.counts)},
        }
        if self.sums is not None:
            found |= self.sums.to_dict()
        return found

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Counts:
        """Read the result of `to_dict`."""
        found = cls(saved["size"])
        for k, count in saved["counts"].items():
            if type(count) is not int or count < 0 or not 0 <= int(k) < len(found):
                raise ValueError(f"the count of place {k} of {len(found)} is {count!r}")
            found.counts[int(k)] = count
        found.sums = Sums.from_dict(saved) if "sums" in saved else None
        return found


def _limbs(values: Floats) -> Ints:
    """Numbers below 2^32 as three integers each: (3, n)."""
    scaled = values * 2.0**_FIRST
    limbs = np.empty((3, len(values)), np.int64)
    for i in range(3):
        whole = np.trunc(scaled)
        limbs[i] = whole
        scaled = (scaled - whole) * 2.0**_BASE
    return limbs


def _rounded(total: int) -> float:
    """An integer in units of 2^-120 as a float, rounded once."""
    try:
        return total / (1 << -UNIT)  # true division of integers rounds correctly
    except OverflowError:
        return inf if total > 0 else -inf
