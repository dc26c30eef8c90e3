"""The histogram of confidence. In: bins of confidence. Out: for each bin, bars of right and wrong rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from .bins import Bin, drawn_bins
from .colors import FIRST, INK, MUTED, SECOND
from .drawing import Display, Table, axes, bar, grid, legend_above, say_empty
from .names import number, percent, rows_text

__all__ = ["ConfidenceDisplay"]


class ConfidenceDisplay(Display):
    """The histogram of confidence: the rows of each bin, split into right and wrong predictions.

    More than 100 bins are merged with their neighbours; the table has all bins.

    Parameters
    ----------
    edges : array (B + 1,)
        The edges of the bins of confidence.
    weight, accuracy : arrays (B,)
        Sum of the weights and accuracy of each bin; NaN in an empty bin.
    mean_confidence, mean_accuracy : float, optional
        Of all rows.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    right_, wrong_ : lists of bars, one for each bin that has rows
    lines_ : list of the lines of mean confidence and mean accuracy
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import ConfidenceDisplay
    >>> evaluation = ll.evaluate([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 1, 1])
    >>> display = ConfidenceDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[3][1])
    confidence 0.867 to 0.933: 0 rows wrong, 0 %
    """

    title = "Confidence"
    description = (
        "The distribution of the confidence, right rows below and wrong ones on top. Wrong rows at the right "
        "are confident mistakes."
    )

    def __init__(
        self,
        *,
        edges: Any,
        weight: Any,
        accuracy: Any,
        mean_confidence: float = float("nan"),
        mean_accuracy: float = float("nan"),
    ) -> None:
        self.edges = np.asarray(edges, np.float64)
        self.weight = np.asarray(weight, np.float64)
        self.accuracy = np.asarray(accuracy, np.float64)
        self.mean_confidence = float(mean_confidence)
        self.mean_accuracy = float(mean_accuracy)

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> ConfidenceDisplay:
        """Plot the confidence of the rows of an `Evaluation`."""
        c = evaluation.calibration
        return cls(
            edges=c.edges,
            weight=c.weight,
            accuracy=c.accuracy,
            mean_confidence=evaluation.mean_confidence.value,
            mean_accuracy=evaluation.accuracy.value,
        ).plot(ax)

    def plot(self, ax: Any = None) -> ConfidenceDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.right_: list[Any] = []
        self.wrong_: list[Any] = []
        self.lines_: list[Any] = []
        total = float(self.weight.sum())
        with axes(self, ax) as (main, _):
            for left, right, weight, _, accuracy in self._drawn():
                width, where = 0.94 * (right - left), f"confidence {number(left)} to {number(right)}"
                hits = weight * accuracy
                parts = ((self.right_, 0.0, hits, FIRST, "right"),
                         (self.wrong_, hits, weight - hits, SECOND, "wrong"))  # fmt: skip
                for bars, bottom, part, color, name in parts:
                    bars.append(bar(main, left, bottom / total, width, part / total, color, 0.85))
                    rows = rows_text(part)
                    self._say(bars[-1], f"{where}: {rows} {name}, {percent(part / total)}")
            main.set(xlim=(0, 1), xlabel="confidence", ylabel="rows")
            main.autoscale_view(scalex=False)
            main.set_ylim(0, None)
            main.yaxis.set_major_formatter(lambda share, _: percent(round(share, 6)))
            if not self.right_:
                main.set(ylim=(0, 1))
                say_empty(main, "no rows")
            else:
                self._plot_means(main)
            if ax is None:
                grid(main, "y")
        return self

    def _plot_means(self, main: Any) -> None:
        """The two means as lines, and the legend."""
        self.right_[0].set_label("right")
        self.wrong_[0].set_label("wrong")
        means = (
            ("mean confidence", self.mean_confidence, MUTED, "--"),
            ("accuracy", self.mean_accuracy, INK, ":"),
        )
        for name, value, color, dashes in means:
            if value == value:
                look: dict[str, Any] = {"color": color, "linestyle": dashes, "linewidth": 1.4}
                line = main.axvline(value, label=f"{name} {number(value)}", **look)
                self.lines_.append(line)
                self._say(line, f"{name} {number(value)}")
        legend_above(main, 4)

    def _drawn(self) -> list[Bin]:
        return drawn_bins(self.edges, self.weight, np.zeros(len(self.weight)), self.accuracy)

    def table(self) -> Table:
        """Every bin that has rows: (head, rows)."""
        rows: list[list[Any]] = []
        columns = (self.edges[:-1], self.edges[1:], self.weight, self.weight * self.accuracy)
        for left, right, weight, hits in zip(*(c.tolist() for c in columns), strict=True):
            if weight > 0:
                rows.append([left, right, weight, hits, weight - hits])
        return ["from", "to", "rows", "right", "wrong"], rows
