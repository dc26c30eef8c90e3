"""The options of an evaluation. In: what a user passed to `Tally`. Out: `TallyOptions`, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lastlayer.errors import OptionError

__all__ = ["KINDS", "TallyOptions", "checked", "integer"]

KINDS = ("logits", "probabilities", "log-probabilities")
_CONFUSION = 1000  # classes; with more only the pairs that occur are counted
_CLASSES, _BINS = 1 << 31, 1_000_000  # at most


class TallyOptions(NamedTuple):
    """The options of a tally. Tallies can be added only if their options are equal."""

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
    classes = integer(function, "classes", o.classes, 1, _CLASSES)
    if o.kind not in KINDS:
        raise OptionError(function, "kind", repr(o.kind), f"one of {', '.join(map(repr, KINDS))}")
    bins = integer(function, "bins", o.bins, 1, _BINS)
    several = isinstance(o.top_k, Iterable) and getattr(o.top_k, "shape", None) != ()
    top_k = {integer(function, "top_k", k, 1) for k in (o.top_k if several else (o.top_k,))}
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
    ignore = None if o.ignore_index is None else integer(function, "ignore_index", o.ignore_index, None)
    return o._replace(
        classes=classes, axis=integer(function, "axis", o.axis, None), bins=bins,
        top_k=tuple(sorted({1, *(k for k in top_k if k < classes)})), temperature=temperature,
        ignore_index=ignore, labels=_names(function, o.labels),
    )  # fmt: skip


def _names(function: str, labels: Any) -> tuple[Any, ...] | None:
    """The names of the classes as JSON has them."""
    if labels is None:
        return None
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Iterable):
        raise OptionError(function, "labels", repr(labels), "a sequence of names, one for each class")
    found = []
    for i, name in enumerate(labels):
        plain = name.item() if isinstance(name, np.generic) else name
        plain = plain.decode() if isinstance(plain, bytes) else plain
        if not isinstance(plain, (str, int, float)) or plain == "" or plain != plain:
            raise OptionError(function, f"labels[{i}]", repr(name), "text or a number: others are missing")
        found.append(plain)
    return tuple(found)


def integer(function: str, name: str, value: Any, low: int | None, high: int | None = None) -> int:
    """An option that is a whole number within bounds."""
    try:
        number = value.__index__()
    except AttributeError:
        number = None
    wrong = number is None or isinstance(value, bool)
    if wrong or (low is not None and number < low) or (high is not None and number > high):
        rule = "an int" if low is None else f"an int of {low} or more"
        rule += "" if high is None or wrong or number < (low or 0) else f", at most {high}"
        raise OptionError(function, name, repr(value), rule)
    return int(number)
