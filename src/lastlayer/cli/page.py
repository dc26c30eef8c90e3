"""A page of text in a terminal. In: steps, lines and numbers. Out: printed text, at most 88 columns wide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .usage import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Page", "bar_text", "class_label", "new_table", "number_text", "open_console", "signed_text"]

# Widths in columns. A name, a bar and four numbers of at most eleven columns fill eighty.
BAR, NAME = 14, 9
WIDEST = 88  # longer lines are hard to read


def open_console(command: str, to_stderr: bool = False) -> Console:
    """Open the terminal, or say how to install what prints to it."""
    try:
        from rich.console import Console
    except ImportError:
        raise UsageError(
            f"{command}: this needs the package rich; run: pip install 'lastlayer[cli]'"
        ) from None
    console = Console(highlight=False, stderr=to_stderr)
    console.width = min(console.width, WIDEST)
    return console


class Page:
    """The page being printed, its steps numbered."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.steps = 0

    def step(self, name: str, text: str) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self.steps += 1
        line = Text.assemble((f"{self.steps}. {name}: ", "bold cyan"), text)
        self.console.print(Padding(line, (0, 2), expand=False))

    def line(self, text: str = "", style: str | None = None) -> None:
        self.console.print(f"  {text}" if text else "", style=style, markup=False)


def new_table(first: str, *rest: str) -> Table:
    """Make a table with a column of names and columns of numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def class_label(name: str, is_target: bool) -> str:
    """The name of a class, shortened to fit its column; the target's is followed by " <"."""
    from rich.cells import cell_len, set_cell_size
    from rich.markup import escape

    short = name if cell_len(name) <= NAME else set_cell_size(name, NAME - 1) + "…"
    return escape(short) + (" <" if is_target else "")


def number_text(value: float) -> str:
    """A number in at most eleven characters: six decimals, or seven significant digits, or an exponent."""
    value = float(value) + 0.0  # -0.0 is shown as 0
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.6f}" if abs(value) < 100 else f"{value:.7g}"


def signed_text(value: float) -> str:
    """A number with its sign, also if that is a plus."""
    return ("+" if value > 0 else "") + number_text(value)


def bar_text(share: float, console: Console) -> str:
    """A fraction as a bar, in eighths of a column; drawn with # if the terminal has no Unicode."""
    eighths = round(share * BAR * 8)
    if not console.encoding.lower().startswith("utf"):
        return "#" * round(share * BAR)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
