"""An explanation as HTML. In: its steps. Out: an element for a notebook, with bars, that needs no script."""

from __future__ import annotations

from html import escape

from .steps import Line, Row, Step, Table

__all__ = ["html_of"]

_CELL = "padding:0.15em 0.6em;white-space:nowrap"  # not every notebook styles tables
_BAR = "display:inline-block;height:0.8em;vertical-align:middle"
_RAISE, _LOWER = "#0969da", "#bf5b04"  # the colours of `lastlayer.plots`; visible on white and on black


def html_of(steps: list[Step | Line | Table]) -> str:
    """Steps as paragraphs, tables with bars, in the notebook's own colours."""
    parts, count = [], 0
    for one in steps:
        if isinstance(one, Step):
            count += 1
            parts.append(f"<p><strong>{count}. {escape(one.name)}:</strong> {escape(one.text)}</p>")
        elif isinstance(one, Table):
            parts.append(_table(one))
        else:
            text = escape(one.text.strip())
            parts.append(f"<p><strong>{text}</strong></p>" if one.look else f"<p>{text}</p>")
    return '<div class="lastlayer-explanation">\n' + "\n".join(parts) + "\n</div>"


def _table(table: Table) -> str:
    sides = ["left", *["right"] * len(table.head[1:])]
    head = "".join(
        f'<th scope="col" style="text-align:{side};{_CELL}">{escape(name)}</th>'
        for side, name in zip(sides, table.head, strict=True)
    )
    rows = "\n".join(_row(row, table.has_words) for row in table.rows)
    shown = f"<table>\n<thead><tr>{head}<td></td></tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'<div style="overflow-x:auto;margin-bottom:1em" tabindex="0">\n{shown}\n</div>'


def _row(row: Row, has_words: bool) -> str:
    name = escape(row.name)
    name = f"<strong>{name} (target)</strong>" if row.is_target else name
    numbers = "".join(f'<td style="text-align:right;{_CELL}">{escape(number)}</td>' for number in row.numbers)
    last = f"{_signed(row.share)} {row.word}" if has_words else _bar(row.share, 8.0, _RAISE)
    return (
        f'<tr><th scope="row" style="text-align:left;{_CELL}">{name}</th>{numbers}'
        f'<td style="text-align:left;white-space:nowrap">{last}</td></tr>'
    )


def _bar(share: float, width: float, color: str, left: float = 0.0) -> str:
    """A bar whose length is this share of ``width``, in em."""
    style = f"{_BAR};width:{share * width:.3f}em;background:{color}"
    return (
        f'<span aria-hidden="true" style="{style}'
        + (f';margin-left:{left:.3f}em"' if left else '"')
        + "></span>"
    )


def _signed(share: float) -> str:
    """A bar to the left of the middle for a negative number, to the right for a positive one."""
    half = 4.0
    if share < 0:
        bar = _bar(-share, half, _RAISE, half * (1 + share))
        rest = half
    else:
        bar = _bar(share, half, _LOWER, half)
        rest = half * (1 - share)
    return f'{bar}<span style="display:inline-block;width:{rest:.3f}em"></span>'
