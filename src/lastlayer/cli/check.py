"""``lastlayer check``: the usual mistakes in scores and labels in files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import typer

import lastlayer as ll
from lastlayer.blocks import to_host
from lastlayer.evaluation.readers.arrays import ArraySource
from lastlayer.evaluation.readers.in_order import in_order
from lastlayer.evaluation.readers.paths import Request, source_of
from lastlayer.evaluation.readers.source import Block, Source
from lastlayer.labels import Labels

from . import data
from .data import columns_of, labels_of

__all__ = ["check"]


def check(
    scores: data.Scores,
    targets: data.Targets = None,
    kind: data.Kind = "logits",
    label: data.Label = None,
    columns: data.Columns = None,
    labels: data.Labels = None,
    ignore_index: data.Ignore = -100,
) -> None:
    """Look for the usual mistakes, and say what to do about each. The exit status is 1 if one is an error.

    \b
    Examples:
      lastlayer check logits.npy labels.npy
      lastlayer check scores.parquet --label answer --kind probabilities
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    source = source_of(Request(scores, targets, label, columns_of(columns), -1, False, {}))
    lines, failed = [], False
    for severity, line in _findings(source, kind, labels_of(labels) or source.labels, ignore_index):
        lines.append(line)
        failed = failed or severity == "error"
    print("\n".join(lines) or "no findings")
    if failed:
        raise typer.Exit(1)


def _findings(source: Source, kind: Any, names: Any, ignore_index: int) -> Iterator[tuple[str, str]]:
    """Severity and text of each finding, in one pass over the data; sorted, errors first."""
    if source.kind is not None and source.kind != kind:
        text = f"the data says that its scores are {source.kind}. Pass --kind {source.kind}."
        yield "error", f"error: {text} [kind]"
    if names is None and isinstance(source, ArraySource):  # positions are those of the arrays
        found = ll.check(source.scores, source.targets[0], kind=kind, ignore_index=ignore_index)
    else:
        indices = _Indices(names, source.classes, ignore_index)
        found = ll.check(*in_order(source, indices), kind=kind, ignore_index=ignore_index)
        if indices.unknown:
            shown = ", ".join(map(repr, indices.unknown[:5])) + (", ..." if len(indices.unknown) > 5 else "")
            text = f"labels that are no class: {shown}. Correct them, or pass --labels."
            yield "error", f"error: {text} [unknown-labels]"
    for one in found:
        yield one.severity, str(one)


class _Indices:
    """The targets of a block as class indices, or as they are if they are dense."""

    def __init__(self, names: Any, classes: int, ignore_index: int) -> None:
        self.names = None if names is None else Labels("check", names, classes)
        self.classes, self.ignore_index = classes, ignore_index
        self.unknown: list[str] = []

    def __call__(self, block: Block) -> Any:
        if self.names is not None:
            found = self.names.read("check", block.targets, "wrong")
            self.unknown += [str(u) for u in found.unknown if str(u) not in self.unknown]
            return np.where(found.indices < 0, self.ignore_index, found.indices)
        array = to_host(block.targets)
        if array.size == block.rows * self.classes and array.ndim > 1:
            return array.reshape(-1, self.classes)
        array = array.reshape(-1)
        if array.dtype.kind == "f":  # indices with gaps, as tables have them
            missing = np.isnan(array)
            whole = np.where(missing, self.ignore_index, array)
            return whole.astype(np.int64) if (whole == np.floor(whole)).all() else array
        return array
