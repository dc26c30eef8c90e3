"""The table of a record. In: a record of `run`. Out: lines of text, one row for a shape and dtype.

python benchmarks/gpu/table.py RECORD.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bars import AT_LEAST, SMALL, bar, faster_than_compile, floor

__all__ = ["faults", "rendered", "row_of"]

Record = dict[str, Any]

SHARES = ("softmax", "log_softmax", "loss", "loss+gradient")
PEERS = ("eager", "compile", "Liger")
HEAD = ["shape", "dtype", "copy", *SHARES, "both ways", *(f"{name} /" for name in PEERS), "memory"]
LEGEND = """\
Shares of the speed of a copy of the same tensor (fewest bytes over GPU time), and what is asked: `.93 < .95`
is short of it, `.41 << .60` below the prototype too. `copy`: TB/s. `both ways`: ms, forward and backward
through autograd; then how many times as long the others take, with what is asked. `memory`: the peak of both
ways beyond inputs and gradient, over the logits. `*`: the launches were not hidden; `?`: a wrong answer."""


def judged(value: float | None, asked: float | None, least: float | None = None, digits: int = 2) -> str:
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    if asked is None:
        return text
    sign = ">=" if value >= asked else "<<" if least is not None and value < least else "<"
    return f"{text} {sign} {asked:g}"


def ratio(found: Record, peer: str) -> float | None:
    """The time of a peer, the faster one of its two ways, over ours."""
    ms = found.get("ms", {})
    theirs = [t for name, t in ms.items() if name.split(",")[0] == peer]
    return min(theirs) / ms["lastlayer"] if theirs and "lastlayer" in ms else None


def asked_ratio(peer: str, column: str, dtype: str) -> float:
    return faster_than_compile(column, dtype) if peer == "compile" else AT_LEAST[peer]


def row_of(one: Record) -> list[str]:
    """The cells of a shape and dtype."""
    column, dtype, found = one["column"], one["dtype"], one["functions"]

    def marks(name: str) -> str:
        mine = found.get(name, {})
        return ("*" if "lastlayer" in mine.get("not hidden", ()) else "") + ("?" if mine.get("wrong") else "")

    cells = [one["shape"], dtype, judged(one.get("copy TB/s"), None)]
    for name in SHARES:
        share = found.get(name, {}).get("share")
        cells.append(judged(share, bar(name, column), floor(name, column, dtype)) + marks(name))
    both = found.get("both ways", {})
    cells.append(judged(both.get("ms", {}).get("lastlayer"), None, digits=4) + marks("both ways"))
    cells += [judged(ratio(both, peer), asked_ratio(peer, column, dtype)) for peer in PEERS]
    return [*cells, judged(both.get("memory"), None)]


def faults(record: Record) -> list[str]:
    """What failed or is wrong."""
    found = list(record.get("errors", []))
    for one in record["measured"]:
        for name, function in one["functions"].items():
            where = f"{one['shape']} {one['dtype']} {name}"
            found += [f"{where}: {who}: {what}" for who, what in function.get("wrong", {}).items()]
            found += [f"{where}: {what}" for what in function.get("checks", {}).values() if what]
    return found + [f"{name}: {what}" for name, what in record.get("rules", {}).items() if what]


def misses(record: Record) -> list[str]:
    """All ratios to a peer's softmax and loss that are not ahead: the table shows both ways alone."""
    found = []
    for one in record["measured"]:
        for name, function in one["functions"].items():
            for peer in PEERS:
                times = ratio(function, peer)
                if name != "both ways" and times is not None and times < 1:
                    found.append(f"{one['shape']} {one['dtype']} {name}: {peer} {times:.2f}")
    return found


def small_lines(record: Record) -> list[str]:
    lines = []
    for one in record.get("small", []):
        us = one["us"]
        times = us["lastlayer"] / us["torch"]
        sign = "<=" if times <= SMALL else ">"
        lines.append(
            f"32x10 {one['dtype']} {one['name']}: {us['lastlayer']:.1f} us, torch {us['torch']:.1f} us, "
            f"{times:.2f} {sign} {SMALL:g}"
        )
    return lines


def aligned(rows: list[list[str]]) -> list[str]:
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, wide, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (n + 2) for n in wide) + "|", *lines[1:]]


def rendered(record: Record) -> str:
    """Everything that a reader of the record wants to know."""
    from accuracy import rendered as errors

    machine = record["machine"]
    title = f"{machine['card']}, torch {machine['torch']}, triton {machine['triton']}, {record['date']}"
    parts = [title]
    if record["measured"]:
        parts.append("\n".join(aligned([HEAD, *map(row_of, record["measured"])])))
    parts += [LEGEND, "\n".join(small_lines(record))]
    if record.get("accuracy"):
        parts.append(errors(record["accuracy"]))
    for name, lines in (("slower than a peer", misses(record)), ("WRONG", faults(record))):
        if lines:
            parts.append("\n".join([f"{name}:", *(f"  {line}" for line in lines)]))
    if record.get("stopped"):
        parts.append(record["stopped"])
    parts.append("\n".join(f"{name}: {what}" for name, what in record.get("steps", {}).items()))
    return "\n\n".join(part for part in parts if part)


if __name__ == "__main__":
    print(rendered(json.loads(Path(sys.argv[1]).read_text())))
