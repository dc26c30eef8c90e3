"""The derivatives of the log-loss in beta = 1/T. In: a source of logits and targets. Out: `Derivatives`.

::

    first  = sum_i s_i (E_p[z] - z_y)          second = sum_i s_i Var_p[z]          p = softmax(beta z)

They follow from the row statistics of ``beta z`` with their second moment: one pass of the core over the
logits, in double. Dense targets and rows that the statistics do not know are left to NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lastlayer import dispatch, functional, problem
from lastlayer.arrays import BFLOAT16, from_bfloat
from lastlayer.errors import LastlayerError, OptionError
from lastlayer.labels import Labels
from lastlayer.resolving import resolve
from lastlayer.row_law import logit_moments

from .exact import Sums
from .inputs import Targets, facts_of, scores_of, targets_of
from .readers.source import Source
from .rows import as_float64
from .stream import located
from .tally import Tally

__all__ = ["Derivatives", "Loss", "Totals", "falls", "moments"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ELEMENTS = 1 << 20  # of logits at once, unless one row alone has more
_FIELDS = frozenset({"nll", "spread", "moment"})
_FUNCTION = "fit_temperature"


@dataclass(frozen=True)
class Derivatives:
    """Of the sum of the rows' losses in beta."""

    weight: float
    first: float
    second: float
    squares: float  # the sum of the squared weights
    differ: bool  # whether the logits of some row do; else the loss does not depend on beta
    all_right: bool  # whether every target is the peak of its row; then the loss never rises with beta


class _Part(NamedTuple):
    """Some rows of a block."""

    scores: Any  # (n, V)
    targets: Targets
    weights: Floats | None
    counts: npt.NDArray[np.bool_]  # which rows do
    first: int  # the number of the first row

    def rows(self, chosen: Any) -> _Part:
        """Those of a slice."""
        targets = self.targets._replace(
            classes=self.targets.classes[chosen],
            dense=None if self.targets.dense is None else self.targets.dense[chosen],
        )
        weights = None if self.weights is None else self.weights[chosen]
        return _Part(self.scores[chosen], targets, weights, self.counts[chosen], self.first + chosen.start)


class Totals:
    """Sums over the rows that count."""

    def __init__(self) -> None:
        self.sums, self.differ, self.all_right = Sums(4), False, True

    def add(self, weights: Floats | None, first: Floats, second: Floats) -> None:
        """Add each row's weight and its derivatives, which are times that."""
        one = np.ones(len(first))
        for place, part in enumerate((one, first, second, one if weights is None else weights)):
            self.sums.add(part if weights is None else weights * part, place)

    def merge(self, other: Totals) -> None:
        """Add those of other rows."""
        self.sums.merge(other.sums)
        self.differ, self.all_right = self.differ or other.differ, self.all_right and other.all_right

    def result(self) -> Derivatives:
        """The sums, each rounded once."""
        weight, first, second, squares = (self.sums.value(place) for place in range(4))
        return Derivatives(weight, first, second, squares, self.differ, self.all_right)


