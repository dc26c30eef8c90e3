"""Observers of scores, one for each family of mistakes. In: blocks of rows. Out: findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lastlayer.blocks import dtype_name, is_bfloat_bits, to_host

from .mistakes import Finding, finding
from .observation import Count, Rows, counted

__all__ = ["ConstantScores", "InvalidScores", "ScoreKind", "axis_of_ones", "tolerance_of_sums"]


class InvalidScores:
    """NaN, +inf, and rows of -inf."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.nan, self.inf, self.impossible = Count(), Count(), Count()

    def see(self, rows: Rows) -> None:
        suspect = ~rows.usable[:, None]
        self.nan.see(rows, np.isnan(rows.scores) & suspect)
        self.inf.see(rows, np.isposinf(rows.scores) & suspect)
        self.impossible.see(rows, np.isneginf(rows.peak))

    def merge(self, other: InvalidScores) -> None:
        """Add the state of an observer of later rows."""
        for name in ("nan", "inf", "impossible"):
            getattr(self, name).merge(getattr(other, name))

    def findings(self) -> Iterator[Finding]:
        if self.nan:
            yield counted("nan-scores", self.nan)
        if self.inf:
            yield counted("inf-scores", self.inf)
        if self.impossible:
            yield counted("impossible-rows", self.impossible)


class ScoreKind:
    """Whether the scores are logits, probabilities or log-probabilities, compared with the given kind."""

    def __init__(self, kind: str, scores: Any, axis: int) -> None:
        self.kind, self.scores, self.axis = kind, scores, axis
        self.tolerance = tolerance_of_sums(scores)
        self.rows = self.classes = 0
        self.negative, self.above, self.sum = Count(), Count(), Count()
        self.positive, self.log_sum = Count(), Count()

    def see(self, rows: Rows) -> None:
        x, usable = rows.scores, rows.usable
        self.rows += int(np.count_nonzero(usable))
        self.classes = x.shape[1]
        some = usable[:, None]
        self.negative.see(rows, (x < 0) & some, x)
        self.above.see(rows, (x > 1 + self.tolerance) & some, x)
        self.positive.see(rows, (x > self.tolerance) & some, x)
        self.sum.see(rows, usable & ~(np.abs(rows.sums - 1) <= self.tolerance), rows.sums)
        self.log_sum.see(rows, usable & ~(np.abs(rows.lse) <= self.tolerance), rows.lse)

    def merge(self, other: ScoreKind) -> None:
        """Add the state of an observer of later rows."""
        self.rows, self.classes = self.rows + other.rows, max(self.classes, other.classes)
        for name in ("negative", "above", "sum", "positive", "log_sum"):
            getattr(self, name).merge(getattr(other, name))

    def findings(self) -> Iterator[Finding]:
        several = self.rows > 0 and self.classes > 1
        are = {
            "probabilities": several and not (self.negative or self.above or self.sum),
            "log-probabilities": several and not (self.positive or self.log_sum),
        }
        for other, so in are.items():
            if so and other != self.kind:
                yield finding(f"{other}-as-{self.kind}")
        if self.kind == "probabilities" and not are["log-probabilities"]:
            yield from self._no_probabilities()
        if self.kind == "log-probabilities" and not are["probabilities"]:
            if self.positive:
                yield counted("positive-log-probabilities", self.positive)
            if self.log_sum:
                yield counted("rows-not-log-normalised", self.log_sum, axis=self.axis)

    def _no_probabilities(self) -> Iterator[Finding]:
        if self.negative:
            yield counted("negative-probabilities", self.negative)
        if self.above:
            hint = "Are these logits? Use cross_entropy, or pass softmax(scores)."
            if not self.negative and self.sum and abs(self.sum.value - 100) < 100 * self.tolerance:
                hint = "Are these percentages? Pass scores / 100."
            yield counted("probabilities-above-one", self.above, hint=hint)
        if self.sum:
            other = axis_of_ones(self.scores, self.axis, self.tolerance) if self.sum.n == self.rows else None
            if other is None:
                yield counted("rows-not-summing-to-one", self.sum, axis=self.axis)
            else:
                why = f"scores do not sum to 1 along axis {self.axis}, but they do"
                yield counted("class-axis", self.sum, why=why, other=other)


class ConstantScores:
    """Whether all rows hold the same scores."""

    def __init__(self) -> None:
        self.first: np.ndarray | None = None
        self.same, self.rows = True, 0

    def see(self, rows: Rows) -> None:
        if self.first is None:
            self.first = rows.scores[0].copy()
        self.same = self.same and bool((rows.scores == self.first).all())
        self.rows += len(rows.scores)

    def merge(self, other: ConstantScores) -> None:
        """Add the state of an observer of later rows."""
        if self.first is None:
            self.first = other.first
        elif other.first is not None:
            self.same = self.same and bool((self.first == other.first).all())
        self.same, self.rows = self.same and other.same, self.rows + other.rows

    def findings(self) -> Iterator[Finding]:
        if self.same and self.rows >= 3 and self.first is not None and len(self.first) > 1:
            yield finding("constant-scores", n=self.rows)


def axis_of_ones(array: Any, axis: int, tolerance: float) -> int | None:
    """Another axis along which the array sums to 1, or None; only the first few positions are tested."""
    for other, size in enumerate(array.shape):
        if other != axis and size > 1:
            index = tuple(slice(None) if k == other else slice(0, 8) for k in range(len(array.shape)))
            some = to_host(array[index]).astype(np.float64)
            if some.min() >= 0 and np.all(np.abs(some.sum(axis=other) - 1) <= tolerance):
                return other
    return None


def tolerance_of_sums(array: Any) -> float:
    """How far from 1 the sum of valid probabilities of this dtype may be, due to rounding."""
    name = dtype_name(array)
    return 1e-2 if "float16" in name or is_bfloat_bits(array) else 0.2 if "float8" in name else 1e-4
