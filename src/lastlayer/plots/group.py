"""Loss and accuracy by group. In: estimates by group. Out: a line with its interval for each."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

from .colors import FIRST, SECOND
from .drawing import Display, Table, axes, grid, interval, note, point, reference, say_empty, tick_names
from .names import clean, number, rows_text, short, with_interval

__all__ = ["GroupDisplay"]

_SHOWN = 60  # groups


class GroupDisplay(Display):
    """The mean loss and the accuracy of each group, with 95 % intervals; the largest loss is at the top.

    With more than 60 groups, the 60 with the largest loss are shown. On given axes only the loss is plotted.

    Parameters
    ----------
    loss, accuracy : mapping from a group's name to (value, stderr, low, high)
        As `Evaluation.loss_by_group` and `accuracy_by_group`: `Estimate`, or a tuple of the same numbers.
    weight : mapping from a group's name to float, optional
        The sum of the weights of its rows.
    mean_loss, mean_accuracy : float, optional
        Of all rows.

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    accuracy_ax_ : the axes of the accuracy, or None
    order_ : list of the groups, the largest loss first
    points_, intervals_ : lists: for each group that is shown its loss, then for each its accuracy
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import GroupDisplay
    >>> logits = [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]
    >>> evaluation = ll.evaluate(logits, [0, 1, 1], groups=["north", "south", "south"])
    >>> display = GroupDisplay.from_evaluation(evaluation)
    >>> print(display.shown_[1][1])
    south: loss 1.68 [-1, 4.36], 2 rows
    """

    title = "Groups"
    description = (
        "The largest loss is at the top; the dashed line is the mean of all rows. Of groups that do not "
        "differ, about 5 % have a 95 % interval that does not reach it."
    )

    def __init__(
        self,
        *,
        loss: Mapping[Any, Any],
        accuracy: Mapping[Any, Any],
        weight: Mapping[Any, float] | None = None,
        mean_loss: float = nan,
        mean_accuracy: float = nan,
    ) -> None:
        self.loss = loss
        self.accuracy = accuracy
        self.weight = weight
        self.mean_loss = float(mean_loss)
        self.mean_accuracy = float(mean_accuracy)

    @classmethod
    def from_evaluation(cls, evaluation: Any, *, ax: Any = None) -> GroupDisplay:
        """Plot the groups of an `Evaluation`."""
        return cls(
            loss=evaluation.loss_by_group,
            accuracy=evaluation.accuracy_by_group,
            weight=evaluation.weight_by_group,
            mean_loss=evaluation.log_loss.value,
            mean_accuracy=evaluation.accuracy.value,
        ).plot(ax)

    def plot(self, ax: Any = None) -> GroupDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.order_ = self._order()
        drawn = self.order_[:_SHOWN]
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        size = (6.4, max(1.8, 1.0 + 0.22 * len(drawn)))
        with axes(self, ax, size, ncols=2, sharey=True) as (main, others):
            self.accuracy_ax_ = others[0] if others else None
            self._plot_means(main, drawn, "loss", self.loss, self.mean_loss)
            main.set_xlabel("mean loss (nats)")
            if self.accuracy_ax_ is not None:
                self._plot_means(self.accuracy_ax_, drawn, "accuracy", self.accuracy, self.mean_accuracy)
                self.accuracy_ax_.set_xlabel("accuracy")
                self.accuracy_ax_.tick_params(axis="y", length=0)
            if not drawn:
                say_empty(main, "no groups")
                for one in (main, *others):
                    one.set(xticks=[], yticks=[])
                return self
            main.set_ylim(len(drawn) - 0.4, -0.6)
            names = [short(key) for key in drawn]
            tick_names(main.yaxis, range(len(drawn)), names, fontsize=9 if len(drawn) <= 30 else 7.5)
            if len(drawn) < len(self.order_):
                note(main, f"{len(drawn)} of {len(self.order_)} groups")
        return self

    def _order(self) -> list[Any]:
        """Groups by their loss, the largest first; those without one last."""
        values = {key: float(found[0]) for key, found in self.loss.items()}
        return sorted(values, key=lambda key: -values[key] if values[key] == values[key] else float("inf"))

    def _plot_means(self, ax: Any, drawn: list[Any], name: str, of: Mapping[Any, Any], mean: float) -> None:
        """One number of all groups, a line each."""
        color = FIRST if name == "loss" else SECOND
        if drawn and isfinite(mean):
            self._say(reference(ax, x=mean), f"all rows: {name} {number(mean)}")
        for place, key in enumerate(drawn):
            value, _, low, high = map(float, of[key])
            text = f"{clean(key)}: {name} {with_interval(value, low, high)}"
            text += "" if self.weight is None else f", {rows_text(self.weight[key])}"
            if isfinite(low) and isfinite(high):
                self.intervals_.append(interval(ax, (low, place), (high, place), color))
            if isfinite(value):
                self.points_.append(point(ax, value, place, color))
                self._say(self.points_[-1], text)
            else:
                look: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8}
                self._say(ax.text(0.02, place, number(value), color=color, **look), text)
        if drawn and self.accuracy_ax_ is not None:
            grid(ax, "x")

    def table(self) -> Table:
        """Every group: (head, rows)."""
        rows: list[list[Any]] = []
        for key in self._order():
            loss, accuracy = (tuple(map(float, of[key])) for of in (self.loss, self.accuracy))
            weight = [] if self.weight is None else [float(self.weight[key])]
            rows.append([clean(key), *weight, loss[0], *loss[2:], accuracy[0], *accuracy[2:]])
        head = ["loss", "loss, low", "loss, high", "accuracy", "accuracy, low", "accuracy, high"]
        return ["group", *([] if self.weight is None else ["rows"]), *head], rows
