"""Common to all subcommands: the type of the parser they register with, and the error of a wrong argument."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["Commands", "UsageError"]


class UsageError(Exception):
    """A wrong argument of the command line; the text says what is wrong."""
