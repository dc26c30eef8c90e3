"""``lastlayer report``: the report of saved tallies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import lastlayer as ll

from .data import check_outputs, needs_report, tally_of
from .usage import UsageError

__all__ = ["report"]


def report(
    tally: Annotated[
        Path, typer.Argument(metavar="TALLY", help="A file of evaluate --tally, or of compare --tally.")
    ],
    html: Annotated[Path, typer.Option(help="The file that is written.")] = Path("report.html"),
    before: Annotated[
        Path | None, typer.Option(help="The tally of the same rows before calibration.")
    ] = None,
    comparison: Annotated[
        Path | None, typer.Option(help="A file of compare --tally, of the same rows.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="The heading of the page.")] = None,
) -> None:
    """Write the report of a saved tally: one HTML file with all numbers, tables and pictures.

    \b
    Examples:
      lastlayer evaluate logits.npy labels.npy --tally run.tally
      lastlayer report run.tally --html report.html
      lastlayer report after.tally --before before.tally --comparison models.tally
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    needs_report("report", html)
    inputs = {"TALLY": tally, "--before": before, "--comparison": comparison}
    check_outputs("report", {"--html": html}, inputs)
    found = tally_of("report", tally)
    if isinstance(found, ll.PairedTally):
        for option, path in (("--before", before), ("--comparison", comparison)):
            if path is not None:
                raise UsageError(f"report: {option} is given; expected none, since TALLY is a comparison")
        ll.Comparison.of(found).save_html(html, title=title)
    else:
        first = None if before is None else _evaluation(before)
        pairs = None if comparison is None else _comparison(comparison)
        found.result().save_html(html, before=first, comparison=pairs, title=title)
    print(html)


def _evaluation(path: Path) -> ll.Evaluation:
    found = tally_of("report", path)
    if isinstance(found, ll.PairedTally):
        raise UsageError(f"report: --before is {str(path)!r}; expected a file of evaluate --tally")
    return found.result()


def _comparison(path: Path) -> ll.Comparison:
    found = tally_of("report", path)
    if not isinstance(found, ll.PairedTally):
        raise UsageError(f"report: --comparison is {str(path)!r}; expected a file of compare --tally")
    return ll.Comparison.of(found)
