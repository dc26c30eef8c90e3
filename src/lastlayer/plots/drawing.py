"""Common parts of all displays. In: axes of the user, or none. Out: axes to draw on; single artists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .colors import FAINT, MUTED, PAPER, style
from .names import amount

__all__ = [
    "Display",
    "Shown",
    "Table",
    "axes",
    "bar",
    "count_ticks",
    "grid",
    "interval",
    "legend_above",
    "log_ticks",
    "note",
    "point",
    "reference",
    "say_empty",
    "tick_names",
]

Shown = list[tuple[Any, str]]
Table = tuple[list[str], list[list[Any]]]


class Display:
    """A figure: its title, its description, and after `plot` the text of each artist."""

    title: str
    description: str
    ax_: Any
    figure_: Any
    shown_: Shown

    def _start(self, ax: Any) -> None:
        self.ax_, self.figure_, self.shown_ = ax, ax.figure, []

    def _say(self, artist: Any, text: str) -> None:
        self.shown_.append((artist, text))


@contextmanager
def axes(
    display: Any, ax: Any, size: tuple[float, float] = (6.4, 4.2), **layout: Any
) -> Iterator[tuple[Any, list[Any]]]:
    """The axes to draw on, and those beside them: none on the user's axes, whose style is left as it is.

    ``ax`` may be an empty figure too, which gets all axes and needs no pyplot. ``size`` in inches and
    ``layout`` (of ``subplots``) are those of such a figure, and of a new one.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        name = type(display).__name__
        text = f"{name}.plot requires matplotlib. You can install it with `pip install lastlayer[plot]`"
        raise ImportError(text) from error

    figure = ax if isinstance(ax, Figure) else None
    if ax is not None and figure is None:
        display._start(ax)
        with matplotlib.rc_context({"text.parse_math": False}):
            yield ax, []
        return
    is_new = figure is None
    if figure is None:
        import matplotlib.pyplot as plt

        # Not inside of the style: in a notebook the first figure makes pyplot interactive, and at the end of
        # the style that would be undone, so the notebook would show no later picture.
        look: dict[str, Any] = {"dpi": 100, "facecolor": PAPER, "edgecolor": PAPER}
        figure = plt.figure(figsize=size, layout="constrained", **look)
    with style():
        if not is_new:
            figure.set_size_inches(*size)
            figure.set_layout_engine("constrained")
        every = list(figure.subplots(squeeze=False, **layout).flat)
        for one in every:  # ticks are made later, outside of the style
            one.tick_params(which="both", colors=MUTED, labelcolor=MUTED, labelsize=9, width=0.8)
            one.set_axisbelow(True)
        figure.set_facecolor(PAPER)
        display._start(every[0])
        yield every[0], every[1:]


def grid(ax: Any, axis: str = "both") -> None:
    """Thin lines at the ticks."""
    ax.grid(axis=axis, color=FAINT, linewidth=0.6)


def point(ax: Any, x: float, y: float, color: str, marker: str = "o") -> Any:
    """A marker that stands for one value."""
    (line,) = ax.plot(
        [x], [y], marker=marker, markersize=5, color=color, linestyle="none", zorder=3, clip_on=False
    )
    return line


def interval(ax: Any, low: tuple[float, float], high: tuple[float, float], color: str) -> Any:
    """An error bar from one point to another."""
    (line,) = ax.plot(
        [low[0], high[0]], [low[1], high[1]], color=color, linewidth=1.2, solid_capstyle="butt", zorder=2.5
    )
    return line


def bar(ax: Any, x: float, y: float, width: float, height: float, color: str, alpha: float = 1.0) -> Any:
    """A rectangle that stands for one value; (x, y) is its lower left corner."""
    from matplotlib.patches import Rectangle

    made = Rectangle((x, y), width, height, facecolor=color, edgecolor="none", alpha=alpha)
    ax.add_patch(made)
    return made


def say_empty(ax: Any, text: str) -> Any:
    """Say in the middle of the axes why nothing is drawn."""
    return ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=MUTED, wrap=True, zorder=4
    )


def tick_names(axis: Any, places: Sequence[float], names: Sequence[str], **look: Any) -> None:
    """Ticks with the user's names, which are never read as mathematics."""
    axis.set_ticks(list(places), labels=list(names), parse_math=False, **look)
    axis.set_tick_params(length=0)


def count_ticks(axis: Any, most: int) -> None:
    """Ticks at whole numbers from 1 on."""
    step = 1 if most <= 10 else 2
    axis.set_ticks(range(1, most + 1, step))


def legend_above(ax: Any, columns: int) -> Any:
    """The legend in a line above the axes, where it hides nothing."""
    return ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)


def log_ticks(axis: Any, text: Any = None) -> None:
    """Ticks of a logarithmic axis at powers of ten, in plain numbers or as ``text`` has them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(10, numticks=7))
    axis.set_major_formatter(FuncFormatter(text or (lambda value, _: amount(value))))
    axis.set_minor_formatter(NullFormatter())


def note(ax: Any, text: str) -> Any:
    """A small line above the axes: what is left out, what a shade means."""
    return ax.set_title(text, loc="left", fontsize=9, color=MUTED, parse_math=False)


def reference(ax: Any, x: float | None = None, y: float | None = None, label: str | None = None) -> Any:
    """A dashed line across the axes, at x or at y."""
    look: dict[str, Any] = {"color": MUTED, "linewidth": 1, "linestyle": "--", "zorder": 1.5, "label": label}
    return ax.axvline(x, **look) if x is not None else ax.axhline(y, **look)
