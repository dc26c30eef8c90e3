"""Top-k accuracy. In: accuracies by k, or counts of ranks. Out: a line with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

import numpy as np

from lastlayer.evaluation.estimates import trials_of, wilson

from .colors import FIRST, MUTED
from .drawing import Display, Table, axes, count_ticks, grid, interval, log_ticks, point, say_empty
from .names import amount, with_interval

__all__ = ["TopKDisplay"]

_POINTS = 400  # at most
_LOG = 20  # classes, from which on the axis of k is logarithmic


class TopKDisplay(Display):
    """How often the target is among the k classes with the largest scores, against k.

    ::

        accuracy[k] = rows whose target has a rank below k / all rows         ranks begin at 0

    The intervals of the whole curve are Wilson's at ``n`` rows. Those of ``estimates`` are drawn in full.

    Parameters
    ----------
    k, accuracy : arrays (K,)
        The curve, by increasing k.
    estimates : mapping from k to (value, stderr, low, high), optional
        Accuracies with their own intervals, as `Evaluation.top_k_accuracy`.
    n : float, optional
        The number of rows, for the intervals of the curve; the effective number if rows are weighted.
    classes : int
        V.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    line_, band_ : the curve and its intervals; the band is None without n
    chance_line_ : the accuracies of guessing, k / V
    points_, intervals_ : lists of artists: a point for each k, an interval for each of the estimates
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import TopKDisplay
    >>> evaluation = ll.evaluate([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0], [3.0, 0.0, 1.0]], [0, 1, 1])
    >>> display = TopKDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[0][1])
    top-1 accuracy 0.333 [0.0615, 0.792]
    """

    title = "Top-k accuracy"
    description = (
        "How often the target is among the k largest scores. A steep start: where the first guess is wrong, "
        "the target is often among the next ones."
    )

    def __init__(
        self,
        *,
        k: Any,
        accuracy: Any,
        classes: int,
        estimates: Mapping[int, Any] | None = None,
        n: float = nan,
    ) -> None:
        self.k = np.asarray(k, np.int64)
        self.accuracy = np.asarray(accuracy, np.float64)
        self.classes = classes
        self.estimates = dict(estimates or {})
        self.n = float(n)

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> TopKDisplay:
        """Plot the top-k accuracies of an `Evaluation`, from its counts of ranks."""
        counts, total = evaluation.ranks, evaluation.weight
        accuracy = (
            np.minimum(np.cumsum(counts.weight) / total, 1.0) if total else np.full(len(counts.last), nan)
        )
        return cls(
            k=counts.last + 1,
            accuracy=accuracy,
            classes=len(evaluation.loss_by_class),
            estimates=evaluation.top_k_accuracy,
            n=trials_of(evaluation.accuracy),
        ).plot(ax)

    def plot(self, ax: Any = None) -> TopKDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        self.band_: Any = None
        with axes(self, ax) as (main, _):
            is_log = self.classes > _LOG
            values = self._values()
            k = np.array([row[0] for row in values])
            found = np.array([row[1] for row in values])
            (self.line_,) = main.plot(k, found, color=FIRST, linewidth=1.5, label="model")
            chance = np.unique(np.geomspace(1, max(self.classes, 1), 200).round())
            look: dict[str, Any] = {"color": MUTED, "linestyle": "--", "linewidth": 1}
            (self.chance_line_,) = main.plot(chance, chance / self.classes, label="guessing", **look)
            main.set(xlabel="k", ylabel="top-k accuracy", ylim=(0, 1.02))
            if is_log:
                main.set_xscale("log")
                main.set_xlim(0.9, self.classes * 1.1)
                log_ticks(main.xaxis)
            else:
                main.set_xlim(0.5, self.classes + 0.5)
                count_ticks(main.xaxis, self.classes)
            if not np.isfinite(found).any():
                say_empty(main, "no rows")
                return self
            if isfinite(self.n):
                low, high = np.array([row[2:] for row in values]).T
                self.band_ = main.fill_between(k, low, high, color=FIRST, alpha=0.18, linewidth=0)
            step = -(-len(values) // _POINTS)
            for place, (one, value, low, high) in enumerate(values):
                if place % step and place + 1 < len(values):
                    continue
                has_own = one in self.estimates
                if has_own and isfinite(low) and isfinite(high):
                    self.intervals_.append(interval(main, (one, low), (one, high), FIRST))
                self.points_.append(point(main, one, value, FIRST))
                self.points_[-1].set_markersize(5 if has_own or len(values) <= 20 else 2.5)
                self._say(self.points_[-1], f"top-{amount(one)} accuracy {with_interval(value, low, high)}")
            main.legend(loc="lower right" if found[0] >= 0.5 else "upper left")
            if ax is None:
                grid(main)
        return self

    def _values(self) -> list[tuple[int, float, float, float]]:
        """K, accuracy, low and high of each k: of the estimates their own, of the others Wilson's."""
        curve = dict(zip(self.k.tolist(), self.accuracy.tolist(), strict=True))
        found = []
        for k in sorted({*curve, *(k for k in self.estimates if k <= self.classes)}):
            if k in self.estimates:
                value, _, low, high = map(float, self.estimates[k])
            else:
                value = curve[k]
                is_known = isfinite(self.n) and isfinite(value)
                low, high = wilson(value, self.n) if is_known else (nan, nan)
            found.append((int(k), value, low, high))
        return found

    def table(self) -> Table:
        """Every k of the curve and of the estimates: (head, rows)."""
        return ["k", "accuracy", "low", "high"], [list(row) for row in self._values()]
