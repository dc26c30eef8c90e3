"""An explanation as text. In: its steps. Out: lines of text for a terminal, each in pieces with a look."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from .cells import bar_text, fitted, padded, width_of
from .steps import Line, Step, Table

__all__ = ["Piece", "lines_of"]


class Piece(NamedTuple):
    """A part of a line. ``look``: "", "step" (its number and name), "strong", or "note"."""

    text: str
    look: str = ""


def lines_of(steps: list[Step | Line | Table], width: int = 80, is_ascii: bool = False) -> list[list[Piece]]:
    """The lines. Sentences are wrapped at ``width`` columns; tables may be wider: no number is cut."""
    found: list[list[Piece]] = []
    count, was_step = 0, True
    for one in steps:
        if isinstance(one, Step):
            found += [] if was_step else [[]]
            count += 1
            found += _step(f"{count}. {one.name}: ", one.text, width)
        elif isinstance(one, Table):
            found += [[], *_table(one, is_ascii), []]
        else:
            found += _line(one, width)
        was_step = isinstance(one, Step)
    return [line for i, line in enumerate(found) if line or (i and found[i - 1])]


def _line(line: Line, width: int) -> list[list[Piece]]:
    look = {"result": "strong", "note": "note"}.get(line.look, "")
    indent = "     " if line.text.startswith(" ") else "  "
    return [[Piece(indent + text, look)] for text in _wrapped(line.text.strip(), width - len(indent) - 2)]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), break_long_words=False, break_on_hyphens=False)


def _step(name: str, text: str, width: int) -> list[list[Piece]]:
    """The lines of a step; its name is not wrapped."""
    first, *more = _wrapped(name.strip().replace(" ", "\0") + " " + text, width - 4)
    start = [Piece("  " + name, "step"), Piece(first[len(name) :])]
    return [start, *([Piece("  " + line)] for line in more)]


def _table(table: Table, is_ascii: bool) -> list[list[Piece]]:
    cells = [[*table.head, ""]]
    for row in table.rows:
        last = row.word if table.has_words else bar_text(row.share, is_ascii)
        cells.append([fitted(row.name) + (" <" if row.is_target else ""), *row.numbers, last])
    widths = [max(width_of(line[k]) for line in cells) for k in range(len(cells[0]))]
    ends = [False, *[True] * len(table.head[1:]), False]
    texts = ["  " + "  ".join(padded(*one) for one in zip(line, widths, ends, strict=True)) for line in cells]
    rule = " " + ("-" if is_ascii else "─") * (width_of(texts[0]) - 1)
    looks = ["strong", *("strong" if row.is_target else "" for row in table.rows)]
    lines = [[Piece(text.rstrip(), look)] for text, look in zip(texts, looks, strict=True)]
    return [lines[0], [Piece(rule)], *lines[1:]]
