"""``lastlayer compare``: two models on the same rows, by their scores in files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import lastlayer as ll

from .data import (
    Binary,
    Columns,
    Html,
    Ignore,
    JsonFile,
    Kind,
    Label,
    Labels,
    Progress,
    Weight,
    as_json,
    check_outputs,
    columns_of,
    labels_of,
    needs_report,
    temperature_of,
    write,
)
from .tables import show_comparison

__all__ = ["compare"]

_A = "The scores of model a: a file of .npy, .npz, .safetensors, .parquet or .csv, a folder, or a pattern."
_KIND_B = "What the scores of B are, if not the same."


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help=_A)],
    b: Annotated[
        Path, typer.Argument(metavar="B", help="Those of model b, of the same rows in the same order.")
    ],
    targets: Annotated[
        Path | None,
        typer.Argument(metavar="TARGETS", help="The file of the targets, if A does not hold them."),
    ] = None,
    kind: Kind = "logits",
    kind_b: Annotated[
        Literal["logits", "probabilities", "log-probabilities"] | None,
        typer.Option(help=_KIND_B, show_default=False),
    ] = None,
    label: Label = None,
    columns: Columns = None,
    columns_b: Annotated[
        str | None, typer.Option(help="The columns of B, if they have other names.", show_default=False)
    ] = None,
    labels: Labels = None,
    weight: Weight = None,
    group: Annotated[
        str | None, typer.Option(help="A column of A: differences for each of its values.")
    ] = None,
    document: Annotated[
        str | None, typer.Option(help="A column of A: the text that a row belongs to.")
    ] = None,
    temperature: Annotated[str, typer.Option(help="Of A: a number, or a file that calibrate wrote.")] = "1",
    temperature_b: Annotated[str, typer.Option(help="Of B: a number, or a file that calibrate wrote.")] = "1",
    ignore_index: Ignore = -100,
    binary: Binary = False,
    invalid: Annotated[
        Literal["count", "skip"], typer.Option(help="Rows with NaN: count as wrong, or leave out of both.")
    ] = "count",
    unknown: Annotated[
        Literal["error", "wrong"], typer.Option(help="Labels that are no class: stop, or count as wrong.")
    ] = "error",
    json: JsonFile = None,
    tally: Annotated[Path | None, typer.Option(help="Write the sums to this file, for merge.")] = None,
    html: Html = None,
    progress: Progress = True,
) -> None:
    """Compare two models on the same rows: differences, B minus A, with paired 95 % intervals.

    \b
    Examples:
      lastlayer compare old.npy new.npy labels.npy
      lastlayer compare old.parquet new.parquet --label answer --group site --json comparison.json
      lastlayer compare old.npy new.npy labels.npy --html report.html
      lastlayer compare logits.npy logits.npy labels.npy --temperature-b temperature.json
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    needs_report("compare", html)
    outputs = {"--json": json, "--tally": tally, "--html": html}
    check_outputs("compare", outputs, {"A": a, "B": b, "TARGETS": targets})
    try:
        result = ll.compare(
            a, b, targets, kind=(kind, kind_b or kind), label=label, columns=columns_of(columns),
            columns_b=columns_of(columns_b), labels=labels_of(labels), sample_weight=weight, groups=group,
            documents=document, temperature=(temperature_of(temperature), temperature_of(temperature_b)),
            ignore_index=ignore_index, binary=binary, invalid=invalid, unknown=unknown, progress=progress,
        )  # fmt: skip
    except ll.ComparisonInterrupted as stopped:
        _say_interrupted(stopped, to_stderr="-" in (str(json), str(tally)))
        raise typer.Exit(130) from None
    if tally is not None:
        write("tally", tally, result.to_bytes())
    if json is not None:
        write("json", json, as_json(result.numbers()))
    if html is not None:
        result.save_html(html, title=f"Comparison of {a.name} (a) and {b.name} (b)")
    if "-" not in (str(json), str(tally)):
        show_comparison(result)


def _say_interrupted(stopped: ll.ComparisonInterrupted, to_stderr: bool) -> None:
    """Print the differences on the rows so far."""
    tally = stopped.tally
    show_comparison(ll.Comparison.of(tally), to_stderr)
    rows = tally.n + tally.ignored
    print(f"lastlayer: interrupted after {rows:,} rows; no file of results was written", file=sys.stderr)
