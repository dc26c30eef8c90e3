"""The options of an evaluation. In: what a user passed to `Tally`. Out: `TallyOptions`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lastlayer.errors import OptionError

__all__ = ["KINDS", "TallyOptions", "checked"]

KINDS = ("logits", "probabilities", "log-probabilities")
_CONFUSION = 1000  # classes; with more only the pairs that occur are counted


class TallyOptions(NamedTuple):
    """What a tally counts. Two tallies are added only if theirs are equal."""

    classes: int
    kind: str = "logits"
    labels: tuple[Any, ...] | None = None
    ignore_index: int | None = -100
    axis: int = -1
    binary: bool = False
    temperature: float = 1.0
    top_k: tuple[int, ...] = (1, 5)
    bins: int = 15
    classwise: bool = False
    invalid: str = "count"  # or "skip": leave rows with NaN or +inf out
    unknown: str = "error"  # or "wrong": count rows whose label is no class as wrong

    @property
    def has_confusion(self) -> bool:
        """Whether the whole table of classes by classes is kept."""
        return self.classes <= _CONFUSION


def checked(function: str, **given: Any) -> TallyOptions:
    """The options, checked."""
    o = TallyOptions(**given)
    classes = _integer(function, "classes", o.classes, 1)
    if o.kind not in KINDS:
        raise OptionError(function, "kind", repr(o.kind), f"one of {', '.join(map(repr, KINDS))}")
    bins = _integer(function, "bins", o.bins, 1)
    top_k = o.top_k if isinstance(o.top_k, Sequence) else (o.top_k,)
    top_k = tuple(sorted({_integer(function, "top_k", k, 1) for k in top_k}))
    try:
        temperature = float(o.temperature)
    except (TypeError, ValueError):
        temperature = 0.0
    if not 0 < temperature < float("inf"):
        raise OptionError(function, "temperature", repr(o.temperature), "a finite number above 0")
    if temperature != 1.0 and o.kind != "logits":
        rule = "1 with kind='logits' alone: it divides logits"
        raise OptionError(function, "temperature", repr(o.temperature), rule)
    if o.binary and classes != 2:
        raise OptionError(function, "classes", str(classes), "2 with binary=True")
    for name, value, words in (
        ("invalid", o.invalid, ("count", "skip")),
        ("unknown", o.unknown, ("error", "wrong")),
    ):
        if value not in words:
            raise OptionError(function, name, repr(value), " or ".join(map(repr, words)))
    ignore = None if o.ignore_index is None else _integer(function, "ignore_index", o.ignore_index, None)
    labels = None if o.labels is None else tuple(o.labels)
    return o._replace(
        classes=classes, bins=bins, top_k=tuple(k for k in top_k if k < classes or k == 1),
        temperature=temperature, ignore_index=ignore, labels=labels,
    )  # fmt: skip


def _integer(function: str, name: str, value: Any, low: int | None) -> int:
    try:
        number = value.__index__()
    except AttributeError:
        number = None
    if number is None or isinstance(value, bool) or (low is not None and number < low):
        raise OptionError(
            function, name, repr(value), "an int" if low is None else f"an int of {low} or more"
        )
    return int(number)
