"""``lastlayer evaluate``: metrics of scores and labels in files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import lastlayer as ll

from .cluster import Dask, client_at
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
    Scores,
    Targets,
    Weight,
    as_json,
    check_outputs,
    columns_of,
    labels_of,
    needs_report,
    temperature_of,
    whole_numbers,
    write,
)
from .tables import show_evaluation
from .usage import UsageError

__all__ = ["evaluate"]

_PREDICTIONS = "Write row, label, predicted, confidence, nll and rank of each row (.parquet or .csv)."


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
    n_bytes: Annotated[str | None, typer.Option(help="A column: bytes of text, for bits_per_byte.")] = None,
    temperature: Annotated[str, typer.Option(help="A number, or a file that calibrate wrote.")] = "1",
    top_k: Annotated[str, typer.Option(help="The k of the top-k accuracies, with commas.")] = "1,5",
    bins: Annotated[int, typer.Option(help="Bins of the calibration error.")] = 15,
    ignore_index: Ignore = -100,
    binary: Binary = False,
    classwise: Annotated[bool, typer.Option("--classwise", help="Calibration of each class too.")] = False,
    invalid: Annotated[
        Literal["count", "skip"], typer.Option(help="Rows with NaN: count as wrong, or leave out.")
    ] = "count",
    unknown: Annotated[
        Literal["error", "wrong"], typer.Option(help="Labels that are no class: stop, or count as wrong.")
    ] = "error",
    json: JsonFile = None,
    tally: Annotated[Path | None, typer.Option(help="Write the tally to this file, for merge.")] = None,
    predictions: Annotated[Path | None, typer.Option(help=_PREDICTIONS)] = None,
    html: Html = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Go on from this file, and keep it up.")] = None,
    dask: Dask = None,
    progress: Progress = True,
) -> None:
    """Evaluate scores: loss, accuracy, calibration and tables by class, with 95 % intervals.

    \b
    Examples:
      lastlayer evaluate logits.npy labels.npy
      lastlayer evaluate scores.parquet --label answer --group site --json result.json
      lastlayer evaluate logits.npy labels.npy --temperature temperature.json --html report.html
      lastlayer evaluate "shards/*.npz" --checkpoint run.json --tally part.tally
      lastlayer evaluate "scores/*.parquet" --dask tcp://scheduler:8786
      lastlayer evaluate scores.csv --temperature temperature.json --predictions rows.parquet
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    needs_report("evaluate", html)
    outputs = {"--json": json, "--tally": tally, "--predictions": predictions, "--html": html}
    _outputs(outputs, {"--checkpoint": checkpoint, "SCORES": scores, "TARGETS": targets})
    where: dict[str, Any] = {"label": label, "columns": columns_of(columns), "binary": binary}
    facts: dict[str, Any] = {
        "sample_weight": weight,
        "groups": group,
        "documents": document,
        "n_bytes": n_bytes,
    }
    options: dict[str, Any] = {
        "kind": kind, "labels": labels_of(labels), "temperature": temperature_of(temperature),
        "top_k": whole_numbers("--top-k", top_k), "bins": bins, "ignore_index": ignore_index,
        "classwise": classwise, "invalid": invalid, "unknown": unknown,
    }  # fmt: skip
    counted: list[ll.Tally] = []
    try:
        with client_at("evaluate", dask) as client:
            result = ll.evaluate(
                scores, targets, progress=progress, checkpoint=checkpoint, counted=counted.append,
                client=client, **where, **facts, **options,
            )  # fmt: skip
    except ll.EvaluationInterrupted as stopped:
        _say_interrupted(stopped, to_stderr=str(json) == "-")
        raise typer.Exit(130) from None
    if predictions is not None:
        from lastlayer.evaluation.predictions import write_predictions

        write_predictions(predictions, scores, targets, options=counted[0].options, **where)
    if tally is not None:
        write("tally", tally, counted[0].to_bytes())
    if json is not None:
        write("json", json, as_json(result.to_dict()))
    if str(json) != "-":
        show_evaluation(result)
    if html is not None:
        before = None
        if result.temperature != 1:  # the report shows what calibration changes
            options["temperature"] = 1.0
            try:
                with client_at("evaluate", dask) as client:
                    before = ll.evaluate(
                        scores, targets, progress=progress, client=client, **where, **facts, **options
                    )
            except ll.EvaluationInterrupted:
                print("lastlayer: interrupted; the report was not written", file=sys.stderr)
                raise typer.Exit(130) from None
        result.save_html(html, before=before, title=f"Evaluation of {scores.name}")


def _outputs(outputs: dict[str, Path | None], others: dict[str, Path | None]) -> None:
    """Raise before the long computation for outputs that cannot be written, or that would replace a file."""
    check_outputs("evaluate", outputs, others)
    predictions = outputs["--predictions"]
    if predictions is not None and predictions.suffix.lower() not in (".parquet", ".csv"):
        raise UsageError(f"evaluate: --predictions is {str(predictions)!r}; expected .parquet or .csv")


def _say_interrupted(stopped: ll.EvaluationInterrupted, to_stderr: bool) -> None:
    """Print the metrics of the rows so far."""
    tally = stopped.tally
    show_evaluation(tally.result(), to_stderr)
    rows = tally.n + tally.ignored
    print(f"lastlayer: interrupted after {rows:,} rows; no file of results was written", file=sys.stderr)
