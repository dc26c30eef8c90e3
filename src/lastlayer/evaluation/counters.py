"""The parts of a tally, each one separate. In: `Rows` and their weights. Out: exact sums that add.

Every part has ``add`` for rows, ``merge`` for another of its kind, ``to_dict`` and ``from_dict`` for JSON.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .exact import Counts, Sums
from .rows import Rows

__all__ = [
    "FINE_EDGES",
    "HARDEST",
    "Bins",
    "Hardest",
    "Keyed",
    "Moments",
    "Pairs",
    "Seen",
    "equal_width_bin",
    "fine_bin",
    "metrics_of",
    "names_of",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HARDEST = 20  # rows
_PAIRS = 1_000_000  # pairs of classes that are counted where the whole table would be too large


class Seen(NamedTuple):
    """Rows that are counted, with the user's facts about each."""

    rows: Rows
    weights: Floats | None  # None: 1 each
    metrics: tuple[Floats, ...]  # `metrics_of`; NaN where a row has no such number
    has_loss: npt.NDArray[np.bool_]  # whether the row's label is a class of the model

    def select(self, index: Any) -> Seen:
        """Some of the rows."""
        w = None if self.weights is None else self.weights[index]
        metrics = tuple(x[index] for x in self.metrics)
        return Seen(self.rows.select(index), w, metrics, self.has_loss[index])


def metrics_of(rows: Rows, top_k: tuple[int, ...]) -> tuple[Floats, ...]:
    """The numbers whose means are taken: loss, brier, confidence, entropy, reciprocal rank, top-k hits."""
    right = rows.rank >= 0
    with np.errstate(divide="ignore"):
        reciprocal = np.where(right, 1.0 / (rows.rank + 1.0), 0.0)
    hits = [(right & (rows.rank < k)).astype(np.float64) for k in top_k]
    return rows.loss, rows.brier, rows.confidence, rows.entropy, reciprocal, *hits


def names_of(top_k: tuple[int, ...]) -> tuple[str, ...]:
    """The names of `metrics_of`, in its order."""
    return (*OF_KNOWN, "confidence", "entropy", "mean_reciprocal_rank", *(f"top_{k}" for k in top_k))


OF_KNOWN = ("loss", "brier")  # metrics that a row of unknown label has not


