"""Paired tallies as JSON. In: a `PairedTally`, or what was saved of it. Out: plain values, or the tally.

As `saved` does, it checks what was saved before it is believed.
"""

from __future__ import annotations

from typing import Any

from lastlayer.errors import LastlayerError, OptionError

from .counters import Keyed, Moments
from .exact import Counts
from .saved import DAMAGED, form_of

__all__ = ["NUMBERS", "PARTS", "SCHEMA", "as_dict", "restored"]

SCHEMA = "lastlayer.paired-tally/1"
NUMBERS = ("n", "ignored", "invalid_a", "invalid_b", "unknown", "only_a", "only_b", "both_right")
PARTS = ("moments", "divergences", "groups", "documents")
_OF_BOTH = ("classes", "ignore_index", "axis", "binary", "invalid", "unknown")
_OF_EACH = ("kind", "temperature")


def as_dict(tally: Any) -> dict[str, Any]:
    """The tally as JSON has it."""
    first = tally.options[0]
    options = {name: getattr(first, name) for name in _OF_BOTH}
    options["labels"] = None if first.labels is None else list(first.labels)
    options |= {name: [getattr(o, name) for o in tally.options] for name in _OF_EACH}
    found: dict[str, Any] = {"schema": SCHEMA, "options": options}
    found |= {name: getattr(tally, name) for name in NUMBERS}
    return found | {name: getattr(tally, name).to_dict() for name in PARTS}


def restored(cls: Any, saved: Any) -> Any:
    """The tally of what `as_dict` gave."""
    function, schema = "PairedTally.from_dict", saved.get("schema") if isinstance(saved, dict) else None
    if schema != SCHEMA:
        raise OptionError(function, "schema", repr(schema), repr(SCHEMA))
    try:
        found = cls(**saved["options"])
        for name in PARTS:
            if form_of(saved[name]) != form_of(as_dict(found)[name]):
                raise ValueError(f"{name!r} is that of other options")
        _fill(found, saved)
    except LastlayerError as error:
        raise type(error)(function, error.argument, error.found, error.rule) from error
    except DAMAGED as error:
        why = f"{type(error).__name__}: {error}" if type(error) is not ValueError else str(error)
        rule = f"what PairedTally.to_dict gave ({why})"
        raise OptionError(function, "saved", "damaged", rule) from error
    return found


def _fill(tally: Any, saved: dict[str, Any]) -> None:
    for name in NUMBERS:
        if type(saved[name]) is not int or not 0 <= saved[name] < 1 << 63:
            raise ValueError(f"{name!r} is {saved[name]!r}")
        setattr(tally, name, saved[name])
    if tally.only_a + tally.only_b + tally.both_right > tally.n or tally.unknown > tally.n:
        raise ValueError("more rows are right or unknown than there are")
    for name in PARTS:
        part = getattr(tally, name)
        if isinstance(part, (Moments, Keyed)):
            setattr(tally, name, type(part).from_dict(saved[name], of_known=part.of_known))
        else:
            setattr(tally, name, Counts.from_dict(saved[name]))
    for name in ("groups", "documents"):
        for key in getattr(tally, name).places:
            if not isinstance(key, (str, int, float)):
                raise ValueError(f"{name!r} has the key {key!r}")
    moments, most = tally.moments, tally.n << 120
    sums = [part.total(place) for part in (moments.rows, moments.weight) for place in range(len(part))]
    if min(sums) < 0 or max(sums[:2]) > most:
        raise ValueError("'moments' does not fit 'n'")
