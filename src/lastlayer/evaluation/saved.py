"""Tallies as JSON. In: a tally, or what was saved of one, by whomever. Out: plain values, or the tally again.

What was saved is checked before it is believed: its form is that of an empty tally of the same options, its
places lie within it, and nothing is counted a negative number of times.
"""

from __future__ import annotations

import json
from typing import Any

from lastlayer.errors import LastlayerError, OptionError

from .counters import HARDEST, Bins
from .ranking import Ranking

__all__ = ["DAMAGED", "NUMBERS", "PARTS", "SCHEMA", "as_dict", "form_of", "parsed", "restored"]

SCHEMA = "lastlayer.tally/1"
NUMBERS = ("n", "ignored", "invalid", "unknown")
PARTS = (
    "moments", "support", "predicted", "correct", "class_loss", "confusion", "ranks", "bins", "fine",
    "text", "groups", "documents", "positions", "hardest",
)  # fmt: skip
_FORM = ("size", "columns", "squares", "limit", "parts", "weight", "hits", "confidence")
_POSITIONS = 1 << 24
DAMAGED = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, MemoryError, RecursionError,
)  # fmt: skip  # what the readers of its parts raise


def as_dict(tally: Any) -> dict[str, Any]:
    """The tally as JSON has it."""
    found: dict[str, Any] = {"schema": SCHEMA, "options": tally.options._asdict()}
    found["options"]["top_k"] = list(tally.options.top_k)
    found["options"]["labels"] = None if tally.options.labels is None else list(tally.options.labels)
    found |= {name: getattr(tally, name) for name in NUMBERS}
    found["unknown_labels"] = sorted(tally.unknown_labels)
    found |= {name: getattr(tally, name).to_dict() for name in PARTS}
    found["classwise"] = None if tally.classwise is None else tally.classwise.to_dict()
    found["rankings"] = [ranking.to_dict() for ranking in tally.rankings]
    return found


def parsed(name: str, text: Any) -> Any:
    """What JSON text holds, which ``to_bytes`` of the class of this name gave."""
    try:
        return json.loads(text)
    except DAMAGED as error:
        rule = f"what {name}.to_bytes gave ({error})"
        raise OptionError(f"{name}.from_bytes", "text", f"a {type(text).__name__}", rule) from error


def restored(cls: Any, saved: Any) -> Any:
    """The tally of what `as_dict` gave."""
    schema = saved.get("schema") if isinstance(saved, dict) else None
    if schema != SCHEMA:
        raise OptionError("Tally.from_dict", "schema", repr(schema), repr(SCHEMA))
    try:
        found = cls(**saved["options"])
        if (missing := sorted(as_dict(found).keys() - saved.keys())) != []:
            raise ValueError(f"{missing[0]!r} is missing")
        for name in (*PARTS, "classwise", "rankings"):
            if form_of(saved[name]) != form_of(as_dict(found)[name]):
                raise ValueError(f"{name!r} is that of other options")
        _fill(found, saved)
        _check(found)
    except LastlayerError as error:
        raise type(error)("Tally.from_dict", error.argument, error.found, error.rule) from error
    except DAMAGED as error:
        why = f"{type(error).__name__}: {error}" if type(error) is not ValueError else str(error)
        raise OptionError(
            "Tally.from_dict", "saved", "damaged", f"what Tally.to_dict gave ({why})"
        ) from error
    return found


def form_of(saved: Any) -> Any:
    """The sizes of the parts."""
    if isinstance(saved, dict):
        return {name: form_of(value) for name, value in saved.items() if name in _FORM}
    return [form_of(value) for value in saved] if isinstance(saved, list) else saved


def _fill(tally: Any, saved: dict[str, Any]) -> None:
    for name in NUMBERS:
        if type(saved[name]) is not int or not 0 <= saved[name] < 1 << 63:
            raise ValueError(f"{name!r} is {saved[name]!r}")
        setattr(tally, name, saved[name])
    tally.unknown_labels = {str(label) for label in saved["unknown_labels"]}
    for name in PARTS:
        setattr(tally, name, type(getattr(tally, name)).from_dict(saved[name]))
    if tally.classwise is not None:
        tally.classwise = Bins.from_dict(saved["classwise"])
    tally.rankings = [Ranking.from_dict(ranking) for ranking in saved["rankings"]]


def _check(tally: Any) -> None:
    """Numbers that rows could have given."""
    for name in ("groups", "documents", "positions"):
        for key in getattr(tally, name).places:
            usual = type(key) is int and 0 <= key < _POSITIONS if name == "positions" else True
            if not (isinstance(key, (str, int, float)) and usual):
                raise ValueError(f"{name!r} has the key {key!r}")
    for loss, *row in tally.hardest.rows:
        if loss != loss or not all(type(k) is int for k in row):
            raise ValueError(f"'hardest' has the row {row}")
    if len(tally.hardest.rows) > HARDEST:
        raise ValueError(f"'hardest' has {len(tally.hardest.rows)} rows")
    moments, most = tally.moments, tally.n << 120
    sums = [part.total(place) for part in (moments.rows, moments.weight) for place in range(len(part))]
    if tally.unknown > tally.n or min(sums) < 0 or max(sums[:2]) > most:
        raise ValueError("'moments' does not fit 'n'")
