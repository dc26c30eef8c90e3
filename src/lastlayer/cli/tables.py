"""Results in a terminal. In: `Evaluation`, `Comparison` or `Temperature`. Out: printed tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import lastlayer as ll
from lastlayer.explaining.cells import number_text, signed_text
from lastlayer.report.overview import OPTIONAL, SECTIONS, values_of

from .page import new_table, open_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["show_comparison", "show_evaluation", "show_temperature"]

_CLASSES, _GROUPS, _NAME = 20, 50, 22  # rows shown; columns of a name


def show_evaluation(result: ll.Evaluation, to_stderr: bool = False) -> None:
    """Print the metrics, also by class and group, and the findings."""
    console = open_console("evaluate", to_stderr)
    said = [f"{result.n:,} rows"]
    said += [f"{getattr(result, k):,} {k}" for k in ("ignored", "invalid", "unknown") if getattr(result, k)]
    said += [result.kind] + ([f"temperature {result.temperature:.6g}"] if result.temperature != 1 else [])
    _print(console, ", ".join(said))
    for title, names in SECTIONS:
        table = new_table(title, "value", "95 % from", "to")
        for name in names:
            for label, value in values_of(result, name):
                _add(table, label, value)
        _show(console, table)
    _show_classes(console, result)
    _show_groups(console, result)
    _show_remarks(console, result)


def show_comparison(result: ll.Comparison, to_stderr: bool = False) -> None:
    """Print the differences, also by group, the flips and the divergence."""
    console = open_console("compare", to_stderr)
    said = [f"{result.n:,} rows"]
    names = ("ignored", "invalid_a", "invalid_b", "unknown")
    said += [f"{getattr(result, k):,} {k.replace('_', ' in ')}" for k in names if getattr(result, k)]
    said += [" and ".join(dict.fromkeys(result.kind))]
    if result.temperature != (1.0, 1.0):
        said.append("temperatures {:.6g} and {:.6g}".format(*result.temperature))
    _print(console, ", ".join(said))
    table = new_table("", "a", "b", "b - a", "95 % from", "to")
    for name in ("log_loss", "accuracy", "brier"):
        a, b, d = getattr(result, name)
        differences = (signed_text(v) for v in (d.value, d.low, d.high))
        table.add_row(name, number_text(a.value), number_text(b.value), *differences)
    _show(console, table)
    table = new_table("rows right in", "rows")
    for name, rows in zip(("a alone", "b alone", "both", "neither"), result.flips, strict=True):
        table.add_row(name, f"{rows:,}")
    _show(console, table)
    _print(console, f" McNemar's exact test: p = {result.mcnemar:.4g}")
    table = new_table("KL(a || b), nats", "value", "from", "to")
    kl = result.kl
    table.add_row("mean, 95 %", *map(number_text, (kl.value, kl.low, kl.high)))
    for q, quantile in result.kl_quantiles.items():
        name = {0.5: "median, bounds", 1.0: "largest, bounds"}.get(q, f"{100 * q:g} % of rows, bounds")
        table.add_row(name, *map(number_text, quantile))
    _show(console, table)
    _show_group_differences(console, result)
    for line in result.notes:
        _print(console, line)


def _show_group_differences(console: Console, result: ll.Comparison) -> None:
    if not result.by_group:
        return
    table = new_table("group, b - a", "rows", "log_loss", "accuracy", "95 % from", "to")
    for key, group in list(result.by_group.items())[:_GROUPS]:
        right = group.accuracy
        numbers = (signed_text(v) for v in (group.log_loss.value, right.value, right.low, right.high))
        table.add_row(_name(key), f"{group.n:,}", *numbers)
    if len(result.by_group) > _GROUPS:
        table.add_row(f"... {len(result.by_group) - _GROUPS:,} more")
    _show(console, table)


def show_temperature(found: ll.Temperature) -> None:
    """Print a fitted temperature, and the metrics that it changes."""
    console = open_console("calibrate")
    _print(console, f"{found} (95 %), of {found.n:,} rows")
    table = new_table("", "before", "after")
    for name in ("log_loss", "ece"):
        before, after = (getattr(found, f"{name}_{when}") for when in ("before", "after"))
        table.add_row(name, number_text(before), number_text(after))
    _show(console, table)


def _add(table: Table, name: str, value: Any) -> None:
    parts = (value.value, value.low, value.high) if isinstance(value, ll.Estimate) else (value,)
    shown, *bounds = (number_text(v) for v in parts)
    table.add_row(name, shown, *("" if b == "nan" else b for b in bounds))


def _show_classes(console: Console, result: ll.Evaluation) -> None:
    found, count = result.by_class, len(result.by_class.support)
    table = new_table("class", "precision", "recall", "f1", "support")
    for k in range(min(_CLASSES, count)):
        numbers = [number_text(a[k]) for a in (found.precision, found.recall, found.f1)]
        table.add_row(
            _name(k if result.labels is None else result.labels[k]), *numbers, f"{found.support[k]:g}"
        )
    if count > _CLASSES:
        table.add_row(f"... {count - _CLASSES:,} more", "", "", "", f"{np.sum(found.support[_CLASSES:]):g}")
    macro = [number_text(getattr(found, f"macro_{name}")) for name in ("precision", "recall", "f1")]
    table.add_row("macro mean", *macro, f"{np.sum(found.support):g}", style="bold")
    _show(console, table)


def _show_groups(console: Console, result: ll.Evaluation) -> None:
    if not result.loss_by_group:
        return
    table = new_table("group", "log_loss", "accuracy", "95 % from", "to")
    for key, loss in list(result.loss_by_group.items())[:_GROUPS]:
        right = result.accuracy_by_group[key]
        table.add_row(_name(key), *map(number_text, (loss.value, right.value, right.low, right.high)))
    if len(result.loss_by_group) > _GROUPS:
        table.add_row(f"... {len(result.loss_by_group) - _GROUPS:,} more")
    _show(console, table)


def _show_remarks(console: Console, result: ll.Evaluation) -> None:
    lines = [*result.notes, *map(str, result.findings)]
    if result.unknown_labels:
        names = ", ".join(map(repr, result.unknown_labels[:5]))
        lines.append(f"labels that are no class, counted as wrong: {names}")
    plain = [name for name in result.undefined if "[" not in name and name not in OPTIONAL]
    if plain:
        lines.append(f"undefined (0 / 0), shown as nan: {', '.join(plain)}")
    for line in lines:
        _print(console, line)


def _name(value: Any) -> str:
    """A name, shortened to fit its column."""
    from rich.cells import cell_len, set_cell_size
    from rich.markup import escape

    text = " ".join(str(value).split())
    return escape(text if cell_len(text) <= _NAME else set_cell_size(text, _NAME - 1) + "…")


def _show(console: Console, table: Table) -> None:
    """Print a table without cutting numbers: a terminal that is too narrow folds the lines."""
    table.show_edge = False
    console.print()
    wide = console.options.update(width=1000)
    narrow, console.width = console.width, max(console.width, console.measure(table, options=wide).maximum)
    console.print(table)
    console.width = narrow


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False)