class Moments:
    """Of all rows: the sums of w, w^2, w x, w^2 x and w^2 x^2 for each metric x, of the rows that have it.

    Rows without a weight are added separately: for them two sums are enough. ``of_known``: how many metrics,
    from the first on, are missing for a row of unknown label.
    """

    def __init__(self, metrics: int, of_known: int = len(OF_KNOWN)) -> None:
        self.of_known = of_known
        self.rows = Sums(2)  # without weights: how many; how many that have a loss
        self.plain = [Sums(metrics) for _ in range(2)]  # of them, x and x^2
        self.weight = Sums(4)  # with weights: w, w^2; and those of the rows that have a loss
        self.weighted = [Sums(metrics) for _ in range(3)]  # of them, w x, w^2 x, w^2 x^2

    @np.errstate(over="ignore")  # the square of a very large loss is infinite
    def add(self, seen: Seen) -> None:
        """Add rows."""
        known = slice(None) if seen.has_loss.all() else seen.has_loss
        w = seen.weights
        if w is None:
            self.rows.add(np.array([float(len(seen.has_loss))]), 0)
            self.rows.add(np.array([float(np.count_nonzero(seen.has_loss))]), 1)
        else:
            for i, v in enumerate((w, w * w, w[known], (w * w)[known])):
                self.weight.add(v, i)
        for m, x in enumerate(seen.metrics):
            part = known if m < self.of_known else slice(None)
            v = x[part]
            if w is None:
                self.plain[0].add(v, m)
                self.plain[1].add(v * v, m)
                continue
            u = w[part]
            for sums, value in zip(self.weighted, (u * v, u * u * v, (u * v) ** 2), strict=True):
                sums.add(value, m)

    def of(self, metric: int, known: bool) -> tuple[float, float, float, float, float]:
        """The sums of w, w^2, w x, w^2 x and w^2 x^2 of a metric."""
        rows, place = self.rows.value(int(known)), 2 * known
        w, w2 = self.weight.value(place), self.weight.value(place + 1)
        x, x2 = (s.value(metric) for s in self.plain)
        wx, w2x, w2x2 = (s.value(metric) for s in self.weighted)
        return rows + w, rows + w2, x + wx, x + w2x, x2 + w2x2

    @property
    def total(self) -> float:
        """The sum of all weights."""
        return self.rows.value(0) + self.weight.value(0)

    @property
    def total_of_known(self) -> float:
        """The sum of the weights of the rows that have a loss."""
        return self.rows.value(1) + self.weight.value(2)

    def _parts(self) -> list[Sums]:
        return [self.rows, *self.plain, self.weight, *self.weighted]

    def merge(self, other: Moments) -> None:
        """Add those of other rows."""
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            mine.merge(theirs)

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON."""
        return {"parts": [part.to_dict() for part in self._parts()]}

    @classmethod
    def from_dict(cls, saved: dict[str, Any], of_known: int = len(OF_KNOWN)) -> Moments:
        """Read the result of `to_dict`."""
        found = cls(0, of_known)
        parts = [Sums.from_dict(part) for part in saved["parts"]]
        found.rows, found.plain, found.weight, found.weighted = parts[0], parts[1:3], parts[3], parts[4:]
        return found


class Keyed:
    """Sums by a key of each row, such as its document: of w, and of w x for each metric x.

    With ``squares`` also those of w^2 that an interval of the loss and of a hit takes.
    """

    def __init__(self, metrics: int, squares: bool = False, of_known: int = len(OF_KNOWN)) -> None:
        self.of_known = of_known
        self.places: dict[Hashable, int] = {}
        self.metrics, self.squares = metrics, squares
        # w, w of rows that have a loss, each w x; w^2 of both, w^2 x and w^2 x^2 of the loss, w^2 of hits
        self.columns = [Sums(0) for _ in range(metrics + 2 + 5 * squares)]
        self._order: list[Any] = []

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, seen: Seen, keys: Any) -> None:
        """Add rows, each with its key."""
        array = np.asarray(keys).reshape(-1)
        distinct, inverse = np.unique(array, return_inverse=True)
        place, found = inverse.reshape(-1), [Sums(len(distinct)) for _ in self.columns]
        ones = np.ones(len(seen.rows.target)) if seen.weights is None else seen.weights
        known = seen.has_loss
        found[0].add(ones, place)
        found[1].add(ones[known], place[known])
        for m, x in enumerate(seen.metrics):
            part = known if m < self.of_known else slice(None)
            found[m + 2].add(ones[part] * x[part], place[part])
        if self.squares:
            w2, loss, hit = ones * ones, seen.rows.loss, seen.rows.rank == 0
            for sums, part, value in zip(
                found[self.metrics + 2 :],
                (slice(None), known, known, known, hit),
                (w2, w2, w2 * loss, (ones * loss) ** 2, w2),
                strict=True,
            ):
                sums.add(value[part], place[part])
        self._merge(distinct.tolist(), found)

    def merge(self, other: Keyed) -> None:
        """Add those of other rows."""
        self._merge(list(other.places), other.columns)

    def _merge(self, keys: list[Any], columns: list[Sums]) -> None:
        """Add the sums of these keys, the first of them first."""
        places = np.array([self.places.setdefault(key, len(self.places)) for key in keys], np.int64)
        for mine, theirs in zip(self.columns, columns, strict=True):
            if (more := len(self.places) - len(mine)) > 0:
                mine.limbs = np.concatenate([mine.limbs, np.zeros((max(more, len(mine)), 3), np.int64)])
            if len(theirs) > len(places):  # room that nothing was added to
                theirs = theirs.first(len(places))
            mine.merge(theirs, places)

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON, in the order of the keys."""
        found = []
        for key in self.keys():
            place = self.places[key]
            row = [str(s.total(place)) for s in self.columns]
            odd = {str(i): s.odd[place] for i, s in enumerate(self.columns) if place in s.odd}
            found.append([key, row, odd] if odd else [key, row])
        return {"columns": len(self.columns), "squares": self.squares, "keys": found}

    @classmethod
    def from_dict(cls, saved: dict[str, Any], of_known: int = len(OF_KNOWN)) -> Keyed:
        """Read the result of `to_dict`."""
        squares = bool(saved["squares"])
        found = cls(saved["columns"] - 2 - 5 * squares, squares, of_known)
        for key, row, *odd in saved["keys"]:
            if key in found.places or len(row) != len(found.columns):
                raise ValueError(f"the key {key!r} is there twice, or its sums are not")
            place = found.places[key] = len(found.places)
            for i, text in enumerate(row):
                found.columns[i].large[place] = int(text)
            for i, counts in (odd[0] if odd else {}).items():
                found.columns[int(i)].odd[place] = counts
        for sums in found.columns:
            sums.limbs = np.zeros((len(found.places), 3), np.int64)
        return found

    def keys(self) -> list[Any]:
        """The sorted keys, so that results do not depend on the order of the rows."""
        if len(self._order) != len(self.places):  # which only grow
            self._order = sorted(self.places, key=lambda key: (type(key).__name__, key))
        return self._order

    def square(self, i: int) -> Floats:
        """A column of squares by key."""
        return self.column(self.metrics + 2 + i)

    def column(self, m: int) -> Floats:
        """The sums of one column by key, in the order of `keys`."""
        places = np.array([self.places[key] for key in self.keys()], np.int64)
        return self.columns[m].values()[places]


