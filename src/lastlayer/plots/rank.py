"""The distribution of the target's rank. In: rows by rank. Out: a bar for each rank, or range of ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

from .colors import FIRST
from .drawing import Display, Table, axes, bar, count_ticks, grid, log_ticks, note, say_empty
from .names import amount, percent, rows_text

__all__ = ["RankDisplay"]

_LOG = 20  # classes, from which on both axes are logarithmic
_EDGES = np.unique(np.ceil(2.0 ** (np.arange(0, 4 * 40) / 4)).astype(np.int64))  # quarters of octaves


class RankDisplay(Display):
    """The number of rows by the place of their target among the classes; place 1 is the prediction.

    With more than 20 classes, each bar from place 9 on stands for several places (four bars for each
    doubling), and both axes are logarithmic.

    Parameters
    ----------
    first, last : arrays (B,)
        The smallest and the largest rank of each bucket; rank 0 is the best.
    weight : array (B,)
        The sum of the weights of the rows of each bucket.
    total : float
        The sum of the weights of all rows, including invalid rows and unknown labels, which have no rank.
    classes : int
        V.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    bars_ : list of bars, one for each place or range of places that has rows
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import RankDisplay
    >>> evaluation = ll.evaluate([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [3.0, 0.0, 1.0]], [0, 1, 1])
    >>> display = RankDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[0][1])
    place 1: 1 row, 33.3 %
    """

    title = "Rank of the target"
    description = (
        "Place 1: the target has the largest score. At the right are rows whose target has one of the "
        "smallest scores."
    )

    def __init__(self, *, first: Any, last: Any, weight: Any, total: float, classes: int) -> None:
        self.first = np.asarray(first, np.int64)
        self.last = np.asarray(last, np.int64)
        self.weight = np.asarray(weight, np.float64)
        self.total = float(total)
        self.classes = classes

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> RankDisplay:
        """Plot the counts of ranks of an `Evaluation`."""
        r, v = evaluation.ranks, len(evaluation.loss_by_class)
        return cls(first=r.first, last=r.last, weight=r.weight, total=evaluation.weight, classes=v).plot(ax)

    def plot(self, ax: Any = None) -> RankDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.bars_: list[Any] = []
        is_log = self.classes > _LOG
        buckets = self._drawn(is_log)
        with axes(self, ax) as (main, _):
            main.set(xlabel="place of the target", ylabel="rows", xlim=(0.5, self.classes + 0.5))
            if is_log:
                main.set_xscale("log")
                log_ticks(main.xaxis)
            else:
                count_ticks(main.xaxis, self.classes)
            shares = [weight / self.total for _, _, weight in buckets]
            floor = 0.5 * min(shares) if is_log and shares else 0.0
            for (first, last, weight), share in zip(buckets, shares, strict=True):
                left, right = first + 0.54, last + 1.46
                self.bars_.append(bar(main, left, floor, right - left, share - floor, FIRST, 0.85))
                place = f"place {amount(first + 1)}"
                place = place if first == last else f"places {amount(first + 1)} to {amount(last + 1)}"
                rows = rows_text(weight)
                self._say(self.bars_[-1], f"{place}: {rows}, {percent(share)}")
            if not buckets:
                main.set_ylim(0, 1)
                say_empty(main, "no rows")
                return self
            if is_log:
                main.set_yscale("log")
                main.set_ylim(floor, min(1.6 * max(shares), 1.3))
                log_ticks(main.yaxis, lambda share, _: percent(share))
            else:
                main.set_ylim(0, 1.05 * max(shares))
                main.yaxis.set_major_formatter(lambda share, _: percent(round(share, 6)))
            none = 1 - float(self.weight.sum()) / self.total
            if none > 1e-9:
                note(main, f"{percent(none)} of the rows have no rank")
            if ax is None:
                grid(main, "y")
        return self

    def _drawn(self, is_log: bool) -> list[tuple[int, int, float]]:
        """The bars: first and last rank, and weight."""
        rows = list(zip(self.first.tolist(), self.last.tolist(), self.weight.tolist(), strict=True))
        if is_log:
            joined: dict[int, tuple[int, int, float]] = {}
            for first, last, weight in rows:
                key = int(np.searchsorted(_EDGES, first, side="right"))
                least, _, sum_ = joined.get(key, (first, last, 0.0))
                joined[key] = least, last, sum_ + weight
            rows = list(joined.values())
        return [row for row in rows if row[2] > 0]

    def table(self) -> Table:
        """Every bucket that has rows: (head, rows)."""
        rows: list[list[Any]] = []
        columns = (self.first, self.last, self.weight)
        for first, last, weight in zip(*(c.tolist() for c in columns), strict=True):
            if weight > 0:
                rows.append([first + 1, last + 1, weight, weight / self.total])
        return ["from place", "to place", "rows", "share"], rows
