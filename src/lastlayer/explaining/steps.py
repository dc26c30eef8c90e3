"""The steps of an explanation, without their layout. In: the numbers. Out: sentences, lines and tables."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .cells import number_text, signed_text
from .numbers import Numbers

__all__ = ["Line", "Row", "Step", "Table", "steps_of"]

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
    if e.target is None:
        return [*found, Line(f"{prediction}. Name the target to see the loss and its gradient.")]
    found += _to_loss(e)
    found += _to_gradient(e)
    is_right = e.prediction == e.target
    verdict = "right" if is_right else f"wrong: the target is {e.labels[e.target]}"
    return [*found, Line(f"{prediction}, which is {verdict}.")]


def _to_probabilities(e: Numbers) -> list[Step | Line | Table]:
    found: list[Step | Line | Table] = []
    if e.temperature != 1.0:
        found.append(Step("Temperature", f"each logit is divided by {e.temperature:g}."))
    peak = number_text((e.logits / e.temperature)[e.prediction])
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
    columns = (e.logits, e.shifted, e.exponentials, e.probabilities)
    rows = [
        Row(
            e.labels[k], [number_text(column[k]) for column in columns], e.probabilities[k], "", k == e.target
        )
        for k in shown
    ]
    found.append(Table(["class", "logit", "shifted", "exp", "probability"], rows, False))
    if len(shown) < len(e.logits):
        rest = float(np.delete(e.probabilities, shown).sum())
        others = f"the {len(e.logits) - len(shown):,} others have {number_text(rest)} together."
        found.append(Line(f"The most probable of {len(e.logits):,} classes are shown; {others}"))
    return found


def _shown(e: Numbers) -> list[int]:
    """The classes that are shown: all, or of many the most probable ones and the target."""
    if len(e.logits) <= _ALL:
        return list(range(len(e.logits)))
    best = np.argsort(-e.logits, kind="stable")[:_MOST].tolist()
    return sorted({*best, *([] if e.target is None else [e.target])})


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
    return [*found, Line(f" A uniform guess would cost {times}log {size} = {uniform}.")]


def _to_gradient(e: Numbers) -> list[Step | Line | Table]:
    formula = "p - t" if e.is_plain else "p times the sum of t, minus t"
    if e.temperature != 1.0:
        formula += f", divided by the temperature {e.temperature:g}"
    text = f"{formula}. A step downhill raises the logits with a negative gradient and lowers the others."
    largest = float(abs(e.gradient).max()) or 1.0
    rows = []
    for k in _shown(e):
        slope = float(e.gradient[k])
        numbers = [number_text(e.probabilities[k]), number_text(e.targets[k]), signed_text(slope)]
        word = "raise" if slope < 0 else "lower" if slope > 0 else ""
        rows.append(Row(e.labels[k], numbers, slope / largest, word, k == e.target))
    return [Step("Gradient", text), Table(["class", "probability p", "target t", "gradient"], rows, True)]
