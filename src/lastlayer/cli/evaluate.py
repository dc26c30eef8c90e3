"""``lastlayer evaluate``: the numbers of scores and labels in files."""

from __future__ import annotations

from typing import Annotated, Any

import typer

import lastlayer as ll

from .data import (
    Columns,
    Ignore,
    Kind,
    Label,
    Labels,
    Scores,
    Targets,
    Weight,
    as_json,
    columns_of,
    labels_of,
    temperature_of,
    whole_numbers,
    write,
)
from .tables import show_evaluation

__all__ = ["evaluate"]


def evaluate(
    scores: Scores,
    targets: Targets = None,
    kind: Kind = "logits",
    label: Label = None,
    columns: Columns = None,
    labels: Labels = None,
    weight: Weight = None,
    group: Annotated[str | None, typer.Option(help="A column: results for each of its values.")] = None,
    document: Annotated[str | None, typer.Option(help="A column: the text that a row belongs to.")] = None,
    temperature: Annotated[str, typer.Option(help="A number, or a file that calibrate wrote.")] = "1",
    top_k: Annotated[str, typer.Option(help="The k of the top-k accuracies, with commas.")] = "1,5",
    bins: Annotated[int, typer.Option(help="Bins of the calibration error.")] = 15,
    ignore_index: Ignore = -100,
    binary: Annotated[bool, typer.Option("--binary", help="One score a row, of class 1.")] = False,
    unknown: Annotated[str, typer.Option(help="Labels that are no class: error, or wrong.")] = "error",
    json: Annotated[str | None, typer.Option(help="Write the result to this file; - prints it.")] = None,
    tally: Annotated[str | None, typer.Option(help="Write the tally to this file, to be merged.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Go on from this file, and write it.")] = None,
    progress: Annotated[bool, typer.Option(help="A bar, in a terminal.")] = True,
) -> None:
    """Evaluate scores: loss, accuracy, calibration and tables by class, with error bars.

    Example: lastlayer evaluate logits.parquet --label answer --json result.json
    """
    options: dict[str, Any] = {"bins": bins, "unknown": unknown, "top_k": whole_numbers("--top-k", top_k)}
    counted: list[ll.Tally] = []
    try:
        result = ll.evaluate(
            scores, targets, kind=kind, label=label, columns=columns_of(columns), labels=labels_of(labels),
            sample_weight=weight, groups=group, documents=document, temperature=temperature_of(temperature),
            ignore_index=ignore_index, binary=binary, progress=progress, checkpoint=checkpoint,
            counted=counted.append, **options,
        )  # fmt: skip
    except ll.EvaluationInterrupted as stopped:
        show_evaluation(stopped.tally.result())
        raise
    if tally is not None:
        write("tally", tally, counted[0].to_bytes())
    if json is not None:
        write("json", json, as_json(result.to_dict()))
    if json != "-":
        show_evaluation(result)
