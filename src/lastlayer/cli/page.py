"""The terminal, used at most 88 columns wide, and tables in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .usage import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["new_table", "open_console"]

WIDEST = 88  # longer lines are hard to read


def open_console(command: str, to_stderr: bool = False) -> Console:
    """Open the terminal, or raise an error that says what to install."""
    try:
        from rich.console import Console
    except ImportError:
        raise UsageError(
            f"{command}: this needs the package rich; run: pip install 'lastlayer[cli]'"
        ) from None
    console = Console(highlight=False, stderr=to_stderr)
    console.width = min(console.width, WIDEST)
    return console


def new_table(first: str, *rest: str) -> Table:
    """Make a table with a column of names and columns of numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), header_style="bold")
    table.add_column(first, no_wrap=True)
    for name in rest:
        table.add_column(name, justify="right", no_wrap=True)
    return table
