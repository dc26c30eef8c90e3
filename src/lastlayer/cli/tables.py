"""The numbers of an evaluation in a terminal. In: `Evaluation`. Out: printed tables."""

from __future__ import annotations

from typing import Any

import numpy as np

import lastlayer as ll

from .page import new_table, number_text, open_console

__all__ = ["show_evaluation"]

_MEANS = (
    "log_loss", "bits", "perplexity", "bits_per_byte", "accuracy", "mean_reciprocal_rank", "brier",
    "mean_confidence", "mean_entropy",
)  # fmt: skip
_NUMBERS = (
    "document_perplexity", "balanced_accuracy", "matthews", "ece", "mce", "ece_equal_mass", "classwise_ece",
    "reliability", "resolution", "uncertainty", "overconfidence", "baseline", "skill",
)  # fmt: skip
_CLASSES = 20  # shown


def show_evaluation(result: ll.Evaluation) -> None:
    """Print the numbers, those of classes and groups, and what was found."""
    console = open_console("evaluate")
    said = f"{result.n:,} rows"
    said += "".join(
        f", {getattr(result, k):,} {k}" for k in ("ignored", "invalid", "unknown") if getattr(result, k)
    )
    console.print(said)
    table = new_table("", "value", "95 % from", "to")
    for name in _MEANS:
        _add(table, name, getattr(result, name))
    for k, value in result.top_k_accuracy.items():
        if k > 1:
            _add(table, f"top_{k}_accuracy", value)
    for name in _NUMBERS:
        value = getattr(result, name)
        if value is not None and value == value:
            table.add_row(name, number_text(value))
    console.print(table)
    _show_classes(console, result)
    for name, groups in (("group", result.loss_by_group),):
        if groups:
            table = new_table(name, "log_loss", "accuracy")
            for key, loss in groups.items():
                table.add_row(
                    str(key), number_text(loss.value), number_text(result.accuracy_by_group[key].value)
                )
            console.print(table)
    for line in (*result.notes, *(f"{f.severity}: {f.message}" for f in result.findings)):
        console.print(line, markup=False)


def _add(table: Any, name: str, value: ll.Estimate) -> None:
    if value.value != value.value and name in ("bits_per_byte",):
        return
    shown = [number_text(v) if v == v else "" for v in (value.value, value.low, value.high)]
    shown[0] = shown[0] or "nan"
    table.add_row(name, *shown)


def _show_classes(console: Any, result: ll.Evaluation) -> None:
    found = result.by_class
    table = new_table("class", "precision", "recall", "f1", "support")
    for k in range(min(_CLASSES, len(found.support))):
        name = str(k) if result.labels is None else str(result.labels[k])
        numbers = [number_text(a[k]) for a in (found.precision, found.recall, found.f1)]
        table.add_row(name, *numbers, f"{found.support[k]:g}")
    if len(found.support) > _CLASSES:
        table.add_row(f"... {len(found.support) - _CLASSES} more", "", "", "", f"{np.sum(found.support):g}")
    console.print(table)
