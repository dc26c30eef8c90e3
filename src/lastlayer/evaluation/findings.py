"""The findings of `check` on the rows of a tally. In: the tally, its numbers, observers. Out: findings."""

from __future__ import annotations

from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

from lastlayer.checking.mistakes import Finding, Findings, finding
from lastlayer.checking.observation import Count, Observer
from lastlayer.checking.watching import Watch, loss_counts, ordered, target_counts

from .result import Evaluation
from .tally import Tally

__all__ = ["findings_of"]


def findings_of(tally: Tally, result: Evaluation, watch: Watch) -> Findings:
    """The findings of all rows: those of scores from the observers, those of targets from the counts."""
    o, rows = tally.options, tally.n + tally.ignored
    if not rows:
        return Findings([finding("no-rows", shape=(0, o.classes))])
    found: list[Finding] = list(watch.findings())
    observers: list[Observer] = []
    if "dense" not in watch.observers:
        support = tally.support.values()
        if tally.support.sums is not None:  # of weights: as if the rows had one each
            support = np.ceil(support * (tally.n / max(support.sum(), 1e-300)))
        predicted, ignore = tally.predicted.values(), o.ignore_index
        observers.append(
            target_counts(
                support.astype(np.int64), predicted, tally.ignored, rows, ignore, o.labels is not None
            )
        )
    for observer in (*observers, _loss(tally, result, watch.observers.get("dense"))):
        found += observer.findings()
    return ordered(found)


def _loss(tally: Tally, result: Evaluation, dense: Any) -> Observer:
    """The observer of the loss; with dense targets that are no distributions it says nothing."""
    o, loss, moments, impossible = tally.options, result.log_loss, tally.moments, Count()
    n, mean, error = tally.n - tally.unknown, loss.value, loss.stderr
    infinite = [row for row, value, *_ in result.hardest if value == inf]
    if infinite:
        impossible.n = sum(s.odd.get(0, [0])[0] for s in (moments.plain[0], moments.weighted[0]))
        impossible.total, impossible.row, impossible.where = tally.n, (infinite[0],), (infinite[0],)
        n = n - impossible.n if moments.weighted[0].total() == 0 else 0
        if n:  # the mean of the finite ones
            mean, square = (s.total() / (1 << 120) / n for s in moments.plain)
            error = sqrt(max(0.0, square - mean * mean) / n)
    if not isfinite(mean) or (dense is not None and (dense.nan or dense.negative or dense.sum)):
        n = 0
    return loss_counts(o.kind, o.classes, n, mean if n else 0.0, error if n else 0.0, impossible)
