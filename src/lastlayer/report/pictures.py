"""A Display of `lastlayer.plots` -> a picture of the page, with the table of its values behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .cells import MOST, Table, cell
from .svg import svg_of

__all__ = ["Picture", "picture_of"]


class Picture(NamedTuple):
    """An ``<svg>`` element, its name and what to look for, and its values."""

    name: str
    title: str
    text: str
    svg: str
    table: Table


def picture_of(plot: Callable[..., Any], name: str) -> Picture:
    """What ``plot(ax=figure)`` gives, a Display, drawn on a figure of its own."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        text = "a report requires matplotlib. You can install it with `pip install lastlayer[report]`"
        raise ImportError(text) from error

    from lastlayer.plots import colors

    figure = Figure()
    display = plot(ax=figure)
    with colors.style():
        svg = svg_of(figure, display.shown_, name=name, title=display.title, description=display.description)
    return Picture(name, display.title, display.description, svg, _table_of(display))


def _table_of(display: Any) -> Table:
    """The values of a Display."""
    head, rows = display.table()
    shown = [[cell(value) for value in row] for row in rows[:MOST]]
    return Table(f"{display.title}: the numbers", head, shown, True, len(rows) - len(shown))
