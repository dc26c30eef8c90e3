"""A comparison -> its section of the page. In: `Comparison`. Out: `Section`."""

from __future__ import annotations

from functools import partial
from typing import Any

from lastlayer import plots

from .cells import Cell, Table, cell, estimate_cells, interval_text, number_text
from .sections import Section, pictured

__all__ = ["comparison_section", "comparison_tables", "verdict"]

_COMPARED = {"log_loss": "log-loss", "accuracy": "accuracy", "brier": "Brier score"}


def verdict(result: Any) -> str:
    """Which of the differences the rows suffice for, in words."""
    clear = []
    for name, shown in _COMPARED.items():
        d = getattr(result, name).difference
        if d.low > 0 or d.high < 0:
            is_better = (d.value > 0) == (name == "accuracy")
            clear.append(f"the {shown} of b is {'better' if is_better else 'worse'}")
    if not clear:
        return "No interval of a difference leaves out 0: these rows do not tell the models apart."
    return f"With 95 % confidence, {' and '.join(clear)}."


def comparison_tables(result: Any) -> tuple[Table, ...]:
    """The differences with their intervals, the flips and the divergence."""
    head = ["number", "a", "95 %", "b", "95 %", "b - a", "95 % from", "to"]
    rows = []
    for name in _COMPARED:
        a, b, difference = getattr(result, name)
        cells = [part for x in (a, b) for part in (estimate_cells(x)[0], Cell(interval_text(x), "", True))]
        rows.append([Cell(name), *cells, *estimate_cells(difference)])
    return Table("Differences", head, rows, False), _flips(result), _divergence(result)


def comparison_section(result: Any) -> Section:
    """The comparison, with the picture of its differences."""
    p = f"McNemar's exact test of the rows that one model alone has right: p = {number_text(result.mcnemar)}."
    text = ("Differences are b minus a, of the same rows.", verdict(result), p)
    display = partial(plots.ComparisonDisplay.from_comparison, result)
    tables = comparison_tables(result)
    return pictured("compared", "Comparison", text, display, tables=tables)


def _flips(result: Any) -> Table:
    names = ("in a alone", "in b alone", "in both", "in neither")
    rows = [[Cell(name), cell(count)] for name, count in zip(names, result.flips, strict=True)]
    return Table("Rows that are right", ["right", "rows"], rows, False)


def _divergence(result: Any) -> Table:
    rows = [[Cell("mean, 95 %"), *estimate_cells(result.kl)]]
    for q, found in result.kl_quantiles.items():
        name = {0.5: "median, bounds", 1.0: "largest, bounds"}.get(q, f"{100 * q:g} % of the rows, bounds")
        rows.append([Cell(name), *(cell(value) for value in found)])
    return Table("KL(a || b) of a row's predictions, in nats", ["rows", "value", "from", "to"], rows, False)
