"""The ``lastlayer`` command. In: arguments. Out: printed text, and an exit status (2 for a wrong call)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import lastlayer as ll

from . import backends, explain
from .usage import UsageError

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
        0, or 2 for a wrong call, which is explained on the standard error stream.
    """
    parser = _parser()
    try:
        arguments = parser.parse_args([_shield(word) for word in (sys.argv[1:] if argv is None else argv)])
        if arguments.version:
            print(f"lastlayer {ll.__version__}")
        elif arguments.command is None:
            parser.print_help()
        else:
            arguments.run(arguments)
    except SystemExit as stop:  # argparse has printed an error or the help
        return int(stop.code or 0)
    except (ll.LastlayerError, UsageError) as error:
        print(f"lastlayer: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lastlayer",
        description="The last layer of a classifier: softmax, cross-entropy, their gradients.",
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for command in (explain, backends):
        command.add_parser(commands)
    return parser


def _shield(word: str) -> str:
    """Add a leading space to a number, so that argparse does not take -1e-5 or -inf for an option."""
    try:
        float(word)
    except ValueError:
        return word
    return " " + word
