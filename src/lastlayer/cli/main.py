"""The ``lastlayer`` command. In: arguments. Out: printed text, and an exit status.

Status 0: done. 1: `check` found an error. 2: wrong arguments or input. 3: a bug of this package. 130: Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import lastlayer as ll

from .usage import UsageError

__all__ = ["main"]

_ISSUES = "https://github.com/lastlayer/lastlayer/issues"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    argv
        The arguments after the command's name; default: those of the process.

    Returns
    -------
    int
        The exit status as listed above; error messages are written to the standard error stream.
    """
    try:
        from .app import run
    except ImportError as error:
        if error.name not in ("typer", "click", "rich"):
            raise
        return _failed(2, f"this needs the package {error.name}; run: pip install 'lastlayer[cli]'")
    try:
        status = run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # a closed pipe is noticed here, not at exit
    except BrokenPipeError:
        return _closed()
    except (ll.LastlayerError, UsageError, OSError) as error:
        return _failed(2, str(error))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _unforeseen(error)
    return status


def _failed(status: int, text: str) -> int:
    """Print the error in one line."""
    print(f"lastlayer: {' '.join(text.split())}", file=sys.stderr)
    return status


def _closed() -> int:
    """The reader of a pipe has closed it: write nothing more, not even at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1  # as Python's and Rich's own


def _unforeseen(error: Exception) -> int:
    """Print the traceback of an unexpected error, and how to report it."""
    import traceback

    traceback.print_exception(error)
    what = f"a fault of lastlayer {ll.__version__}: {type(error).__name__}"
    return _failed(3, f"{what}; please report it at {_ISSUES} with the command and the lines above")
