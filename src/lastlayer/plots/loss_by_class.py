"""The loss of each class. In: mean losses and supports. Out: bars, the worst class at the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .colors import FIRST, INK, MUTED
from .drawing import Display, Table, axes, bar, grid, note, reference, say_empty, tick_names
from .names import amount, name_of, number, rows_text, short

__all__ = ["LossByClassDisplay"]

_CLASSES, _WORST = 60, 30  # classes that are all shown; how many of more
_BINS = 40  # of the histogram of all classes
_ROOM = 1.18  # of the longest bar: the numbers of rows stand beside it


class LossByClassDisplay(Display):
    """The mean loss of the rows of each class, the largest at the top, with the number of rows.

    With more than 60 classes, the 30 with the largest loss are shown, and on a new figure also the
    distribution of the losses of all classes. Classes without rows have no loss.

    Parameters
    ----------
    loss : array (V,)
        Mean loss of each class, in nats; NaN without rows. An infinite loss is a bar to the end of the axis.
    support : array (V,)
        The sum of the weights of each class's rows.
    labels : sequence of V names, optional
    mean : float, optional
        The mean loss of all rows.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    order_ : array
        The classes that have a loss, the largest first.
    bars_, texts_ : lists: a bar and a number of rows for each class that is shown
    histogram_ : list of bars: the number of classes by loss
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import LossByClassDisplay
    >>> evaluation = ll.evaluate([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [0, 1, 1])
    >>> display = LossByClassDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[0][1])
    class 1: loss 1.68, 2 rows
    """

    title = "Loss by class"
    description = (
        "The classes with the largest mean loss are at the top; the dashed line is the mean of all rows. The "
        "loss of a class with few rows is uncertain."
    )

    def __init__(
        self, *, loss: Any, support: Any, labels: Sequence[Any] | None = None, mean: float = float("nan")
    ) -> None:
        self.loss = np.asarray(loss, np.float64)
        self.support = np.asarray(support, np.float64)
        self.labels = labels
        self.mean = float(mean)

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> LossByClassDisplay:
        """Plot the losses of the classes of an `Evaluation`."""
        return cls(
            loss=evaluation.loss_by_class,
            support=evaluation.by_class.support,
            labels=evaluation.labels,
            mean=evaluation.log_loss.value,
        ).plot(ax)

    def plot(self, ax: Any = None) -> LossByClassDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.order_ = self._order()
        worst = self.order_ if len(self.order_) <= _CLASSES else self.order_[:_WORST]
        has_all = len(worst) == len(self.order_)
        self.bars_: list[Any] = []
        self.texts_: list[Any] = []
        self.histogram_: list[Any] = []
        layout: dict[str, Any] = {} if has_all else {"ncols": 2, "width_ratios": [3, 2]}
        size = (6.4, max(1.6, min(9.0, 1.0 + 0.2 * len(worst))))
        with axes(self, ax, size, **layout) as (main, others):
            if not len(worst):
                say_empty(main, "no rows")
                main.set(xticks=[], yticks=[])
            else:
                self._plot_bars(main, worst)
            main.set_xlabel("mean loss (nats)")
            if ax is None:
                grid(main, "x")
            if others:
                self._plot_histogram(others[0])
            missing = len(self.loss) - len(self.order_)
            if not has_all:
                note(main, f"the {len(worst)} largest of {amount(len(self.order_))}; rows at the right")
            elif len(worst):
                none = f"; {amount(missing)} classes have no rows" if missing else ""
                note(main, f"rows at the right{none}")
        return self

    def _order(self) -> npt.NDArray[np.intp]:
        """Classes by their loss, the largest first; of equal ones the first class."""
        there = np.flatnonzero(~np.isnan(self.loss))
        found: npt.NDArray[np.intp] = there[np.argsort(-self.loss[there], kind="stable")]
        return found

    def _plot_bars(self, main: Any, worst: npt.NDArray[np.intp]) -> None:
        losses = self.loss[worst]
        finite = losses[np.isfinite(losses)]
        top = float(finite.max(initial=0.0)) or 1.0
        end = 1.15 * top if len(finite) < len(losses) else top
        main.set(xlim=(0, _ROOM * end), ylim=(len(worst) - 0.4, -0.6))
        for place, (k, loss) in enumerate(zip(worst.tolist(), losses.tolist(), strict=True)):
            length, support = min(loss, end), float(self.support[k])
            self.bars_.append(bar(main, 0, place - 0.36, length, 0.72, FIRST, 0.8))
            rows = rows_text(support)
            self._say(self.bars_[-1], f"class {name_of(self.labels, k)}: loss {number(loss)}, {rows}")
            text = amount(support) if np.isfinite(loss) else f"∞, {amount(support)}"
            look: dict[str, Any] = {"va": "center", "fontsize": 8 if len(worst) <= 40 else 7, "color": MUTED}
            look |= {"ha": "right", "transform": main.get_yaxis_transform()}
            self.texts_.append(main.text(0.995, place, text, **look))
        names = [short(name_of(self.labels, k)) for k in worst.tolist()]
        tick_names(main.yaxis, range(len(worst)), names, fontsize=9 if len(worst) <= 30 else 7)
        if self.mean == self.mean and self.mean <= end:
            self.mean_line_ = reference(main, x=self.mean)
            self._say(self.mean_line_, f"all rows: loss {number(self.mean)}")

    def _plot_histogram(self, ax: Any) -> None:
        """How many classes have which loss."""
        finite = self.loss[np.isfinite(self.loss)]
        counts, edges = np.histogram(finite, bins=_BINS) if len(finite) else (np.empty(0), np.empty(1))
        height = np.diff(edges)
        for count, low, step in zip(counts.tolist(), edges.tolist(), height.tolist(), strict=False):
            if count:
                self.histogram_.append(bar(ax, 0, low, count, step * 0.92, INK, 0.5))
                classes = "1 class" if count == 1 else f"{amount(count)} classes"
                self._say(self.histogram_[-1], f"loss {number(low)} to {number(low + step)}: {classes}")
        ax.autoscale_view()
        ax.set(xlim=(0, None), xlabel="classes", ylabel="mean loss (nats)")
        ax.yaxis.set_label_position("right")
        ax.yaxis.tick_right()
        grid(ax, "y")
        note(ax, f"all {amount(len(self.order_))} with rows")

    def table(self) -> Table:
        """Every class that has rows, the largest loss first: (head, rows)."""
        rows: list[list[Any]] = [
            [name_of(self.labels, k), float(self.loss[k]), float(self.support[k])]
            for k in self._order().tolist()
        ]
        return ["class", "loss", "rows"], rows
