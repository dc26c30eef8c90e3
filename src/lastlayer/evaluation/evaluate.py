"""`evaluate`: from scores and labels, wherever they are, to `Evaluation`. In: arrays, tables, files."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from lastlayer.checking.watching import Watch
from lastlayer.errors import OptionError, errors_of

from .checkpoint import Checkpoint
from .findings import findings_of
from .options import KINDS, TallyOptions, integer
from .partitions.counting import count_partitions
from .partitions.divide import divided
from .progress import shown
from .readers.paths import Request, source_of
from .result import Evaluation, evaluation_of
from .run import Begun
from .stream import count
from .tally import Tally

__all__ = ["evaluate"]


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
    client: Any = None,
    **options: Any,
) -> Evaluation:
    """Compute loss, accuracy, calibration and tables from scores and labels, in one pass and constant memory.

    Parameters
    ----------
    scores : array, table, iterable of batches, or path
        An array (..., V) of any library, in memory or not (memory maps, HDF5, Zarr), read by rows of its
        first axis; a table of pandas, polars or Arrow; an iterable of ``(scores, targets)`` or of dicts; a
        path of .npy, .npz, .safetensors, .parquet or .csv, of a folder of them, or a pattern. An array or
        DataFrame of Dask is evaluated where its chunks are computed: by threads or by a cluster.
    targets : array or path, optional
        Class indices, names of classes, dense or top-k targets; or the path of a file of them. Tables, .npz
        and .safetensors files may contain the targets, batches always do.
    kind : {"logits", "probabilities", "log-probabilities"}
        What the scores are; it is never guessed. A file that declares another kind is an error.
    label : str, optional
        The name of the column of targets, "label" if not given; in an .npz or .safetensors file, of the
        array.
    columns : str or sequence of str, optional
        The columns of the scores: one of fixed-size lists, or one for each class; by default those called
        ``logit:<class>``, whose names are then the labels. In an .npz or .safetensors file, the name of the
        array.
    sample_weight, groups, documents, n_bytes : array, or name of a column, optional
        As in `Tally.update`.
    progress : bool or function, optional
        True shows a bar in a terminal (extra ``[cli]``); a function is called with the rows so far, the
        number of all rows (None if unknown), and the bytes so far.
    checkpoint : path, optional
        A file from which an interrupted run continues. It is written every few seconds and at the end, and is
        always complete. A file of other data or options is an error that names the difference. Not with Dask.
    axis, binary, labels, options
        As in `Tally`.
    counted : function, optional
        Called with the `Tally` of all rows, which can be saved or added to others.
    client : dask.distributed.Client, optional
        The client whose workers compute. By default data of Dask are computed by Dask's active scheduler.

    Returns
    -------
    Evaluation
        Its ``findings`` are those of `check`; its ``run`` says how it was computed.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError
        The message has the number of the row among all rows.
    BackendError
        If a table is given and pyarrow is not installed.
    EvaluationInterrupted
        After Ctrl-C; its ``tally`` has the rows so far, each counted once. With Dask a KeyboardInterrupt:
        the tasks are cancelled.

    See Also
    --------
    Tally : the same in a loop of your own.
    compare : two models on the same rows.
    fit_temperature : calibrates the logits.

    Examples
    --------
    >>> import lastlayer as ll
    >>> result = ll.evaluate([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9], [0.1, 0.2, 0.3]], [2, 0, 0])
    >>> result.n, round(result.accuracy.value, 4), round(result.log_loss.value, 4)
    (3, 0.6667, 0.5756)
    """
    if kind not in KINDS:
        raise OptionError("evaluate", "kind", repr(kind), f"one of {', '.join(map(repr, KINDS))}")
    if unknown := sorted(options.keys() - set(TallyOptions._fields)):
        raise TypeError(f"evaluate() got an unexpected keyword argument {unknown[0]!r}")
    axis = integer("evaluate", "axis", axis, None)
    facts = {"sample_weight": sample_weight, "groups": groups, "documents": documents, "n_bytes": n_bytes}
    facts = {name: value for name, value in facts.items() if value is not None}
    begun = Begun(scores, targets)
    request = Request(scores, targets, label, columns, axis, binary, facts, kind)
    options |= {"kind": kind, "axis": axis, "binary": binary, "labels": labels}
    if (division := divided(request, client)) is not None:
        if checkpoint is not None:
            rule = "None with Dask, whose tasks are run again where a worker is lost"
            raise OptionError("evaluate", "checkpoint", repr(os.fspath(checkpoint)), rule)
        with shown(progress) as tell:
            tally, watch = count_partitions(division, options, begun.telling(tell))
    else:
        source = source_of(request)
        options["labels"] = source.labels if labels is None else labels
        with errors_of("evaluate"):
            tally = Tally(source.classes, **options)
        watch = Watch(kind, axis, binary)
        saved = None if checkpoint is None else Checkpoint(os.fspath(checkpoint), source, tally)
        with shown(progress) as tell:
            tally, watch = count(tally, watch, source, begun.telling(tell), saved)
    if counted is not None:
        counted(tally)
    result = evaluation_of(tally)
    findings = tuple(findings_of(tally, result, watch))
    return replace(result, findings=findings, run=begun.run())
