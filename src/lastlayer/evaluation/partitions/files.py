"""Files divided into partitions. In: paths that every worker can read. Out: ranges of rows of each file.

Parquet is divided at its row groups, .npy and .safetensors anywhere. CSV and .npz are read from the start:
each of these files is a partition. Arrays in memory beside them are sent once.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lastlayer.evaluation.readers.arrays import ArraySource
from lastlayer.evaluation.readers.datasets import Files
from lastlayer.evaluation.readers.paths import (
    TABLES,
    Request,
    files_of,
    form_of,
    opened_targets,
    paired_targets,
    source_of,
    wanted_of,
)
from lastlayer.evaluation.readers.shards import Shards
from lastlayer.evaluation.readers.source import Source
from lastlayer.evaluation.readers.tables import TableSource
from lastlayer.evaluation.readers.values import Part, array_of

from .partition import Division, Partition

__all__ = ["of_files"]

_LEAST, _MOST = 1 << 24, 1 << 29  # bytes of a partition
_EACH = 4  # partitions for each thread of the workers, at least


class _Rows(NamedTuple):
    """Rows of a file."""

    path: str
    start: int  # the first of them in the file
    stop: int
    before: int = 0  # rows of the files before it
    groups: tuple[int, ...] | None = None  # the row groups of Parquet that hold them
    length: int | None = None  # rows of the whole file, where an array beside is of all files


def of_files(request: Request, client: Any) -> Division:
    """Partitions of a file, a folder or a pattern, which this process can read too."""
    import dask

    request = request._replace(scores=_absolute(request.scores), targets=_absolute(request.targets))
    source = source_of(request)  # which checks names, types and lengths by what the files say of themselves
    given = {k: array_of(k, v) for k, v in request.facts.items() if not isinstance(v, str)}
    if isinstance(request.targets, tuple):
        given["targets"] = request.targets
    elif not (request.targets is None or isinstance(request.targets, str)):
        given["targets"] = array_of("targets", request.targets)
    kept = {k: v for k, v in request.facts.items() if isinstance(v, str)}
    empty = request._replace(facts=kept, targets=None if "targets" in given else request.targets)
    send = dask.delayed(_received, pure=False, traverse=False)
    values = [send(value) for value in given.values()]
    threads = sum(client.nthreads().values()) or _EACH
    size = min(_MOST, max(_LEAST, (source.n_bytes or 0) // (_EACH * threads)))
    paths, others = files_of("scores", request.scores), None
    if form_of("scores", request.scores, paths) in TABLES:
        assert isinstance(source, TableSource)
        places = list(_of_tables(source, paths, size))
    else:
        others = paired_targets(request.targets, paths) if isinstance(source, Shards) else None
        places = list(_of_arrays(source, paths, size))
    requests = [empty._replace(targets=others[i]) if others else empty for i, _ in places]
    names = tuple(given)
    opened = _table if isinstance(source, TableSource) else _arrays
    partitions = [
        Partition(opened, (one, names, paths[0], rows, *values))
        for one, (_, rows) in zip(requests, places, strict=True)
    ]
    if not partitions:
        partitions = [Partition(_everything, (empty, names, *values))]
    return Division(partitions, source.rows, client)


def _received(value: Any) -> Any:
    return value


def _absolute(value: Any) -> Any:
    return os.path.abspath(value) if isinstance(value, (str, os.PathLike)) else value


def _of_tables(source: TableSource, paths: list[str], size: int) -> Iterator[tuple[int, _Rows]]:
    """Row groups of Parquet that lie together; files of CSV, unless an array beside is of all of them."""
    has_arrays = source.targets is not None or bool(source.facts)
    if source.data.rows is None:
        if not has_arrays or len(paths) == 1:
            yield from ((i, _Rows(path, 0, 0)) for i, path in enumerate(paths))
        return
    parquet, before = importlib.import_module("pyarrow.parquet"), 0
    most = max(1, size // source.columns.row_bytes)
    for i, path in enumerate(paths):
        about, start, stop, groups = parquet.read_metadata(path), 0, 0, []
        for k in range(about.num_row_groups):
            groups.append(k)
            stop += about.row_group(k).num_rows
            if stop - start >= most or k == about.num_row_groups - 1:
                yield i, _Rows(path, start, stop, before, tuple(groups))
                start, groups = stop, []
        before += stop


def _of_arrays(source: Source, paths: list[str], size: int) -> Iterator[tuple[int, _Rows]]:
    """Ranges of mapped arrays; other files as they are."""
    before, is_shared = 0, bool(getattr(source, "whole", None))
    for i, (part, path) in enumerate(zip(_parts(source), paths, strict=True)):
        length = part.shape[0]
        step = max(1, length)
        if isinstance(part.scores, np.ndarray) and part.axis != 0 and part.n_bytes:
            step = max(1, size * length // part.n_bytes)
        for start in range(0, max(1, length), step):
            stop = min(start + step, length)
            yield i, _Rows(path, start, stop, before, length=length if is_shared else None)
        before += length


def _parts(source: Source) -> list[ArraySource]:
    if isinstance(source, Shards):
        return list(source.parts)
    assert isinstance(source, ArraySource)  # readers of files give no other
    return [source]


# --- where they are read ------------------------------------------------------------------------------------


def _with(request: Request, names: tuple[str, ...], values: tuple[Any, ...]) -> Request:
    """The request with the arrays that were sent."""
    given = dict(zip(names, values, strict=True))
    targets = given.pop("targets", request.targets)
    return request._replace(targets=targets, facts={**request.facts, **given})


def _everything(request: Request, names: tuple[str, ...], *values: Any) -> Source:
    return source_of(_with(request, names, values))


def _table(request: Request, names: tuple[str, ...], first: str, rows: _Rows, *values: Any) -> Source:
    """Rows of a table; the types are those of the first file."""
    request = _with(request, names, values)
    targets = opened_targets(request)
    if rows.groups is not None:
        place, length = rows.before + rows.start, rows.stop - rows.start
        targets = None if targets is None else Part(array_of("targets", targets), place, length)
        request = request._replace(facts=_parts_of(request.facts, place, length))
    wanted = wanted_of(request._replace(targets=targets))
    form = os.path.splitext(rows.path)[1][1:].lower()
    files = Files("scores", list(dict.fromkeys([first, rows.path])), form, wanted)
    return TableSource(files.part(rows.path, rows.groups, rows.stop - rows.start), wanted)


def _arrays(request: Request, names: tuple[str, ...], _: str, rows: _Rows, *values: Any) -> Source:
    """Rows of a file of arrays."""
    request = _with(request, names, values)
    if rows.length is not None:
        targets = array_of("targets", opened_targets(request))
        some = _parts_of({"targets": targets, **request.facts}, rows.before, rows.length)
        request = request._replace(targets=some.pop("targets"), facts=some)
    source = source_of(request._replace(scores=rows.path))
    assert isinstance(source, ArraySource)
    return source if (rows.start, rows.stop) == (0, source.shape[0]) else source.cut(rows.start, rows.stop)


def _parts_of(values: dict[str, Any], start: int, length: int) -> dict[str, Any]:
    """Some rows of each array; names of columns as they are."""
    return {k: v if isinstance(v, str) or not v.shape else Part(v, start, length) for k, v in values.items()}
