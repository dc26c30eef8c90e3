"""A comparison -> its section of the page. In: `Comparison`. Out: `Section`."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import Any

from lastlayer import plots

from .cells import Cell, Table, cell, estimate_cells, interval_text, number_text
from .sections import Section, pictured

__all__ = ["comparison_section", "comparison_tables", "verdict"]

_COMPARED = {"log_loss": "log-loss", "accuracy": "accuracy", "brier": "Brier score"}


def verdict(result: Any) -> str:
    """Which of the differences the rows decide, in words."""
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": [], "none": []}
    for name, shown in _COMPARED.items():
        d = getattr(result, name).difference
        if not (isfinite(d.low) and isfinite(d.high)):
            found["none"].append(shown)
        elif d.low <= 0 <= d.high:
            found["open"].append(shown)
        else:
            found["better" if (d.value > 0) == (name == "accuracy") else "worse"].append(shown)
    clear = [f"{word} in {_listed(found[word])}" for word in ("better", "worse") if found[word]]
    said = []
    if clear:
        count = len(found["better"]) + len(found["worse"])
        end = "the 95 % interval excludes 0" if count == 1 else "the 95 % intervals exclude 0"
        said.append(f"b is {' and '.join(clear)}: {end}.")
    if found["open"]:
        of = "interval includes" if len(found["open"]) == 1 else "intervals include"
        end = "in this number" if len(found["open"]) == 1 else "in these numbers"
        open_ = f"these rows do not show which model is better {end}"
        said.append(f"In {_listed(found['open'])} the {of} 0: {open_}.")
    if found["none"]:
        said.append(f"The difference in {_listed(found['none'])} has no interval.")
    return " ".join(said)


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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
    a, b, *_ = result.flips
    p = (
        f"McNemar's exact test: {a:,} rows are right in a alone and {b:,} in b alone. If both models were "
        f"equally accurate, a split at least as uneven would have the probability "
        f"p = {number_text(result.mcnemar)}."
    )
    text = ("Every difference is b minus a, on the same rows.", verdict(result), p)
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