class Bins:
    """Rows by their confidence: weight, confidence and hits of each bin."""

    def __init__(self, size: int) -> None:
        self.weight, self.hits, self.confidence = Counts(size), Counts(size), Sums(size)

    def add(self, seen: Seen, place: Ints) -> None:
        """Add rows to their bins."""
        self.add_numbers(seen.rows.confidence, seen.rows.rank == 0, place, seen.weights)

    def add_numbers(self, p: Floats, hit: Any, place: Ints, weights: Floats | None) -> None:
        """Add probabilities to their bins, with whether each event occurred."""
        self.weight.add(place, weights)
        self.hits.add(place[hit], None if weights is None else weights[hit])
        self.confidence.add(p if weights is None else weights * p, place)

    def merge(self, other: Bins) -> None:
        """Add those of other rows."""
        self.weight.merge(other.weight)
        self.hits.merge(other.hits)
        self.confidence.merge(other.confidence)

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON."""
        return {k: getattr(self, k).to_dict() for k in ("weight", "hits", "confidence")}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Bins:
        """Read the result of `to_dict`."""
        found = cls.__new__(cls)
        found.weight, found.hits = Counts.from_dict(saved["weight"]), Counts.from_dict(saved["hits"])
        found.confidence = Sums.from_dict(saved["confidence"])
        return found


def equal_width_bin(p: Floats, bins: int) -> Ints:
    """The bin of each probability: bin i holds ``i / bins < p <= (i + 1) / bins``, and 0 is in the first."""
    return _between(p, np.ceil(p * bins) - 1, np.arange(bins + 1) / bins)


# Bins for quantiles of the confidence: 1024 of one width to 1/2, then 128 for each halving of 1 - confidence.
FINE_EDGES = np.concatenate([
    np.arange(1024) / 2048, 1 - 2.0 ** -(1 + np.arange(128 * 40) / 128), [1.0]
])  # fmt: skip


@np.errstate(divide="ignore")
def fine_bin(confidence: Floats) -> Ints:
    """The fine bin of each confidence: bin i holds those above its edge, up to the next."""
    high = 1024 + np.ceil((-np.log2(np.maximum(1 - confidence, 0)) - 1) * 128) - 1
    return _between(confidence, np.where(confidence > 0.5, high, np.ceil(confidence * 2048) - 1), FINE_EDGES)


def _between(values: Floats, guess: Floats, edges: Floats) -> Ints:
    """The bin of each value, of which the guess is one off at the most: it was rounded, the edges decide."""
    place = np.clip(guess, 0, len(edges) - 2).astype(np.int64)
    place += values > edges[place + 1]
    place = np.minimum(place, len(edges) - 2)
    return place - ((values <= edges[place]) & (place > 0))


class Pairs:
    """The count of each pair of target and prediction, with too many classes for the whole table."""

    def __init__(self) -> None:
        self.sums: dict[int, int] | None = {}  # target times V plus prediction -> weight, in units of 2^-120

    def add(self, place: Ints, weights: Floats | None) -> None:
        """Add rows."""
        if self.sums is None:
            return
        distinct, inverse = np.unique(place, return_inverse=True)
        sums = Sums(len(distinct))
        sums.add(np.ones(len(place)) if weights is None else weights, inverse.reshape(-1))
        for i, key in enumerate(distinct.tolist()):
            self.sums[key] = self.sums.get(key, 0) + sums.total(i)
        self._limit()

    def merge(self, other: Pairs) -> None:
        """Add those of other rows."""
        if self.sums is None or other.sums is None:
            self.sums = None
            return
        for key, value in other.sums.items():
            self.sums[key] = self.sums.get(key, 0) + value
        self._limit()

    def _limit(self) -> None:
        if self.sums is not None and len(self.sums) > _PAIRS:
            self.sums = None

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON."""
        return {"pairs": None if self.sums is None else [[k, str(v)] for k, v in sorted(self.sums.items())]}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Pairs:
        """Read the result of `to_dict`."""
        found = cls()
        found.sums = None if saved["pairs"] is None else {int(k): int(v) for k, v in saved["pairs"]}
        if any(k < 0 or v < 0 for k, v in (found.sums or {}).items()):
            raise ValueError("a pair is negative")
        return found


