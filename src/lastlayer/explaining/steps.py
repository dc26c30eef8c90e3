"""The steps of an explanation, without their layout. In: the numbers. Out: sentences, lines and tables."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .cells import number_text, signed_text
from .numbers import Floats, Numbers

__all__ = ["Line", "Row", "Step", "Table", "shown_classes", "steps_of"]

_ALL, _MOST = 40, 20  # up to 40 classes are all shown; of more, the 20 most probable ones


class Step(NamedTuple):
    """A step: its name, and a sentence about it."""

    name: str
    text: str


class Line(NamedTuple):
    """A separate line. ``look``: "result" for the loss, "note" for a warning about the input."""

    text: str
    look: str = ""


class Row(NamedTuple):
    """A class in a table."""

    name: str
    numbers: list[str]
    share: float  # the length of its bar, at most 1; negative: to the left
    word: str  # shown instead of the bar in tables with words
    is_target: bool


class Table(NamedTuple):
    """The numbers of each class, with a bar."""

    head: list[str]
    rows: list[Row]
    has_words: bool


def steps_of(e: Numbers) -> list[Step | Line | Table]:
    """All steps, lines and tables, in order."""
    found: list[Step | Line | Table] = [Line(text, "note") for text in e.notes]
    found += _to_probabilities(e)
    prediction = f"The prediction is {e.labels[e.prediction]}"
    if not e.has_target:
        return [*found, Line(f"{prediction}. Name the target to see the loss and its gradient.")]
    found += _to_loss(e)
    found += _to_gradient(e)
    if e.target is None:
        return [*found, Line(f"{prediction}; the target's largest class is {e.labels[e.targets.argmax()]}.")]
    is_right = e.prediction == e.target
    verdict = "right" if is_right else f"wrong: the target is {e.labels[e.target]}"
    return [*found, Line(f"{prediction}, which is {verdict}.")]


def _to_probabilities(e: Numbers) -> list[Step | Line | Table]:
    found: list[Step | Line | Table] = []
    if e.softcap is not None:
        cap = f"{e.softcap:g}"
        text = f"each logit r becomes {cap} tanh(r / {cap}), between -{cap} and {cap}."
        found.append(Step("Softcap", text))
    if e.temperature != 1.0:
        each = "each logit" if e.softcap is None else "each capped logit"
        found.append(Step("Temperature", f"{each} is divided by {e.temperature:g}."))
    peak = number_text((e.capped / e.temperature)[e.prediction])
    found += [
        Step(
            "Shift",
            f"the largest, {peak}, is subtracted from each. No probability changes, since the shift cancels "
            "in the ratio; and nothing can overflow, since the largest is now 0.",
        ),
        Step(
            "Exponentials",
            f"exp of each shifted logit: positive, {number_text(e.exponentials.sum())} in sum.",
        ),
        Step("Probabilities", "each exponential divided by that sum."),
    ]
    shown = _shown(e)
    columns = [e.logits, e.shifted, e.exponentials, e.probabilities]
    heads = ["class", "logit", "shifted", "exp", "probability"]
    if e.softcap is not None:
        columns.insert(1, e.capped)
        heads.insert(2, "capped")
    rows = [
        Row(
            e.labels[k], [number_text(column[k]) for column in columns], e.probabilities[k], "", k == e.target
        )
        for k in shown
    ]
    found.append(Table(heads, rows, False))
    if len(shown) < len(e.logits):
        rest = float(np.delete(e.probabilities, shown).sum())
        others = f"the {len(e.logits) - len(shown):,} others have {number_text(rest)} together."
        largest = "" if e.target is not None or not e.has_target else " and those with the largest targets"
        found.append(Line(f"The most probable of {len(e.logits):,} classes{largest} are shown; {others}"))
    return found


def _shown(e: Numbers) -> list[int]:
    """The classes that are shown: all, or of many the most probable ones and the target."""
    return shown_classes(e.logits, e.target, e.targets)


def shown_classes(scores: Floats, target: int | None, targets: Floats | None) -> list[int]:
    """All classes; of many, those with the largest scores, and the target or the largest ``targets``."""
    if len(scores) <= _ALL:
        return list(range(len(scores)))
    best = np.argsort(-scores, kind="stable")[:_MOST].tolist()
    if target is not None:
        best.append(target)
    elif targets is not None:
        largest = np.argsort(-targets, kind="stable")[:_MOST]
        best += largest[targets[largest] > 0].tolist()
    return sorted(set(best))


def _to_loss(e: Numbers) -> list[Step | Line | Table]:
    gap, rest, mass = e.loss_terms
    found: list[Step | Line | Table] = []
    if e.is_plain:
        found += [
            Step(
                "Loss",
                "-log p of the target, computed as (peak - its logit) + log(1 + rest), where"
                f" rest = {number_text(rest)} is the sum of the exponentials beside the peak's own. Neither "
                "term is negative: nothing cancels.",
            ),
            Line(
                f" {number_text(gap)} + {number_text(math.log1p(rest))} = {number_text(e.loss)} nats",
                "result",
            ),
        ]
    else:
        found += [
            Step("Loss", "-log p of each class times its target (step below), added up."),
            Line(f" {number_text(e.loss)} nats", "result"),
        ]
    size = len(e.logits)
    times = "" if f"{mass:g}" == "1" else f"{mass:g} times "  # the sum of the targets
    uniform = number_text(mass * math.log(size))
    found.append(Line(f" A uniform guess would cost {times}log {size} = {uniform}."))
    if e.target is None:
        t = e.targets[e.targets > 0]
        least = number_text(-float((t * np.log(t / mass)).sum()))
        equal = "equal to the target" if not times else "proportional to the target"
        found.append(Line(f" Probabilities {equal} would cost {least}, the least possible loss."))
    return found


def _to_gradient(e: Numbers) -> list[Step | Line | Table]:
    has_sum_of_one = f"{e.loss_terms[2]:g}" == "1"
    formula = (
        "p - t" if e.is_plain or (e.target is None and has_sum_of_one) else "p times the sum of t, minus t"
    )
    if e.temperature != 1.0:
        formula += f", divided by the temperature {e.temperature:g}"
    if e.softcap is not None:
        formula += f", times the slope of the softcap, 1 - (capped / {e.softcap:g})^2"
    text = f"{formula}. A step downhill raises the logits with a negative gradient and lowers the others."
    largest = float(abs(e.gradient).max()) or 1.0
    rows = []
    for k in _shown(e):
        slope = float(e.gradient[k])
        numbers = [number_text(e.probabilities[k]), number_text(e.targets[k]), signed_text(slope)]
        word = "raise" if slope < 0 else "lower" if slope > 0 else ""
        rows.append(Row(e.labels[k], numbers, slope / largest, word, k == e.target))
    return [Step("Gradient", text), Table(["class", "probability p", "target t", "gradient"], rows, True)]
