"""`evaluate`: from scores and labels, wherever they are, to `Evaluation`. In: arrays, tables, files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lastlayer.checking.check import check
from lastlayer.errors import LastlayerError, OptionError

from .options import KINDS
from .readers.paths import Request, source_of
from .readers.source import Block
from .result import Evaluation, evaluation_of
from .stream import bar, count
from .tally import Tally

__all__ = ["evaluate"]

_LOOKED_AT = 1 << 20  # scores that `check` looks at


def evaluate(
    scores: Any,
    targets: Any = None,
    *,
    kind: str = "logits",
    label: str | None = None,
    columns: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    documents: Any = None,
    n_bytes: Any = None,
    progress: Any = None,
    checkpoint: Any = None,
    axis: int = -1,
    binary: bool = False,
    labels: Any = None,
    counted: Any = None,
    **options: Any,
) -> Evaluation:
    """Loss, accuracy, calibration and tables of scores and labels, in one pass and constant memory.

    Parameters
    ----------
    scores : array, table, iterable of batches, or path
        An array (..., V) of any library, in memory or not (memory maps, HDF5, Zarr), read by rows of its
        first axis; a table of pandas, polars or Arrow; an iterable of ``(scores, targets)`` or of dicts; a
        path of .npy, .npz, .safetensors, .parquet or .csv, of a folder of them, or a pattern.
    targets : array or path, optional
        Class indices, names of classes, dense or top-k targets. Tables and batches hold their own.
    kind : {"logits", "probabilities", "log-probabilities"}
        What the scores are. It is never guessed: a file that says otherwise is an error.
    label : str, optional
        The column of the targets, "label" if not given; of an .npz or .safetensors file the array.
    columns : str or sequence of str, optional
        The columns of the scores: one of fixed-size lists, or one for each class; by default those called
        ``logit:<class>``, whose names are then the labels. Of an .npz or .safetensors file the array.
    sample_weight, groups, documents, n_bytes : array, or name of a column, optional
        As in `Tally.update`.
    progress : bool or function, optional
        True shows a bar in a terminal; a function gets the rows so far, all of them or None, and the bytes.
    checkpoint : path, optional
        A file that an interrupted run goes on from. It is written every few seconds, never by halves.
    axis, binary, labels, options
        As in `Tally`.
    counted : function, optional
        It gets the `Tally` of all rows, to be saved or added to others.

    Returns
    -------
    Evaluation
        Its ``findings`` are what `check` says of the first million scores.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError
    EvaluationInterrupted
        After Ctrl-C; its ``tally`` has the rows so far.

    Examples
    --------
    >>> import lastlayer as ll
    >>> result = ll.evaluate([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9], [0.1, 0.2, 0.3]], [2, 0, 0])
    >>> result.n, round(result.accuracy.value, 4), round(result.log_loss.value, 4)
    (3, 0.6667, 0.5756)
    """
    if kind not in KINDS:
        raise OptionError("evaluate", "kind", repr(kind), f"one of {', '.join(map(repr, KINDS))}")
    facts = {"sample_weight": sample_weight, "groups": groups, "documents": documents, "n_bytes": n_bytes}
    facts = {name: value for name, value in facts.items() if value is not None}
    if isinstance(scores, (list, tuple)) and targets is not None:
        scores = np.asarray(scores)
    source = source_of(Request(scores, targets, label, columns, axis, binary, facts))
    if source.kind is not None and source.kind != kind:
        remedy = f"pass kind={source.kind!r}"
        raise OptionError("evaluate", "kind", repr(kind), f"{source.kind!r}, as the data says", remedy)
    labels = source.labels if labels is None else labels
    tally = Tally(source.classes, kind=kind, axis=axis, binary=binary, labels=labels, **options)
    findings: list[Any] = []
    looked = [0]

    def see(block: Block) -> None:
        if looked[0] < _LOOKED_AT and not findings:
            looked[0] += max(1, block.rows * source.classes)
            findings.extend(_findings(block, tally))

    with bar(progress) as told:
        tally = count(tally, source, told, None if checkpoint is None else os.fspath(checkpoint), see)
    if counted is not None:
        counted(tally)
    return evaluation_of(tally, tuple(findings))


def _findings(block: Block, tally: Tally) -> list[Any]:
    """What `check` says of the first rows of a block."""
    o = tally.options
    if o.binary or o.labels is not None:
        return []
    some = max(1, _LOOKED_AT // max(1, o.classes))
    targets = block.targets if isinstance(block.targets, tuple) else block.targets[:some]
    options: Any = {"kind": o.kind, "axis": o.axis, "ignore_index": o.ignore_index}
    try:
        return list(check(block.scores[:some], targets, **options))
    except LastlayerError:
        return []
