"""``lastlayer check``: common mistakes in scores and labels in files."""

from __future__ import annotations

from typing import Any

import numpy as np
import typer

import lastlayer as ll
from lastlayer.blocks import number_family, to_host
from lastlayer.evaluation.inputs import scores_of
from lastlayer.evaluation.options import TallyOptions
from lastlayer.evaluation.readers.arrays import ArraySource
from lastlayer.evaluation.readers.in_order import in_order
from lastlayer.evaluation.readers.paths import Request, source_of
from lastlayer.evaluation.readers.source import Block, Source

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
    binary: data.Binary = False,
) -> None:
    """Find common mistakes, with a remedy for each. The exit status is 1 if one of them is an error.

    \b
    Examples:
      lastlayer check logits.npy labels.npy
      lastlayer check scores.parquet --label answer --kind probabilities
    """  # noqa: D301 - \b is for Typer: it keeps the lines as they are
    source = source_of(Request(scores, targets, label, columns_of(columns), -1, binary, {}))
    names = labels_of(labels) or source.labels
    arrays = _arrays(
        source, TallyOptions(source.classes, kind, binary=binary), names is not None, ignore_index
    )
    found = ll.check(*arrays, kind=kind, ignore_index=ignore_index, labels=names)
    failed = any(one.severity == "error" for one in found)
    if source.kind not in (None, kind):
        print(f"error: the data says that its scores are {source.kind}. Pass --kind {source.kind}. [kind]")
        failed = True
    if found or not failed:
        print(found)
    if failed:
        raise typer.Exit(1)


def _arrays(source: Source, o: TallyOptions, are_names: bool, ignore_index: int) -> tuple[Any, Any]:
    """Scores and targets. Arrays keep their shape, so that findings have positions in it."""
    if isinstance(source, ArraySource) and not o.binary:
        targets = source.targets[0]
        if are_names or number_family(targets) != "float" or targets.shape == source.scores.shape:
            return source.scores, targets

    def scores_in(block: Block) -> Any:
        return scores_of("check", block.scores, o)[0]

    def targets_in(block: Block) -> Any:
        """Targets: names unchanged, indices, or dense targets."""
        array = np.asarray(block.targets, dtype=object) if are_names else to_host(block.targets)
        if array.size == block.rows * o.classes and array.ndim > 1 and not o.binary:
            return array.reshape(-1, o.classes)
        if array.size != block.rows:
            rows = scores_of("check", block.scores, o)[1]
            raise ll.ShapeError("check", "targets", f"of shape {array.shape}", f"{rows}, one for each row")
        array = array.reshape(-1)
        if array.dtype.kind == "f":  # tables store indices with missing values as floats
            missing = np.isnan(array)
            whole = np.where(missing, ignore_index, array)
            return whole.astype(np.int64) if (whole == np.floor(whole)).all() else array
        return array

    return in_order(source, scores_in, targets_in)
