"""The numbers at the top of the page. In: `Evaluation`. Out: `Card`, each with what to compare it with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lastlayer.evaluation.estimates import Estimate
from lastlayer.plots.names import clean

from .cells import estimate_cells, interval_text, number_text
from .sections import name_of

__all__ = ["Card", "cards_of", "facts_of"]

_MANY = 20  # classes, from which the top-k accuracy matters
_NAME = 24  # characters
_UNDEFINED = "undefined"
_PRIOR = "predicting the class frequencies"


class Card(NamedTuple):
    """A headline number."""

    title: str
    value: str
    unit: str
    interval: str
    beside: str  # the baseline


def cards_of(result: Any) -> list[Card]:
    """The headline numbers."""
    support = np.asarray(result.by_class.support, np.float64)
    found = [_card("Log-loss", result.log_loss, "nats"), _card("Accuracy", result.accuracy)]
    k = max(result.top_k_accuracy, default=1)
    if len(support) > _MANY and k > 1:
        found.append(_card(f"Top-{k} accuracy", result.top_k_accuracy[k]))
    found.append(_card("Brier score", result.brier))
    if support.sum() > 0:
        part, often = support / support.sum(), int(support.argmax())
        beside = {
            "Log-loss": f"baseline {number_text(result.baseline)}: {_PRIOR}",
            "Accuracy": f"baseline {part[often]:.4f}: always predicting “{_short(name_of(result, often))}”",
            "Brier score": f"baseline {number_text(1 - float((part**2).sum()))}: {_PRIOR}",
        }
        found = [card._replace(beside=beside.get(card.title, "")) for card in found]
    return [*found, Card("Calibration error (ECE)", _value(result.ece), "", "", _sure(result))]


def _card(title: str, value: Estimate, unit: str = "") -> Card:
    if value.value != value.value:
        return Card(title, _UNDEFINED, "", "", "")
    return Card(title, estimate_cells(value)[0].text, unit, interval_text(value), "")


def _value(number: float) -> str:
    return number_text(number) if number == number else _UNDEFINED


def _sure(result: Any) -> str:
    """Whether the confidence is too high in the mean; of invalid rows, that they have none."""
    over = result.overconfidence
    if over != over:
        return (
            f"without the {result.invalid:,} invalid" if result.invalid and result.ece == result.ece else ""
        )
    if over == 0:
        return "mean confidence equal to the accuracy"
    return f"mean confidence {number_text(abs(over))} {'above' if over > 0 else 'below'} the accuracy"


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def facts_of(result: Any) -> list[str]:
    """What was evaluated, in a few words each."""
    classes = len(result.by_class.support)
    found = [
        f"{result.n:,} {'row' if result.n == 1 else 'rows'}",
        f"{classes:,} {'class' if classes == 1 else 'classes'}",
    ]
    found += [f"{getattr(result, k):,} {k}" for k in ("ignored", "invalid", "unknown") if getattr(result, k)]
    found.append(result.kind)
    if float(result.temperature) != 1:
        found.append(f"temperature {number_text(float(result.temperature))}")
    return found
