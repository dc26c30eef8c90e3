"""``lastlayer calibrate``: the temperature that calibrates logits in files."""

from __future__ import annotations

from typing import Annotated

import typer

import lastlayer as ll

from .data import Columns, Ignore, Label, Labels, Scores, Targets, Weight, columns_of, labels_of

__all__ = ["calibrate"]


def calibrate(
    scores: Scores,
    targets: Targets = None,
    label: Label = None,
    columns: Columns = None,
    labels: Labels = None,
    weight: Weight = None,
    ignore_index: Ignore = -100,
    out: Annotated[str | None, typer.Option(help="Write the temperature to this file, as JSON.")] = None,
) -> None:
    """Fit the temperature that calibrates held-out logits.

    Example: lastlayer calibrate held-out.parquet --out temperature.json
    """
    found = ll.fit_temperature(
        scores, targets, label=label, columns=columns_of(columns), labels=labels_of(labels),
        sample_weight=weight, ignore_index=ignore_index,
    )  # fmt: skip
    print(found)
    print(f"log_loss  {found.log_loss_before:.6g} -> {found.log_loss_after:.6g}")
    print(f"ece       {found.ece_before:.6g} -> {found.ece_after:.6g}")
    if out is not None:
        found.save(out)
