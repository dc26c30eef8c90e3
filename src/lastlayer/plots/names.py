"""Names of classes and groups, and numbers, as the text of a picture. In: anything. Out: one line of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

__all__ = ["amount", "clean", "name_of", "number", "percent", "rows_text", "short", "with_interval"]

_LENGTH = 20  # characters of a name on an axis
_TURNS = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # the direction of the text after them


def clean(name: Any) -> str:
    """The whole name on one line; characters that SVG and XML cannot hold are replaced."""
    found = []
    for sign in str(name):
        kind = unicodedata.category(sign)
        if kind in ("Cc", "Zl", "Zp") or sign in _TURNS:
            found.append(" ")
        elif kind == "Cs" or sign in "\ufffe\uffff":
            found.append("\ufffd")
        else:
            found.append(sign)
    return "".join(found)


def short(name: Any) -> str:
    """The name in at most 20 characters, for an axis: long names often differ at their ends alone."""
    whole = clean(name)
    return whole if len(whole) <= _LENGTH else f"{whole[:12].rstrip()}…{whole[-7:].lstrip()}"


def name_of(labels: Sequence[Any] | None, index: int) -> str:
    """The whole name of a class, or its index."""
    return clean(labels[index]) if labels is not None else str(index)


def number(value: float) -> str:
    """Three digits: 0.0123, 12.3, 1230."""
    if value != value:
        return "undefined"
    if value in (float("inf"), float("-inf")):
        return "infinite" if value > 0 else "-infinite"
    size = abs(value)
    if 100 <= size < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}"


def amount(weight: float) -> str:
    """How many rows: 1,234, or of weighted rows 12.5."""
    return f"{weight:,.0f}" if weight == round(weight) or weight >= 1000 else f"{weight:.4g}"


def rows_text(weight: float) -> str:
    """How many rows, with the word."""
    return "1 row" if weight == 1 else f"{amount(weight)} rows"


def percent(share: float) -> str:
    """A share: 12.3 %, and 100 % only where it is exactly that."""
    if share != share:
        return "undefined"
    for digits in range(1, 12):
        text = f"{100 * share:.{digits}f}"
        if share in (0.0, 1.0) or float(text) not in (0.0, 100.0):
            break
    return (text.rstrip("0").rstrip(".") if "." in text else text) + " %"


def with_interval(value: float, low: float, high: float) -> str:
    """A number with its interval, if it has one."""
    if low != low or high != high:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"
