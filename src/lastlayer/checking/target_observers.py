"""Observers of targets and loss, one for each family of mistakes. In: blocks of rows. Out: findings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lastlayer import functional
from lastlayer.arrays import one_hot
from lastlayer.blocks import number_family
from lastlayer.labels import MISSING, UNKNOWN, Labels

from .mistakes import Finding, finding
from .observation import Count, Rows, counted
from .observers import axis_of_ones, tolerance_of_sums

__all__ = ["DenseTargets", "IndexTargets", "MeanLoss", "NameTargets"]


class NameTargets:
    """Targets that are names: finds those that are not a class. The observers after it get class indices."""

    def __init__(self, labels: Labels) -> None:
        self.labels, self.unknown = labels, Count("targets")

    def see(self, rows: Rows) -> None:
        names = np.asarray(rows.targets, dtype=object)
        indices = self.labels.read("check", names, "wrong").indices
        self.unknown.see(rows, indices == UNKNOWN, names)
        rows.targets = np.where(indices == UNKNOWN, MISSING, indices)

    def findings(self) -> Iterator[Finding]:
        if self.unknown:
            names = self.labels.names
            shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
            yield counted("unknown-labels", self.unknown, labels=shown)


class IndexTargets:
    """Index targets: their range and which classes occur."""

    def __init__(self, classes: int, ignore_index: int | None, are_names: bool = False) -> None:
        self.classes, self.ignore_index, self.are_names = classes, ignore_index, are_names
        self.outside = Count("targets")
        self.counts = np.zeros(classes, dtype=np.int64)
        self.low, self.high, self.ignored = math.inf, -math.inf, 0
        self.predicted: set[int] = set()

    def see(self, rows: Rows) -> None:
        y = np.asarray(rows.targets)
        ignored = np.zeros(y.shape, dtype=bool) if self.ignore_index is None else y == self.ignore_index
        valid = (y >= 0) & (y < self.classes) & ~ignored
        self.ignored += int(np.count_nonzero(ignored))
        self.outside.see(rows, ~valid & ~ignored, y)
        self.counts += np.bincount(y[valid].astype(np.int64), minlength=self.classes)
        if not ignored.all():
            self.low = min(self.low, int(y[~ignored].min()))
            self.high = max(self.high, int(y[~ignored].max()))
        if len(self.predicted) < 2 and rows.usable.any():
            self.predicted.update(np.unique(rows.scores[rows.usable].argmax(axis=1))[:2].tolist())

    def findings(self) -> Iterator[Finding]:
        if self.ignored == self.outside.total:
            what, hint = f"ignore_index={self.ignore_index}", "the ignore_index that is meant"
            hint = f"Check the mask of the targets, or pass {hint}."
            if self.are_names:
                what, hint = "missing", "Check the column of the labels."
            yield finding("all-ignored", n=self.ignored, what=what, hint=hint)
        elif self.outside and (self.low, self.high) == (1, self.classes):
            yield counted("labels-start-at-1", self.outside, classes=self.classes)
        elif self.outside:
            yield self._out_of_range()
        else:
            yield from self._missing()
            n, held = int(self.counts.sum()), int(np.count_nonzero(self.counts))
            if n >= 50 and held > 1 and len(self.predicted) == 1:
                yield finding("one-class-predicted", label=next(iter(self.predicted)), held=held)

    def _out_of_range(self) -> Finding:
        value = int(self.outside.value)
        if self.low < 0 and self.high < self.classes and value in (-1, -100, -255):
            hint = f"If it marks rows to leave out, pass ignore_index={value}."
        elif self.high >= self.classes:
            hint = f"The scores need {int(self.high) + 1} classes, or axis= is not the class axis."
        else:
            hint = "Mark rows to leave out with ignore_index."
        ignore = "" if self.ignore_index is None else f" or ignore_index={self.ignore_index}"
        return counted("target-out-of-range", self.outside, classes=self.classes, ignore=ignore, hint=hint)

    def _missing(self) -> Iterator[Finding]:
        v, n = self.classes, int(self.counts.sum())
        missing = np.flatnonzero(self.counts == 0)
        by_chance = v * math.exp(-n / v)  # expected number of missing classes among v equally likely ones
        if not missing.size or by_chance > 0.5:
            return
        one = missing.size == 1
        yield finding(
            "class-never-occurs",
            severity="warning"
            if by_chance < 0.01 and v <= 1000
            else "note",  # large vocabularies always have rare words
            which=f"class {missing[0]} never occurs" if one else f"{missing.size} of {v} classes never occur",
            n=n,
            example="" if one else f" (the first is class {missing[0]})",
            hint=("Do the labels start at 1? " if missing.tolist() == [0] else "")
            + "Check the labels, or the number of classes.",
        )


def _is_one_hot(rows: np.ndarray) -> bool:
    """Whether every row is one-hot."""
    return bool(one_hot(np, rows, 1).all())


class DenseTargets:
    """Dense targets: distributions, or one-hot rows."""

    def __init__(self, targets: Any, axis: int) -> None:
        self.targets, self.axis, self.integers = targets, axis, number_family(targets) != "float"
        self.tolerance = tolerance_of_sums(targets)
        self.nan, self.negative, self.sum = Count("targets"), Count("targets"), Count("targets")
        self.rows, self.one_hot, self.one_hot_scores = 0, True, targets.shape[axis] > 1

    def see(self, rows: Rows) -> None:
        q = np.asarray(rows.targets)
        self.nan.see(rows, ~np.isfinite(q), q)
        self.negative.see(rows, q < 0, q)
        with np.errstate(invalid="ignore"):
            sums = q.sum(axis=1)
        self.sum.see(rows, np.isfinite(sums) & (np.abs(sums - 1) > self.tolerance), sums)
        self.rows += len(q)
        self.one_hot = self.one_hot and _is_one_hot(q)
        self.one_hot_scores = self.one_hot_scores and _is_one_hot(rows.scores)

    def merge(self, other: DenseTargets) -> None:
        """Add the state of an observer of later rows."""
        for name in ("nan", "negative", "sum"):
            getattr(self, name).merge(getattr(other, name))
        self.rows += other.rows
        self.one_hot = self.one_hot and other.one_hot
        self.one_hot_scores = self.one_hot_scores and other.one_hot_scores

    def findings(self) -> Iterator[Finding]:
        if self.one_hot:
            yield finding("one-hot-targets", axis=self.axis)
            return
        if self.one_hot_scores:
            yield finding("one-hot-scores")
        if self.nan:
            yield counted("nan-targets", self.nan)
        if self.negative:
            yield counted("negative-targets", self.negative)
        if self.sum:
            other = axis_of_ones(self.targets, self.axis, self.tolerance) if self.sum.n == self.rows else None
            if other is not None:
                why = f"targets do not sum to 1 along axis {self.axis}, but they do"
                yield counted("class-axis", self.sum, why=why, other=other)
            else:
                yield counted("targets-not-one-hot" if self.integers else "soft-targets-sum", self.sum)


_LOSSES: dict[str, Callable[..., Any]] = {
    "logits": functional.cross_entropy,
    "probabilities": functional.log_loss,
    "log-probabilities": functional.nll_loss,
}


class MeanLoss:
    """Whether the mean loss is above that of uniform predictions; and targets of probability 0."""

    def __init__(self, kind: str, classes: int, ignore_index: int | None) -> None:
        self.kind, self.classes, self.ignore_index = kind, classes, ignore_index
        self.n, self.total, self.squares = 0, 0.0, 0.0
        self.impossible = Count()

    def see(self, rows: Rows) -> None:
        y = np.asarray(rows.targets)
        if y.ndim == 1:
            valid = rows.usable & (y >= 0) & (y < self.classes) & (y != self.ignore_index)
        else:
            with np.errstate(invalid="ignore"):
                valid = rows.usable & (np.abs(y.sum(axis=1) - 1) < 1e-2) & (y >= 0).all(axis=1)
        loss = np.full(len(y), np.nan)
        loss[valid] = _LOSSES[self.kind](rows.scores[valid], y[valid], ignore_index=None, reduction="none")
        self.impossible.see(rows, np.isposinf(loss))
        loss = loss[np.isfinite(loss)]
        self.n += loss.size
        self.total += float(loss.sum())
        self.squares += float((loss * loss).sum())

    def findings(self) -> Iterator[Finding]:
        if self.impossible:
            what = "probability 0" if self.kind == "probabilities" else "the score -inf"
            yield counted("impossible-target", self.impossible, what=what)
        if not self.n or self.classes == 1:
            return
        loss, bound = self.total / self.n, math.log(self.classes)
        error = math.sqrt(max(0.0, self.squares / self.n - loss * loss) / self.n)
        if loss > bound + 1e-3:
            yield finding(
                "worse-than-uniform",
                severity="warning" if self.n >= 10 and loss > bound + 2 * error else "note",  # else by chance
                mean=f"mean loss over {self.n} rows" if self.n > 1 else "loss",
                loss=loss,
                classes=self.classes,
                bound=bound,
            )
