"""`fit_temperature` by partitions. In: partitions of logits and targets. Out: sums over all rows, by passes.

The sums are exact, so the temperature is that of one machine to the last bit. With a client the workers keep
the data of a Dask collection from pass to pass; files are read again.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from lastlayer.clients import any_size
from lastlayer.evaluation.derivatives import Derivatives, Loss, Totals
from lastlayer.evaluation.progress import Told
from lastlayer.evaluation.readers.linear import logits_of
from lastlayer.evaluation.readers.source import Source
from lastlayer.evaluation.stream import Progress
from lastlayer.evaluation.tally import Tally

from .partition import Division, Opened
from .tree import Read, over

__all__ = ["Given", "PartitionedLoss"]


class Given(NamedTuple):
    """The user's options besides the data."""

    options: dict[str, Any]  # of `Tally`
    skip: bool  # whether rows with NaN or +inf are left out
    weight: Any  # a linear head, of which the data are the features; or None
    bias: Any
    axis: int  # that of the features

    def loss(self, source: Source, tell: Progress | None = None) -> Loss:
        """The log-loss of the rows of a source."""
        logits = logits_of(source, self.weight, self.bias, self.axis, self.options["binary"])
        logits = logits if tell is None else Told(logits, tell)
        labels = logits.labels if self.options["labels"] is None else self.options["labels"]
        return Loss(logits, {**self.options, "labels": labels}, self.skip)


class PartitionedLoss:
    """`Loss` of the rows of all partitions."""

    def __init__(self, division: Division, given: Given, tell: Progress | None) -> None:
        self._division, self._given, self._tell = _kept(division), given, tell

    def derivatives(self, beta: float) -> Derivatives:
        """One pass over the data."""
        totals: Totals = self._over(_totals, _added, beta)
        return totals.result()

    def tally(self, temperature: float) -> Tally:
        """One pass over the data."""
        found: Tally = self._over(_tally, _both, temperature)
        return found

    def _over(self, leaf: Any, merge: Any, number: float) -> Any:
        return over("fit_temperature", self._division, leaf, merge, (self._given, number), self._tell)


def _kept(division: Division) -> Division:
    """The same partitions, whose data the workers of a client keep."""
    from dask.delayed import Delayed

    values = [value for one in division.partitions for value in one.values if isinstance(value, Delayed)]
    if division.client is None or not values:
        return division
    with any_size():
        kept = iter(division.client.persist(values))
    return division._replace(
        partitions=[
            one._replace(values=tuple(next(kept) if isinstance(v, Delayed) else v for v in one.values))
            for one in division.partitions
        ]
    )


# --- tasks --------------------------------------------------------------------------------------------------


def _totals(parameters: tuple[Given, float], source: Opened) -> Totals:
    given, beta = parameters
    return given.loss(source).totals(beta)


def _added(a: Totals, b: Totals, *_: Read) -> Totals:
    found = copy.deepcopy(a)
    found.merge(b)
    return found


def _tally(parameters: tuple[Given, float], source: Opened) -> Tally:
    given, temperature = parameters
    return given.loss(source).tally(temperature)


def _both(a: Tally, b: Tally, *_: Read) -> Tally:
    return a + b
