"""The data of observers. In: a block of rows. Out: quantities that several observers need; counts of rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from lastlayer import functional
from lastlayer.blocks import RowBlock

from .mistakes import Finding, finding

__all__ = ["Count", "Observer", "Rows", "counted"]


class Rows:
    """A block of rows: scores (n, V) in float64; targets (n,) in their dtype, (n, V) in float64, or None."""

    def __init__(self, block: RowBlock, scores: np.ndarray, targets: np.ndarray | None = None) -> None:
        self.block, self.scores, self.targets = block, scores, targets

    @cached_property
    def peak(self) -> np.ndarray:
        """The largest score of each row: (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.scores.max(axis=1))

    @cached_property
    def usable(self) -> np.ndarray:
        """Rows whose softmax is defined: (n,) bool."""
        return np.asarray(np.isfinite(self.peak))  # NaN, +inf, or -inf everywhere make the maximum non-finite

    @cached_property
    def sums(self) -> np.ndarray:
        """The sum of each row: (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.scores.sum(axis=1))

    @cached_property
    def lse(self) -> np.ndarray:
        """The logarithm of the sum of exponentials: (n,), NaN where a row is not usable."""
        return np.where(self.usable, functional.logsumexp(self.scores, axis=1), np.nan)


class Observer(Protocol):
    """Looks for one family of mistakes: `see` gets every block of rows, then `findings` reports."""

    def see(self, rows: Rows) -> None: ...

    def findings(self) -> Iterator[Finding]: ...


class Count:
    """Counts rows with some property, and keeps the first one: its position, the entry and its value."""

    def __init__(self, name: str = "scores") -> None:
        self.name = name
        self.n = self.total = 0
        self.row: tuple[int, ...] = ()
        self.where: tuple[int, ...] = ()
        self.value: Any = None

    def __bool__(self) -> bool:
        return self.n > 0

    def see(self, rows: Rows, mask: np.ndarray, values: np.ndarray | None = None) -> None:
        """Count the rows where ``mask`` is true: (n,), or (n, V) for single entries. Keep the first value."""
        found = mask if mask.ndim == 1 else mask.any(axis=1)
        if not self.n and found.any():
            i = int(found.argmax())
            at = (i,) if mask.ndim == 1 else (i, int(mask[i].argmax()))
            self.row = rows.block.position(i)
            self.where = self.row if mask.ndim == 1 else rows.block.entry(*at)
            self.value = None if values is None else values[at]
        self.n += int(np.count_nonzero(found))
        self.total += found.size

    def move(self, length: int, axis: int) -> None:
        """Shift the positions by rows that come before; ``length``: theirs on the first axis."""
        if self.row:
            k = int(len(self.where) > len(self.row) and axis == 0)
            self.row = (self.row[0] + length, *self.row[1:])
            self.where = (*self.where[:k], self.where[k] + length, *self.where[k + 1 :])

    def merge(self, other: Count) -> None:
        """Add the count of later rows."""
        if not self.n:
            self.row, self.where, self.value = other.row, other.where, other.value
        self.n, self.total = self.n + other.n, self.total + other.total

    def words(self) -> dict[str, Any]:
        """The fields of a message that describe these rows."""
        rows = f"{self.n} of {self.total} rows" if self.total > 1 else "the only row"
        row = ", ".join(map(str, self.row))
        return {
            "rows": rows,
            "many": f"{rows} are no distributions: " if self.n > 1 else "",
            "first": "the row" if not row else f"row {row}" if len(self.row) == 1 else f"row ({row})",
            "entry": f"{self.name}[{', '.join(map(str, self.where))}]" if self.where else self.name,
            "value": self.value,
        }


def counted(code: str, count: Count, **facts: Any) -> Finding:
    """The finding of this code for the rows of a count."""
    return finding(code, count.where, **count.words(), **facts)
