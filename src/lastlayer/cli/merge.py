"""``lastlayer merge``: add up saved tallies, of one model or of two that are compared."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

import lastlayer as ll

from .data import JsonFile, as_json, tally_of, write
from .tables import show_comparison, show_evaluation
from .usage import UsageError

__all__ = ["merge"]


def merge(
    tallies: Annotated[
        list[Path], typer.Argument(metavar="TALLY", help="Files of evaluate --tally, or of compare --tally.")
    ],
    json: JsonFile = None,
    tally: Annotated[Path | None, typer.Option(help="Write the sum to this file.")] = None,
) -> None:
    """Add up tallies, and show the numbers of all their rows.

    \b
    Examples:
      lastlayer merge part1.tally part2.tally
      lastlayer merge part*.tally --json result.json --tally all.tally
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    total: Any = None
    if str(json) == "-" and str(tally) == "-":
        raise UsageError("merge: --tally is '-'; expected a file, since --json is '-' too")
    for i, path in enumerate(tallies):
        if os.path.realpath(path) in map(os.path.realpath, tallies[:i]):
            raise UsageError(f"merge: TALLY is {str(path)!r} twice; expected each file once")
        one = tally_of("merge", path)
        try:
            total = one if total is None else total + one
        except ll.LastlayerError as error:
            raise UsageError(f"merge: {str(path)!r}: {error}") from error
    result = ll.Comparison.of(total) if isinstance(total, ll.PairedTally) else total.result()
    if tally is not None:
        write("tally", tally, total.to_bytes())
    if json is not None:
        numbers = result.numbers() if isinstance(result, ll.Comparison) else result.to_dict()
        write("json", json, as_json(numbers))
    if "-" in (str(json), str(tally)):
        return
    if isinstance(result, ll.Comparison):
        show_comparison(result)
    else:
        show_evaluation(result)
