"""An evaluation -> the sections of its page. In: `Evaluation`, as it is. Out: `Section`, in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lastlayer import plots

from .cells import MOST, Cell, Table, cell, estimate_cells, fixed, interval_text, number_text
from .overview import MEANINGS, SECTIONS, values_of
from .pictures import Picture, picture_of

__all__ = ["Section", "name_of", "number_tables", "pictured", "sections_of"]


class Section(NamedTuple):
    """A part of the page under a heading."""

    name: str
    title: str
    text: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def sections_of(result: Any, before: Any = None) -> list[Section]:
    """All sections of an evaluation, without those that have nothing to show."""
    found = []
    if before is not None:
        found.append(_before_and_after(before, result))
    found += [_calibration(result), _ranks(result)]
    if len(result.by_class.support) > 1:
        found.append(_confusion(result))
    found.append(_classes(result))
    if result.loss_by_group:
        found.append(pictured("groups", "Groups", (), partial(plots.GroupDisplay.from_evaluation, result)))
    if len(result.loss_by_position) > 1:
        display = partial(plots.PositionDisplay.from_evaluation, result)
        found.append(pictured("positions", "Positions", (), display))
    if result.hardest:
        found.append(_hardest(result))
    return [*found, Section("numbers", "Numbers", (_INTERVALS,), (), number_tables(result))]


def pictured(
    name: str,
    title: str,
    text: tuple[str, ...],
    *displays: Callable[..., Any],
    tables: tuple[Table, ...] = (),
) -> Section:
    """A section of pictures, each made by a function of ``ax=``."""
    made = [picture_of(show, f"{name}-{i}") for i, show in enumerate(displays)]
    return Section(name, title, text, tuple(made), tables)


def name_of(result: Any, k: int) -> str:
    """The name of a class, or its number."""
    if k < 0:
        return "no class"
    return str(k if result.labels is None else result.labels[k])


# --- numbers ------------------------------------------------------------------------------------------------

_INTERVALS = (
    "About 95 % of such intervals contain the true mean. Rows are taken as independent; where every row has "
    "a document, documents are, except in the intervals of bins, groups and positions."
)


def number_tables(result: Any) -> tuple[Table, ...]:
    """Every number with its interval and what it is: of the loss, of the accuracy, of the calibration."""
    tables = []
    for title, names in SECTIONS:
        rows = [
            [Cell(label), *estimate_cells(value), Cell(MEANINGS[name])]
            for name in names
            for label, value in values_of(result, name)
        ]
        head = ["number", "value", "95 % from", "to", "what it is"]
        tables.append(Table(title.capitalize(), head, rows, False))
    return tuple(tables)


_CHANGES = ("log_loss", "accuracy", "brier", "ece", "mce", "mean_confidence", "overconfidence")


def _before_and_after(before: Any, after: Any) -> Section:
    rows = []
    for name in _CHANGES:
        cells = [part for x in (before, after) for part in _with_interval(getattr(x, name))]
        rows.append([Cell(name), *cells])
    head = ["number", "before", "95 %", "after", "95 %"]
    divided = [number_text(float(x.temperature)) for x in (before, after)]
    text = [f"The logits were divided by {divided[0]} before and by {divided[1]} after."]
    if {before.kind, after.kind} != {"logits"} or before.temperature == after.temperature:
        text = []  # what else was done to the scores is not known
    display = partial(plots.ReliabilityDisplay.from_evaluation, before, after=after)
    table = Table("Before and after", head, rows, False)
    return pictured("calibrated", "Before and after", tuple(text), display, tables=(table,))


def _with_interval(value: Any) -> list[Cell]:
    return [estimate_cells(value)[0], Cell(interval_text(value), "", True)]


# --- pictures -----------------------------------------------------------------------------------------------


def _calibration(result: Any) -> Section:
    text: tuple[str, ...] = ()
    if result.ece == result.ece:
        ece, mce = number_text(result.ece), number_text(result.mce)
        text = (f"The expected calibration error (ECE) is {ece}; in the worst bin (MCE) it is {mce}.",)
    return pictured(
        "calibration", "Calibration", text,
        partial(plots.ReliabilityDisplay.from_evaluation, result),
        partial(plots.ConfidenceDisplay.from_evaluation, result),
    )  # fmt: skip


def _ranks(result: Any) -> Section:
    displays = [partial(show.from_evaluation, result) for show in (plots.TopKDisplay, plots.RankDisplay)]
    return pictured("ranks", "Ranks", (), *displays)


def _confusion(result: Any) -> Section:
    text = (
        "Targets are at the left, predictions at the bottom. Classes that are often confused are neighbours."
    )
    return pictured(
        "confusion", "Confusion", (text,), partial(plots.ConfusionDisplay.from_evaluation, result)
    )


def _classes(result: Any) -> Section:
    """The picture of the losses, and one table of all that is known of a class."""
    support = np.asarray(result.by_class.support, np.float64)
    columns = {
        "loss": result.loss_by_class, "precision": result.by_class.precision,
        "recall": result.by_class.recall, "F1": result.by_class.f1, "ROC AUC": result.roc_auc_by_class,
        "average precision": result.average_precision_by_class,
    }  # fmt: skip
    columns = {name: values for name, values in columns.items() if values is not None}
    chosen = np.arange(len(support))
    text = []
    if len(chosen) > MOST:
        most = np.argsort(-support, kind="stable")[:MOST]
        chosen = np.sort(most[support[most] > 0])
        which = "classes with most rows" if len(chosen) == MOST else "classes that have rows"
        text = [f"The table has the {len(chosen):,} {which}, of {len(support):,}."]
    rows = [
        [Cell(name_of(result, k)), _count(support[k]), *(fixed(v[k], 4) for v in columns.values())]
        for k in chosen.tolist()
    ]
    table = Table("Every class", ["class", "rows", *columns], rows)
    display = partial(plots.LossByClassDisplay.from_evaluation, result)
    return pictured("classes", "Classes", tuple(text), display, tables=(table,))


def _count(weight: Any) -> Cell:
    """Rows; a whole number where no weights were given."""
    number = float(weight)
    return cell(int(number) if number == int(number) else number)


def _hardest(result: Any) -> Section:
    rows = [
        [
            Cell(str(row), str(row), True),
            fixed(loss, 4),
            Cell(name_of(result, target)),
            Cell(name_of(result, predicted)),
        ]
        for row, loss, target, predicted in result.hardest
    ]
    table = Table("Rows of the largest loss", ["row", "loss, nats", "target", "predicted"], rows)
    text = "Wrong labels and unusual inputs are often among these rows. Rows are counted from 0."
    return Section("hardest", "Hardest rows", (text,), (), (table,))
