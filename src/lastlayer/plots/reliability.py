"""The reliability diagram. In: bins of confidence. Out: accuracy against confidence, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer.evaluation.estimates import wilson

from .bins import drawn_bins
from .colors import FIRST, MUTED, SECOND
from .drawing import Display, Table, axes, bar, grid, interval, legend_above, point, say_empty
from .names import number, percent, rows_text, with_interval

__all__ = ["ReliabilityDisplay"]

_STRIP = 0.15  # of the height, for the bars on the user's axes


class ReliabilityDisplay(Display):
    """Accuracy against confidence, bin by bin, with 95 % intervals; below, the share of rows of each bin.

    More than 100 bins are merged with their neighbours; the table has all bins.

    ::

        [low, high] = Wilson's interval of the bin's accuracy at n = the bin's weight

    Parameters
    ----------
    edges : array (B + 1,)
        The edges of the bins of confidence.
    weight, confidence, accuracy : arrays (B,)
        Sum of the weights, mean confidence and accuracy of each bin; the last two are NaN in an empty bin.
    after : ReliabilityDisplay, optional
        The same rows after calibration.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    strip_ax_ : the axes of the shares: ``ax_`` itself, at its bottom, where the axes were given
    diagonal_, line_, after_line_ : lines
    points_, intervals_, bars_ : lists of artists, one for each bin that has rows, ``after`` last
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import ReliabilityDisplay
    >>> evaluation = ll.evaluate([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 1, 1])
    >>> display = ReliabilityDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[0][1])
    confidence 0.667 to 0.733: 1 row, accuracy 1 [0.207, 1]
    """

    title = "Reliability"
    description = (
        "On the diagonal, accuracy equals confidence. Below it the model is overconfident, above it "
        "underconfident."
    )

    def __init__(
        self,
        *,
        edges: Any,
        weight: Any,
        confidence: Any,
        accuracy: Any,
        after: ReliabilityDisplay | None = None,
    ) -> None:
        self.edges = np.asarray(edges, np.float64)
        self.weight = np.asarray(weight, np.float64)
        self.confidence = np.asarray(confidence, np.float64)
        self.accuracy = np.asarray(accuracy, np.float64)
        self.after = after

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, after: Any = None, ax: Any = None) -> ReliabilityDisplay:
        """Plot the bins of an `Evaluation`, and of another one of the same rows after calibration."""
        return cls._of(evaluation, None if after is None else cls._of(after)).plot(ax)

    @classmethod
    def _of(cls, evaluation: Any, after: ReliabilityDisplay | None = None) -> ReliabilityDisplay:
        c = evaluation.calibration
        return cls(edges=c.edges, weight=c.weight, confidence=c.confidence, accuracy=c.accuracy, after=after)

    def plot(self, ax: Any = None) -> ReliabilityDisplay:
        """Plot on ``ax``, or on a new figure, which has separate axes for the shares."""
        layout: dict[str, Any] = {"nrows": 2, "sharex": True, "height_ratios": [4, 1]}
        with axes(self, ax, **layout) as (main, others):
            self.strip_ax_ = others[0] if others else main
            (self.diagonal_,) = main.plot(
                [0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", label="perfect calibration"
            )
            self.points_: list[Any] = []
            self.intervals_: list[Any] = []
            self.bars_: list[Any] = []
            self.line_ = self._plot_bins(self, FIRST, "" if self.after is None else "before")
            self.after_line_ = None if self.after is None else self._plot_bins(self.after, SECOND, "after")
            main.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
            if others:
                grid(main)
                self.strip_ax_.set(ylabel="rows", ylim=(0, None))
                self.strip_ax_.autoscale_view()
                self.strip_ax_.yaxis.set_major_formatter(lambda share, _: percent(share))
                self.strip_ax_.yaxis.set_major_locator(_few_ticks())
            self.strip_ax_.set_xlabel("confidence")
            if not self.points_:
                say_empty(main, "no rows")
            elif self.after is not None:
                legend_above(main, 3)
        return self

    def _plot_bins(self, bins: ReliabilityDisplay, color: str, name: str) -> Any:
        """One series; returns its line."""
        main, strip, total = self.ax_, self.strip_ax_, float(bins.weight.sum())
        drawn = drawn_bins(bins.edges, bins.weight, bins.confidence, bins.accuracy)
        x, y = [b.confidence for b in drawn], [b.accuracy for b in drawn]
        (line,) = main.plot(x, y, color=color, linewidth=1, alpha=0.6, label=name or "accuracy")
        top = max((b.weight for b in drawn), default=total)
        scale = 1.0 if strip is not main else _STRIP * total / top if top else 1.0
        parts, second = (1, 0) if self.after is None else (2, int(color == SECOND))
        for left, right, weight, middle, hits in drawn:
            low, high = wilson(hits, weight)
            self.intervals_.append(interval(main, (middle, low), (middle, high), color))
            self.points_.append(point(main, middle, hits, color))
            where = f"{name + ', ' if name else ''}confidence {number(left)} to {number(right)}"
            rows = rows_text(weight)
            self._say(self.points_[-1], f"{where}: {rows}, accuracy {with_interval(hits, low, high)}")
            width, share = (right - left) / parts, weight / total
            self.bars_.append(bar(strip, left + second * width, 0, width * 0.92, share * scale, color, 0.7))
            self._say(self.bars_[-1], f"{where}: {rows}, {percent(share)}")
        return line

    def table(self) -> Table:
        """Every bin, empty ones too: (head, rows)."""
        head = ["from", "to", "rows", "confidence", "accuracy", "low", "high"]
        rows = self._rows()
        if self.after is None:
            return head, rows
        both = [["before", *row] for row in rows] + [["after", *row] for row in self.after._rows()]
        return ["when", *head], both

    def _rows(self) -> list[list[Any]]:
        found = []
        for k, weight in enumerate(self.weight.tolist()):
            hits = float(self.accuracy[k])
            low, high = wilson(hits, weight) if weight > 0 and hits == hits else (float("nan"),) * 2
            left, right = self.edges[k : k + 2].tolist()
            found.append([left, right, weight, float(self.confidence[k]), hits, low, high])
        return found


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=2, min_n_ticks=2)
