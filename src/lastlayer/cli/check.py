"""``lastlayer check``: the usual mistakes in scores and labels in files."""

from __future__ import annotations

from typing import Any

import lastlayer as ll
from lastlayer.evaluation.readers.paths import Request, source_of

from .data import Columns, Ignore, Kind, Label, Scores, Targets, columns_of
from .usage import FoundError

__all__ = ["check"]


def check(
    scores: Scores,
    targets: Targets = None,
    kind: Kind = "logits",
    label: Label = None,
    columns: Columns = None,
    ignore_index: Ignore = -100,
) -> None:
    """Look for the usual mistakes, and say what to do about each. The exit status is 1 if one is an error.

    Example: lastlayer check probabilities.npy labels.npy --kind probabilities
    """
    source = source_of(Request(scores, targets, label, columns_of(columns), -1, False, {}))
    found: dict[str, tuple[int, Any]] = {}
    options: dict[str, Any] = {"kind": kind, "ignore_index": ignore_index}
    for block in source.blocks(0):
        names = source.labels
        labels = block.targets if names is None else [_place(names, name) for name in block.targets]
        for finding in ll.check(block.scores, labels, **options):
            found.setdefault(finding.code, (block.first, finding))
    for first, finding in found.values():
        where = f" (rows counted from {first})" if first else ""
        print(f"{finding.severity}: {finding.code}: {finding.message}{where}")
    if not found:
        print("no findings")
    if any(finding.severity == "error" for _, finding in found.values()):
        raise FoundError


def _place(names: tuple[str, ...], name: object) -> int:
    """The index of a name; -100 of a missing one, and beyond all classes for one that is none of them."""
    if name is None or name == "" or name != name:
        return -100
    return names.index(str(name)) if str(name) in names else len(names)
