"""``lastlayer calibrate``: the temperature that calibrates logits in files."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

import lastlayer as ll

from .cluster import Dask, client_at
from .data import (
    Binary,
    Columns,
    Ignore,
    Label,
    Labels,
    Progress,
    Scores,
    Targets,
    Weight,
    as_json,
    columns_of,
    labels_of,
    write,
)
from .tables import show_temperature

__all__ = ["calibrate"]


def calibrate(
    scores: Scores,
    targets: Targets = None,
    label: Label = None,
    columns: Columns = None,
    labels: Labels = None,
    weight: Weight = None,
    ignore_index: Ignore = -100,
    binary: Binary = False,
    out: Annotated[Path | None, typer.Option(help="Write the temperature to this file; - prints it.")] = None,
    dask: Dask = None,
    progress: Progress = True,
) -> None:
    """Fit the temperature that calibrates held-out logits: the number by which they are divided.

    \b
    Examples:
      lastlayer calibrate held-out.npy labels.npy --out temperature.json
      lastlayer evaluate test.npy test-labels.npy --temperature temperature.json
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    with client_at("calibrate", dask) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the result has it, and it is printed below
        found = ll.fit_temperature(
            scores, targets, label=label, columns=columns_of(columns), labels=labels_of(labels),
            sample_weight=weight, ignore_index=ignore_index, binary=binary, progress=progress,
            client=client,
        )  # fmt: skip
    if out is not None:
        write("out", out, as_json(found.to_dict()))
    if str(out) != "-":
        show_temperature(found)
    if found.warning:
        print(f"lastlayer: warning: {found.warning}", file=sys.stderr)
