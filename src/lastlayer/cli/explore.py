"""``lastlayer explore``: open the explorer, a page in the browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from lastlayer.explore import PAGE

__all__ = ["explore"]


def explore(
    print_path: Annotated[
        bool, typer.Option("--print-path", help="Print the path of the page; do not open it.")
    ] = False,
) -> None:
    """Open the explorer in the browser: change logits, see loss and gradient, train. It needs no network.

    \b
    Examples:
      lastlayer explore
      lastlayer explore --print-path
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    if print_path or not webbrowser.open(PAGE.as_uri()):
        print(PAGE)
