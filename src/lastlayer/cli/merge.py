"""``lastlayer merge``: add up saved tallies."""

from __future__ import annotations

from typing import Annotated

import typer

import lastlayer as ll

from .data import as_json, write
from .tables import show_evaluation
from .usage import UsageError

__all__ = ["merge"]


def merge(
    tallies: Annotated[list[str], typer.Argument(metavar="TALLY...", help="Files of evaluate --tally.")],
    json: Annotated[str | None, typer.Option(help="Write the result to this file; - prints it.")] = None,
    tally: Annotated[str | None, typer.Option(help="Write the sum to this file.")] = None,
) -> None:
    """Add up tallies, and show their numbers.

    Example: lastlayer merge part-*.tally --json result.json
    """
    total: ll.Tally | None = None
    for path in tallies:
        try:
            with open(path, "rb") as file:
                one = ll.Tally.from_bytes(file.read())
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"merge: {path!r} is no tally ({error})") from error
        total = one if total is None else total + one
    assert total is not None
    if tally is not None:
        write("tally", tally, total.to_bytes())
    result = total.result()
    if json is not None:
        write("json", json, as_json(result.to_dict()))
    if json != "-":
        show_evaluation(result)
