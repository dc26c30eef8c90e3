"""The ``lastlayer`` command. In: arguments. Out: printed text, and an exit status.

0: done. 1: `check` found an error. 2: a wrong call or wrong input. 3: a fault of this package. 130: Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import lastlayer as ll

from .usage import FoundError, UsageError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    argv
        The arguments after the command's name; default: those of the process.

    Returns
    -------
    int
        0, or what the module says; errors are explained on the standard error stream.
    """
    try:
        from .app import run
    except ImportError as error:
        if error.name not in ("typer", "click"):
            raise
        print("lastlayer: this needs the package typer; run: pip install 'lastlayer[cli]'", file=sys.stderr)
        return 2
    try:
        return run([_shield(word) for word in (sys.argv[1:] if argv is None else argv)])
    except FoundError:
        return 1
    except (ll.LastlayerError, UsageError) as error:
        return _failed(2, str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _closed()
    except Exception as error:
        return _unforeseen(error)


def _failed(status: int, text: str) -> int:
    print(f"lastlayer: {text}", file=sys.stderr)
    return status


def _closed() -> int:
    """The reader of a pipe has gone: nothing more is written, at exit neither."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _unforeseen(error: Any) -> int:
    """What to do about an error that should not be: a usage error of click, or a fault of this package."""
    if type(error).__module__.startswith(("click", "typer")):
        if type(error).__name__ == "Abort":  # what click makes of Ctrl-C
            return 130
        if hasattr(error, "format_message"):
            return _failed(2, error.format_message())
        return int(getattr(error, "exit_code", 0))
    import traceback

    traceback.print_exception(error)
    return _failed(3, "this is a fault of lastlayer; please report it with the lines above and the command")


def _shield(word: str) -> str:
    """Add a leading space to numbers, so that -1e-5, -inf and -1,2 are not taken for options."""
    try:
        for part in word.split(","):
            float(part)
    except ValueError:
        return word
    return " " + word
