"""Common to all subcommands: the error of a wrong argument."""

from __future__ import annotations

__all__ = ["UsageError"]


class UsageError(Exception):
    """A wrong argument of the command line; the text says what is wrong."""
