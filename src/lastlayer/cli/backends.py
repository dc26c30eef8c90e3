"""``lastlayer backends``: print the available backends, and why others are not available."""

from __future__ import annotations

import lastlayer as ll

__all__ = ["backends"]


def backends() -> None:
    """Show the available backends, and why others are not available.

    \b
    Example:
      lastlayer backends
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    print(ll.show_backends())
