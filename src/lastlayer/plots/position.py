"""The loss along a sequence. In: mean losses by position. Out: a line, smoothed where it is long."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .colors import FIRST, MUTED
from .drawing import Display, Table, axes, grid, note, point, reference, say_empty
from .names import number

__all__ = ["PositionDisplay"]

_LINE = 4096  # points of the line of all positions
_POINTS = 64  # positions that each have a point; of more, means over neighbours


class PositionDisplay(Display):
    """The mean loss of the rows at each position of the last row axis, such as that of a token in its text.

    More than 64 positions are one thin line, and over it the means of 64 ranges of positions; the line of
    more than 4096 positions is one of means too. Infinite losses are left out of the picture.

    Parameters
    ----------
    loss : array (L,)
        Mean loss at each position, in nats; NaN without rows.
    mean : float, optional
        The mean loss of all rows.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    line_ : the line of all positions
    points_ : list of the points: positions, or means of ranges of them
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import PositionDisplay
    >>> evaluation = ll.evaluate([[[2.0, 0.0], [0.0, 1.0]]], [[0, 0]])  # one text of two tokens
    >>> display = PositionDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[1][1])
    position 1: loss 1.31
    """

    title = "Loss by position"
    description = "A falling line: the model makes use of what comes before; a rising one: it loses track."

    def __init__(self, *, loss: Any, mean: float = float("nan")) -> None:
        self.loss = np.asarray(loss, np.float64)
        self.mean = float(mean)

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> PositionDisplay:
        """Plot the losses by position of an `Evaluation`."""
        return cls(loss=evaluation.loss_by_position, mean=evaluation.log_loss.value).plot(ax)

    def plot(self, ax: Any = None) -> PositionDisplay:
        """Plot on ``ax``, or on a new figure."""
        finite = np.isfinite(self.loss)
        self.points_: list[Any] = []
        with axes(self, ax) as (main, _):
            is_long = len(self.loss) > _POINTS
            shown = np.where(finite, self.loss, np.nan)
            color, width, alpha = (MUTED, 0.6, 0.7) if is_long else (FIRST, 1.0, 0.6)
            look: dict[str, Any] = {"color": color, "linewidth": width, "alpha": alpha}
            along = _ranges(shown, _LINE)
            places, means = [(first + last) / 2 for first, last, _ in along], [x for _, _, x in along]
            (self.line_,) = main.plot(places, means, **look)
            main.set(xlabel="position", ylabel="mean loss (nats)")
            if not finite.any():
                say_empty(main, "no finite loss" if (self.loss == self.loss).any() else "no positions")
                main.set(xticks=[], yticks=[])
                return self
            if len(self.loss) == 1:
                main.set(xlim=(-0.5, 0.5), xticks=[0])
            if ax is None:
                grid(main)
            for first, last, value in _ranges(shown, _POINTS):
                if value != value:
                    continue
                self.points_.append(point(main, (first + last) / 2, value, FIRST))
                self.points_[-1].set_markersize(4)
                where = f"position {first}" if first == last else f"positions {first} to {last}"
                self._say(self.points_[-1], f"{where}: loss {number(value)}")
            if is_long:
                note(main, f"points: means over {len(self.loss) // _POINTS} or more positions")
            if np.isfinite(self.mean):
                self.mean_line_ = reference(main, y=self.mean)
                self._say(self.mean_line_, f"all rows: loss {number(self.mean)}")
        return self

    def table(self) -> Table:
        """Every position that has rows: (head, rows)."""
        rows: list[list[Any]] = [[k, x] for k, x in enumerate(self.loss.tolist()) if x == x]
        return ["position", "loss"], rows


def _ranges(loss: npt.NDArray[np.float64], most: int) -> list[tuple[int, int, float]]:
    """The first and last position and the mean of each of ``most`` ranges; without a loss NaN."""
    cuts = np.linspace(0, len(loss), min(len(loss), most) + 1).astype(int)
    if len(cuts) < 2:
        return []
    there = ~np.isnan(loss)
    sums, counts = (np.add.reduceat(a, cuts[:-1]) for a in (np.where(there, loss, 0.0), there * 1.0))
    means = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return list(zip(cuts[:-1].tolist(), (cuts[1:] - 1).tolist(), means.tolist(), strict=True))