class Hardest:
    """The rows of the largest loss: (loss, row, target, predicted); of equal losses the first rows."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, int, int, int]] = []

    def add(self, seen: Seen, numbers: Ints) -> None:
        """Add rows with their numbers among all."""
        loss = np.where(seen.has_loss & ~seen.rows.invalid, seen.rows.loss, -np.inf)
        if len(self.rows) == HARDEST:
            chosen = np.flatnonzero(loss >= self.rows[-1][0])
        else:
            chosen = np.flatnonzero(loss > -np.inf)
        if len(chosen) > HARDEST:
            chosen = chosen[np.lexsort((numbers[chosen], -loss[chosen]))[:HARDEST]]
        new = [
            (float(loss[i]), int(numbers[i]), int(seen.rows.target[i]), int(seen.rows.predicted[i]))
            for i in chosen
        ]
        self.keep(new)

    def merge(self, other: Hardest) -> None:
        """Add those of other rows."""
        self.keep(other.rows)

    @property
    def floor(self) -> float:
        """Rows of a smaller loss are not among the hardest."""
        return self.rows[-1][0] if len(self.rows) == HARDEST else -np.inf

    def keep(self, new: list[tuple[float, int, int, int]]) -> None:
        """Add rows as they are kept."""
        self.rows = heapq.nsmallest(HARDEST, [*self.rows, *new], key=lambda row: (-row[0], row[1:]))

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON."""
        return {"rows": [[loss.hex(), *rest] for loss, *rest in self.rows]}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Hardest:
        """Read the result of `to_dict`."""
        found = cls()
        found.rows = [(float.fromhex(loss), i, t, p) for loss, i, t, p in saved["rows"]]
        return found
