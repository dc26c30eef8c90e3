"""Numbers as text. In: numbers, estimates, names. Out: `Cell`, what a table shows and sorts by."""

from __future__ import annotations

from math import floor, inf, isfinite, log10
from typing import Any, NamedTuple

import numpy as np

from lastlayer.evaluation.estimates import Estimate

__all__ = [
    "MOST",
    "Cell",
    "Table",
    "cell",
    "decimals_of",
    "estimate_cells",
    "fixed",
    "interval_text",
    "number_text",
]

MOST = 2000  # rows of a table
_LONG = 120  # characters of a name; of more, three lines are shown
NONE = "\N{EN DASH}"  # of NaN: there is no such number


class Cell(NamedTuple):
    """What is shown, and the number to sort by ("" for text)."""

    text: str
    number: str = ""
    is_number: bool = False

    @property
    def is_long(self) -> bool:
        """Whether it is a name for which one line has no room."""
        return not self.is_number and len(self.text) > _LONG


class Table(NamedTuple):
    """A table under a heading of the page."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    is_sortable: bool = True
    left_out: int = 0  # rows that there is no room for

    @property
    def are_numbers(self) -> list[bool]:
        """Which columns hold numbers."""
        return [any(row[k].is_number for row in self.rows) for k in range(len(self.head))]


def cell(value: Any) -> Cell:
    """A number or a name as a cell; a cell is one already."""
    if isinstance(value, Cell):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return Cell(NONE, "", True)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(str(value))
    text = number_text(value)
    return Cell(text, "" if value != value else repr(value), True)


def fixed(value: float, decimals: int) -> Cell:
    """A number with so many decimals, as the others of its column."""
    number = float(value)
    return Cell(f"{number + 0.0:,.{decimals}f}", repr(number), True) if isfinite(number) else cell(number)


def number_text(value: float) -> str:
    """An integer with separators of thousands, else four significant digits."""
    if isinstance(value, int):
        return f"{value:,}"
    if not isfinite(value):
        return NONE if value != value else "∞" if value == inf else "-∞"
    size = abs(value)
    if size and size < 1e-4:
        return f"{value:.1e}"
    if size >= 1e9:
        return f"{value:.3e}"
    return f"{value + 0.0:.4g}" if size < 1000 else f"{value:,.0f}"  # + 0.0: -0.0 is shown as 0


def decimals_of(value: Estimate) -> int | None:
    """So many decimals that the standard error has two digits; None if there is none.

    Where all rows are right the error is 0, and the interval is not: a quarter of it counts as the error.
    """
    error = value.stderr or (value.high - value.low) / 4
    if not (isfinite(value.value) and isfinite(error) and 1e-9 < error < 1e9):
        return None
    return min(max(1 - floor(log10(error)), 0), 8)


def estimate_cells(value: Any) -> list[Cell]:
    """A number and the ends of its interval, empty where there is none."""
    if not isinstance(value, Estimate):
        return [cell(float(value) if isinstance(value, np.floating) else value), Cell(""), Cell("")]
    decimals = decimals_of(value)
    parts = (value.value, value.low, value.high)
    if decimals is None:
        bounds = [cell(part) if part == part else Cell("") for part in parts[1:]]
        return [cell(value.value), *bounds]
    return [Cell(f"{p + 0.0:,.{decimals}f}", repr(p), True) if isfinite(p) else cell(p) for p in parts]


def interval_text(value: Any) -> str:
    """The interval of an estimate in words; "" where there is none."""
    _, low, high = estimate_cells(value)
    return f"{low.text} to {high.text}" if low.text else ""
