"""The loss along a sequence. In: mean losses by position. Out: a line, smoothed where it is long."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lastlayer.evaluation.estimates import Z

from .colors import FIRST, MUTED
from .drawing import Display, Table, axes, grid, interval, note, point, reference, say_empty
from .names import number, with_interval

__all__ = ["PositionDisplay"]

_LINE = 4096  # points of the line of all positions
_POINTS = 64  # positions that each have a point; of more, means over neighbours


class PositionDisplay(Display):
    """The mean loss of the rows at each position of the last row axis, such as that of a token in its text.

    More than 64 positions are drawn as a thin line, with the means of 64 ranges of positions above it. With
    more than 4096 positions the line is one of means, too. Infinite losses are not drawn.

    Parameters
    ----------
    loss : array (L,)
        Mean loss at each position, in nats; NaN without rows.
    stderr, weight : arrays (L,), optional
        The standard error at each position, and the weight of its rows: for 95 % intervals, and for means of
        ranges.
    mean : float, optional
        The mean loss of all rows.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    line_ : the line of all positions
    points_, intervals_ : lists of the points, positions or means of ranges of them, and of their intervals
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
    description = "If the loss falls with the position, the model benefits from the context before it."

    def __init__(
        self, *, loss: Any, stderr: Any = None, weight: Any = None, mean: float = float("nan")
    ) -> None:
        self.loss = np.asarray(loss, np.float64)
        self.stderr = np.full(len(self.loss), np.nan) if stderr is None else np.asarray(stderr, np.float64)
        self.weight = np.ones(len(self.loss)) if weight is None else np.asarray(weight, np.float64)
        self.mean = float(mean)

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> PositionDisplay:
        """Plot the losses by position of an `Evaluation`."""
        return cls(
            loss=evaluation.loss_by_position,
            stderr=evaluation.loss_by_position_stderr,
            weight=evaluation.weight_by_position,
            mean=evaluation.log_loss.value,
        ).plot(ax)

    def plot(self, ax: Any = None) -> PositionDisplay:
        """Plot on ``ax``, or on a new figure."""
        finite = np.isfinite(self.loss)
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        with axes(self, ax) as (main, _):
            is_long = len(self.loss) > _POINTS
            shown = np.where(finite, self.loss, np.nan)
            color, width, alpha = (MUTED, 0.6, 0.7) if is_long else (FIRST, 1.0, 0.6)
            look: dict[str, Any] = {"color": color, "linewidth": width, "alpha": alpha}
            along = self._ranges(shown, _LINE)
            places, means = [(one.first + one.last) / 2 for one in along], [one.mean for one in along]
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
            for one in self._ranges(shown, _POINTS):
                if one.mean != one.mean:
                    continue
                place, low, high = (
                    (one.first + one.last) / 2,
                    one.mean - Z * one.stderr,
                    one.mean + Z * one.stderr,
                )
                if np.isfinite(one.stderr):
                    self.intervals_.append(interval(main, (place, low), (place, high), FIRST))
                self.points_.append(point(main, place, one.mean, FIRST))
                self.points_[-1].set_markersize(4)
                is_one = one.first == one.last
                where = f"position {one.first}" if is_one else f"positions {one.first} to {one.last}"
                self._say(self.points_[-1], f"{where}: loss {with_interval(one.mean, low, high)}")
            if is_long:
                note(main, f"points: means over {len(self.loss) // _POINTS} or more positions")
            if np.isfinite(self.mean):
                self.mean_line_ = reference(main, y=self.mean)
                self._say(self.mean_line_, f"all rows: loss {number(self.mean)}")
        return self

    def table(self) -> Table:
        """Every position that has rows: (head, rows)."""
        low, high = self.loss - Z * self.stderr, self.loss + Z * self.stderr
        columns = (self.weight.tolist(), self.loss.tolist(), low.tolist(), high.tolist())
        rows = [[k, *found] for k, found in enumerate(zip(*columns, strict=True)) if found[1] == found[1]]
        return ["position", "rows", "loss", "low", "high"], rows

    def _ranges(self, loss: npt.NDArray[np.float64], most: int) -> list[_Range]:
        """The mean of each of ``most`` ranges of positions, NaN without a loss.

        ::

            mean = sum w x / sum w          stderr^2 = sum w^2 stderr_x^2 / (sum w)^2
        """
        cuts = np.linspace(0, len(loss), min(len(loss), most) + 1).astype(int)
        if len(cuts) < 2:
            return []
        w = np.where(np.isnan(loss), 0.0, self.weight)
        total, sums, squares = (
            np.add.reduceat(a, cuts[:-1])
            for a in (w, np.where(w > 0, w * loss, 0.0), np.where(w > 0, (w * self.stderr) ** 2, 0.0))
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            means, errors = sums / total, np.sqrt(squares) / total
        ends = zip(cuts[:-1].tolist(), (cuts[1:] - 1).tolist(), means.tolist(), errors.tolist(), strict=True)
        return [_Range(*one) for one in ends]


class _Range(NamedTuple):
    """Positions that follow one another."""

    first: int
    last: int
    mean: float
    stderr: float
