"""Two models on the same rows. In: differences with intervals. Out: a line for each, around 0."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from .colors import BAD, GOOD, INK
from .drawing import Display, Table, axes, grid, interval, note, point, reference, tick_names
from .names import clean, number, short, with_interval

__all__ = ["ComparisonDisplay"]

_SHOWN = 60  # groups
_NAMES = {"log_loss": "log-loss", "accuracy": "accuracy", "brier": "Brier score"}
_ALL = "all rows"


class ComparisonDisplay(Display):
    """The differences of log-loss, accuracy and Brier score, b minus a, with 95 % intervals.

    A difference is green if its whole interval is in favour of b, red if it is in favour of a, and dark if
    the interval contains 0. On a new figure each number has its own axes, with a line for each of up to 60
    groups, the largest difference of the log-loss at the top. On given axes only the differences of all rows
    are plotted.

    Parameters
    ----------
    differences : mapping of "log_loss", "accuracy" and "brier" to (value, stderr, low, high)
        Of all rows.
    groups : mapping from a group's name to such a mapping, optional

    Attributes
    ----------
    ax_, figure_ : the axes and the figure of matplotlib
    axes_ : list of the axes of each number, or of the given axes
    order_ : list of the groups, the largest difference of the log-loss first
    points_, intervals_ : lists of artists, number by number
    shown_ : list of (artist, text), one for each value

    Examples
    --------
    >>> import lastlayer as ll
    >>> from lastlayer.plots import ComparisonDisplay
    >>> a, b = [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> display = ComparisonDisplay.from_comparison(ll.compare(a, b, [0, 1, 1]))
    >>> print(display.shown_[0][1])
    all rows: log-loss, b - a: -0.85 [-2.7, 1]
    """

    title = "Differences"
    description = (
        "Each line is the 95 % interval of a difference. One that includes 0 does not show which model is "
        "better."
    )

    def __init__(
        self, *, differences: Mapping[str, Any], groups: Mapping[Any, Mapping[str, Any]] | None = None
    ) -> None:
        self.differences = differences
        self.groups = groups or {}

    @classmethod
    def from_comparison(cls, comparison: Any, *, ax: Any = None) -> ComparisonDisplay:
        """Plot the differences of a `Comparison`."""
        groups = {
            key: {name: getattr(group, name) for name in _NAMES} for key, group in comparison.by_group.items()
        }
        every = {name: getattr(comparison, name).difference for name in _NAMES}
        return cls(differences=every, groups=groups).plot(ax)

    def plot(self, ax: Any = None) -> ComparisonDisplay:
        """Plot on ``ax``, or on a new figure."""
        self.order_ = self._order()
        self.points_: list[Any] = []
        self.intervals_: list[Any] = []
        drawn = self.order_[:_SHOWN]
        rows = 1 + len(drawn)
        size = (6.4, max(1.9, 1.3 + 0.22 * rows))
        with axes(self, ax, size, ncols=3, sharey=True) as (main, others):
            self.axes_ = [main, *others]
            if not others:
                self._plot_all(main)
                return self
            lines = [(_ALL, self.differences), *((clean(key), self.groups[key]) for key in drawn)]
            for one, (name, title) in zip(self.axes_, _NAMES.items(), strict=True):
                reference(one, x=0)
                for place, (key, found) in enumerate(lines):
                    self._plot_difference(one, place, key, name, found[name])
                is_less = name != "accuracy"
                one.set_xlabel(
                    f"{title}, b \N{MINUS SIGN} a\n" + ("← b is better" if is_less else "b is better →")
                )
                one.tick_params(axis="x", labelsize=8)
                one.locator_params(axis="x", nbins=3)
                one.margins(x=0.1)
                grid(one, "x")
            main.set_ylim(rows - 0.4, -0.6)
            names = [_ALL, *map(short, drawn)]
            tick_names(main.yaxis, range(rows), names, fontsize=9 if rows <= 30 else 7.5)
            for one in others:
                one.tick_params(axis="y", length=0)
            if len(drawn) < len(self.order_):
                note(main, f"{len(drawn)} of {len(self.order_)} groups")
        return self

    def _plot_all(self, main: Any) -> None:
        """The three differences of all rows, a line each."""
        reference(main, x=0)
        for place, name in enumerate(_NAMES):
            self._plot_difference(main, place, _ALL, name, self.differences[name])
        main.set_ylim(len(_NAMES) - 0.4, -0.6)
        tick_names(main.yaxis, range(len(_NAMES)), list(_NAMES.values()))
        main.set_xlabel("b \N{MINUS SIGN} a")

    def _order(self) -> list[Any]:
        values = {key: float(found["log_loss"][0]) for key, found in self.groups.items()}
        return sorted(values, key=lambda key: -values[key] if values[key] == values[key] else float("inf"))

    def _plot_difference(self, ax: Any, place: int, key: str, name: str, estimate: Any) -> None:
        value, _, low, high = map(float, estimate)
        text = f"{key}: {_NAMES[name]}, b - a: {with_interval(value, low, high)}"
        if not isfinite(value):
            look: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8}
            self._say(ax.text(0.04, place, number(value), color=INK, **look), text)
            return
        sign = 1 if name == "accuracy" else -1
        color = GOOD if sign * low > 0 and sign * high > 0 else INK
        color = BAD if sign * low < 0 and sign * high < 0 else color
        if isfinite(low) and isfinite(high):
            self.intervals_.append(interval(ax, (low, place), (high, place), color))
        self.points_.append(point(ax, value, place, color, "D" if key == _ALL and place == 0 else "o"))
        self._say(self.points_[-1], text)

    def table(self) -> Table:
        """All rows, then every group: (head, rows)."""
        lines = [(_ALL, self.differences), *((clean(key), self.groups[key]) for key in self._order())]
        head, rows = ["rows"], []
        for name in _NAMES.values():
            head += [f"{name}, b - a", f"{name}, low", f"{name}, high"]
        for key, found in lines:
            numbers = [float(found[name][i]) for name in _NAMES for i in (0, 2, 3)]
            rows.append([key, *numbers])
        return head, rows
