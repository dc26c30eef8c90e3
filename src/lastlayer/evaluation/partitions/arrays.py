"""Dask arrays divided into partitions. In: what a user named. Out: a partition for each chunk of rows.

The chunks are those of the scores; targets and what else there is of a row are divided as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lastlayer.blocks import to_host
from lastlayer.clients import is_dask
from lastlayer.errors import ShapeError, named
from lastlayer.evaluation.readers.paths import Request, opened_targets, source_of
from lastlayer.evaluation.readers.source import Source
from lastlayer.evaluation.readers.values import array_of, sliced

from .partition import Division, Partition

__all__ = ["beside", "dask_or_array", "lengths_of", "needs_lengths", "of_arrays", "opened_with"]


def of_arrays(request: Request, client: Any) -> Division:
    """Partitions of a Dask array, or of a Series of Dask."""
    targets = opened_targets(request)
    parts = targets if _is_top_k(targets) else (targets,)
    x, *parts = (dask_or_array("scores", request.scores), *(dask_or_array("targets", part) for part in parts))
    facts = {name: dask_or_array(name, value) for name, value in request.facts.items()}
    targets = tuple(parts) if _is_top_k(targets) else parts[0]
    request = request._replace(scores=x, targets=targets, facts=facts)
    everything = [one for one in (x, *parts, *facts.values()) if is_dask(one)]
    is_incomplete = targets is None or any(isinstance(value, str) for value in facts.values())
    rows = None
    if is_incomplete or all(map(is_known, everything)):
        rows = source_of(request).rows  # which checks names and shapes, and reads nothing
    cut = _cut_axis(request)
    x = _in_chunks(x, cut)
    lengths: tuple[Any, ...] = x.chunks[cut] if x.ndim else (1,)
    columns = [_delayed(x)]
    for name, value in (*(("targets", part) for part in parts), *facts.items()):
        is_dense = name == "targets" and _is_dense(value, x, request)
        if needs_lengths(value, lengths):
            lengths = lengths_of(columns[0], cut, client)
        columns.append(beside(name, value, lengths, cut if is_dense else 0))
    empty = request._replace(scores=None, targets=None, facts={})
    names = tuple(facts)
    partitions = [
        Partition(_opened, (empty, _is_top_k(targets), names, *values))
        for values in zip(*columns, strict=True)
    ]
    return Division(partitions, rows, client)


def opened_with(request: Request, is_top_k: bool, names: tuple[str, ...], values: Sequence[Any]) -> Source:
    """The source of a partition's scores, targets and facts."""
    scores, *parts = values
    cut = len(parts) - len(names)
    targets = tuple(parts[:cut]) if is_top_k else parts[0] if cut else None
    facts = dict(zip(names, parts[cut:], strict=True))
    return source_of(request._replace(scores=scores, targets=targets, facts={**request.facts, **facts}))


def _opened(request: Request, is_top_k: bool, names: tuple[str, ...], *values: Any) -> Source:
    return opened_with(request, is_top_k, names, values)


def _is_top_k(targets: Any) -> bool:
    return isinstance(targets, tuple) and len(targets) in (2, 3) and hasattr(targets[0], "shape")


def dask_or_array(name: str, value: Any) -> Any:
    """A Series of Dask as an array of Dask; others as `array_of` gives them."""
    if hasattr(value, "to_dask_array"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that text becomes objects, as it does here
            return value.to_dask_array()
    if value is None or isinstance(value, str) or is_dask(value):
        return value
    return array_of(name, value)


def is_known(value: Any) -> bool:
    return not any(np.isnan(n) for n in value.shape)


def _cut_axis(request: Request) -> int:
    """The axis of the scores that is divided: the first one of the rows."""
    ndim = request.scores.ndim
    return int(not request.binary and ndim > 1 and request.axis % ndim == 0)


def _in_chunks(x: Any, cut: int) -> Any:
    """An array that is divided along one axis alone."""
    others = {k: -1 for k, sizes in enumerate(x.chunks) if k != cut and len(sizes) > 1}
    if not others:
        return x
    return x.rechunk({cut: "auto", **others} if is_known(x) else others)


def _is_dense(value: Any, x: Any, request: Request) -> bool:
    """Whether targets have the shape of the scores, as far as it is known."""
    same = value.ndim == x.ndim and not request.binary
    return same and all(a == b or a != a or b != b for a, b in zip(value.shape, x.shape, strict=True))


def _delayed(x: Any) -> list[Any]:
    """The chunks of an array that is divided along one axis."""
    return list(x.to_delayed().ravel())


def lengths_of(chunks: Sequence[Any], axis: int, client: Any) -> tuple[int, ...]:
    """The lengths of the chunks, or of the parts of a DataFrame."""
    import dask

    length = dask.delayed(_length, pure=False)
    tasks = [length(one, axis) for one in chunks]
    return tuple(dask.compute(*tasks) if client is None else client.gather(client.compute(tasks)))


def needs_lengths(value: Any, lengths: Sequence[Any]) -> bool:
    """Whether a value can only be divided as the scores are once their lengths are known."""
    if not np.isnan(lengths).any() or not len(value.shape):
        return False
    return not is_dask(value) or (is_known(value) and len(value.chunks[0]) != len(lengths))


def _length(chunk: Any, axis: int) -> int:
    return int(chunk.shape[axis])


def beside(name: str, value: Any, lengths: Sequence[Any], axis: int) -> list[Any]:
    """The part of a value, an array of any kind, that belongs to each partition of these lengths."""
    if not len(value.shape):
        return [to_host(value)] * len(lengths)
    if is_dask(value):
        value = _in_chunks(value, axis)
        if value.chunks[axis] == tuple(lengths):
            return _delayed(value)
        if not any(np.isnan(n) for n in (*value.chunks[axis], *lengths)):
            return _delayed(value.rechunk({axis: tuple(lengths)}))
        if len(value.chunks[axis]) == len(lengths):
            return _delayed(value)  # their lengths are compared where they are read
        found = f"in {len(value.chunks[axis])} partitions of unknown lengths"
        rule = f"the {len(lengths)} partitions of " + named("scores")
        raise ShapeError("evaluate", name, found, rule, "call compute_chunk_sizes() of both first")
    ends = np.cumsum(lengths).tolist()
    if int(value.shape[axis]) != ends[-1]:
        rule = f"{ends[-1]} as " + named("scores") + " has"
        raise ShapeError("evaluate", name, f"of length {int(value.shape[axis])}", rule)
    box = (slice(None),) * axis
    return [to_host(sliced(value, (*box, slice(end - n, end)))) for n, end in zip(lengths, ends, strict=True)]
