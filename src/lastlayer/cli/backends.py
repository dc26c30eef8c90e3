"""``lastlayer backends``: print the available backends, and why others are not available."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lastlayer as ll

if TYPE_CHECKING:
    from .usage import Commands

__all__ = ["add_parser"]


def add_parser(commands: Commands) -> None:
    """Add the command's arguments, and the function that runs it."""
    parser = commands.add_parser("backends", help="which backend runs what, and why not otherwise")
    parser.set_defaults(run=lambda _: print(ll.show_backends()))
