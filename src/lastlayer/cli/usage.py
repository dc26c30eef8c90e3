"""Common to all subcommands: the error of a wrong argument, and that of a finding."""

from __future__ import annotations

__all__ = ["FoundError", "UsageError"]


class UsageError(Exception):
    """A wrong argument of the command line; the text says what is wrong."""


class FoundError(Exception):
    """A check found an error: it was printed, and the exit status is 1."""
