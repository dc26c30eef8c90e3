"""Numbers and names as text in columns. In: numbers, names. Out: text of a known width in a terminal."""

from __future__ import annotations

import math
import unicodedata

__all__ = ["bar_text", "fitted", "number_text", "padded", "signed_text", "width_of"]

# Widths in columns. A name, a bar and four numbers of at most eleven columns fill eighty.
BAR, NAME = 14, 9


def number_text(value: float) -> str:
    """A number in at most eleven characters: six decimals, or seven significant digits, or an exponent."""
    value = float(value) + 0.0  # -0.0 is shown as 0
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.6f}" if abs(value) < 100 else f"{value:.7g}"


def signed_text(value: float) -> str:
    """A number with its sign, also a plus."""
    return ("+" if value > 0 else "") + number_text(value)


def width_of(text: str) -> int:
    """The number of terminal columns that the text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text if not _joins(c))


def _joins(sign: str) -> bool:
    return unicodedata.combining(sign) != 0 or unicodedata.category(sign) in ("Mn", "Me", "Cf")


def padded(text: str, width: int, is_number: bool) -> str:
    """The text padded to a width: numbers on the right, words on the left."""
    space = " " * max(0, width - width_of(text))
    return space + text if is_number else text + space


def fitted(name: str, most: int = NAME) -> str:
    """The name, shortened to fit its column."""
    if width_of(name) <= most:
        return name
    while width_of(name) > most - 1:
        name = name[:-1]
    return name + "…"


def bar_text(share: float, is_ascii: bool) -> str:
    """A fraction as a bar, in eighths of a column, or drawn with #."""
    eighths = round(share * BAR * 8)
    if is_ascii:
        return "#" * round(share * BAR)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