class Loss:
    """The log-loss of a source's logits times beta."""

    def __init__(self, source: Source, options: dict[str, Any], skip: bool) -> None:
        self.source, self.skip = source, skip
        self.options = Tally(source.classes, **options).options
        names = self.options.labels
        self.labels = None if names is None else Labels(_FUNCTION, names, source.classes)

    def derivatives(self, beta: float) -> Derivatives:
        """One pass over the data."""
        return self.totals(beta).result()

    def tally(self, temperature: float) -> Tally:
        """The rows with their logits divided by a temperature: one pass over the data."""
        tally = Tally(**{**self.options._asdict(), "temperature": temperature})
        for block in self.source.blocks(0):
            tally.update(block.scores, block.targets, **block.facts)
        return tally

    def totals(self, beta: float) -> Totals:
        """The sums behind the derivatives, which add to those of other rows."""
        totals = Totals()
        for part in self._parts():
            left = np.flatnonzero(part.counts)
            if part.targets.dense is None:
                left = _add_by_statistics(totals, part, beta)
            if len(left):
                self._add_by_numpy(totals, part, left, beta)
        return totals

    def _parts(self) -> Iterator[_Part]:
        for block in self.source.blocks(0):
            try:
                scores, shape = scores_of(_FUNCTION, block.scores, self.options)
                targets = targets_of(_FUNCTION, block.targets, shape, self.options, self.labels)
                w = facts_of(_FUNCTION, shape, **block.facts).weights
            except LastlayerError as error:
                raise located(error, block).of(_FUNCTION) from error
            counts = ~targets.ignored if w is None else ~targets.ignored & (w > 0)
            whole, step = _Part(scores, targets, w, counts, block.first), max(1, _ELEMENTS // scores.shape[1])
            for begin in range(0, len(scores), step):
                yield whole.rows(slice(begin, begin + step))

    def _add_by_numpy(self, totals: Totals, part: _Part, kept: Ints, beta: float) -> None:
        """Add some rows; raise for those that have no finite loss."""
        z = as_float64(part.scores[kept])
        if not (finite := np.isfinite(z.max(axis=1, initial=-inf))).all():  # NaN, inf, or -inf alone
            if not self.skip:
                _refuse(part.first + kept[~finite][0], "not finite", "finite logits")
            kept, z = kept[finite], z[finite]
        q = None if part.targets.dense is None else part.targets.dense[kept]
        y = part.targets.classes[kept]
        hit = z == -inf
        hopeless = hit[np.arange(len(z)), y] if q is None else (hit & (q > 0)).any(axis=1)
        if hopeless.any():
            rule = "a finite logit there: the loss of its row is infinite at every temperature"
            _refuse(part.first + kept[hopeless][0], "-inf at its target", rule)
        fall, gap = falls(z, y, q)
        mass = np.ones(len(z)) if q is None else q.sum(axis=1)
        mean, variance = moments(fall, beta)
        totals.differ = totals.differ or bool((fall > 0).any())
        totals.all_right = totals.all_right and not (gap > 0).any()
        weights = None if part.weights is None else part.weights[kept]
        totals.add(weights, gap - mass * mean, mass * variance)


def _refuse(row: int, found: str, rule: str) -> None:
    raise OptionError(_FUNCTION, f"scores[{row}]", found, rule)


@np.errstate(all="ignore")
def _add_by_statistics(totals: Totals, part: _Part, beta: float) -> Ints:
    """Add the rows whose statistics are finite, and return the other ones: all those that are odd.

    They are the statistics of ``beta z``: gap and spread are times beta, the second moment times beta^2.
    """
    z, temperature = _readable(part.scores), 1 / beta
    if temperature == 1.0:
        temperature += 2.0**-52  # the core computes scaled logits in double, others in their own dtype
    scores = problem.scores(_FUNCTION, z, temperature=temperature)
    backend = dispatch.backend(scores)
    y = np.where(part.counts, part.targets.classes, -1)
    said = _FUNCTION, -1, -1, 0.0, temperature, None, 0.0, "none", None, 0
    stats = backend.row_stats(resolve(scores, backend, (y, None, None), said), _FIELDS)
    gap, rest, spread = stats.gap / beta, stats.rest, stats.spread
    mean, variance = logit_moments(stats, np)
    good = part.counts & np.isfinite(stats.peak) & np.isfinite(gap)
    weights = part.weights
    if not good.all():
        gap, rest, spread, mean, variance = (x[good] for x in (gap, rest, spread, mean, variance))
        weights = None if weights is None else weights[good]
    # Where no logit is far from the peak, every term of the rest is near 1, and some spread is left.
    differs = (spread > 0) | (rest < part.scores.shape[1] - 1.5)
    totals.differ = totals.differ or bool(differs.any())
    totals.all_right = totals.all_right and not (gap > 0).any()
    totals.add(weights, gap - mean / beta, variance / (beta * beta))
    return np.flatnonzero(part.counts & ~good)


def _readable(scores: Any) -> Any:
    """Scores in a dtype that is computed in double once it is scaled."""
    if scores.dtype == BFLOAT16:
        return from_bfloat(scores.view(np.uint16))
    dtype = np.float32 if scores.dtype.itemsize == 2 or scores.dtype == np.float32 else np.float64
    return scores.astype(dtype, copy=False)


@np.errstate(invalid="ignore")
def falls(z: Floats, y: Any, q: Floats | None) -> tuple[Floats, Floats]:
    """peak - z of each class, and ``gap = sum_j q_j (peak - z_j)`` of each row; q is one-hot if not given."""
    fall = z.max(axis=1, keepdims=True) - z
    if q is None:
        return fall, fall[np.arange(len(z)), y]
    return fall, np.where(q == 0, 0.0, q * fall).sum(axis=1)


@np.errstate(invalid="ignore")
def moments(fall: Floats, beta: float) -> tuple[Floats, Floats]:
    """Mean and variance of ``peak - z`` under p = softmax(beta z), which are peak - E_p[z] and Var_p[z].

    They are `row_law.logit_moments` of the row statistics of beta z, divided by beta and beta^2.
    """
    p = functional.softmax(-fall, temperature=1 / beta)
    fall = np.where(p == 0, 0.0, fall)  # of -inf: 0 times infinity is 0
    mean = (p * fall).sum(axis=1)
    return mean, (p * (fall - mean[:, None]) ** 2).sum(axis=1)
