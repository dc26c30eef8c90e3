"""``lastlayer merge``: add up saved tallies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import lastlayer as ll

from .data import JsonFile, as_json, write
from .tables import show_evaluation
from .usage import UsageError

__all__ = ["merge"]


def merge(
    tallies: Annotated[list[Path], typer.Argument(metavar="TALLY", help="Files of evaluate --tally.")],
    json: JsonFile = None,
    tally: Annotated[Path | None, typer.Option(help="Write the sum to this file.")] = None,
) -> None:
    """Add up tallies, and show the numbers of all their rows.

    \b
    Examples:
      lastlayer merge part1.tally part2.tally
      lastlayer merge part*.tally --json result.json --tally all.tally
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    total: ll.Tally | None = None
    if str(json) == "-" and str(tally) == "-":
        raise UsageError("merge: --tally is '-'; expected a file, since --json is '-' too")
    for i, path in enumerate(tallies):
        if os.path.realpath(path) in map(os.path.realpath, tallies[:i]):
            raise UsageError(f"merge: TALLY is {str(path)!r} twice; expected each file once")
        one = _read(path)
        try:
            total = one if total is None else total + one
        except ll.LastlayerError as error:
            raise UsageError(f"merge: {str(path)!r}: {error}") from error
    assert total is not None
    result = total.result()
    if tally is not None:
        write("tally", tally, total.to_bytes())
    if json is not None:
        write("json", json, as_json(result.to_dict()))
    if str(json) != "-" and str(tally) != "-":
        show_evaluation(result)


def _read(path: Path) -> ll.Tally:
    try:
        return ll.Tally.from_bytes(path.read_bytes())
    except (ll.LastlayerError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"merge: TALLY is {str(path)!r}; expected a saved tally ({error})") from error
