"""Dask DataFrames divided into partitions. In: what a user named. Out: a partition for each of its own."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from lastlayer.errors import DtypeError, ShapeError
from lastlayer.evaluation.readers.columns import Columns
from lastlayer.evaluation.readers.datasets import Table
from lastlayer.evaluation.readers.paths import Request, opened_targets, wanted_of
from lastlayer.evaluation.readers.source import Source

from .arrays import beside, dask_or_array, lengths_of, needs_lengths, opened_with
from .partition import Division, Partition

__all__ = ["of_frame"]


def of_frame(request: Request, client: Any) -> Division:
    """Partitions of a DataFrame of Dask, with targets and facts of its columns or of their own."""
    frame, targets = request.scores, opened_targets(request)
    if isinstance(targets, tuple):
        raise DtypeError("evaluate", "targets", "a tuple", "one array beside a table")
    given = {"targets": targets} if targets is not None else {}
    given |= {name: value for name, value in request.facts.items() if not isinstance(value, str)}
    given = {name: dask_or_array(name, value) for name, value in given.items()}
    facts = {name: value for name, value in request.facts.items() if isinstance(value, str)}
    empty = request._replace(scores=None, targets=None, facts=facts)
    parts = list(_needed(request, frame).to_delayed())
    columns = [parts]
    lengths: tuple[Any, ...] = (np.nan,) * len(parts)
    if any(needs_lengths(value, lengths) for value in given.values()):
        lengths = lengths_of(parts, 0, client)
    columns += [beside(name, value, lengths, 0) for name, value in given.items()]
    names = tuple(name for name in given if name != "targets")
    head = empty, len(given) > len(names), names
    partitions = [Partition(_opened, (*head, *values)) for values in zip(*columns, strict=True)]
    rows = None if np.isnan(lengths).any() else int(sum(lengths))
    nothing = functools.partial(_source, *head, frame._meta, *(np.empty(0) for _ in given))
    return Division(partitions, rows, client, nothing)


def _needed(request: Request, frame: Any) -> Any:
    """The columns of a frame that are read, by their names alone: its types are known in its partitions."""
    try:
        names = Columns(Table(frame._meta), wanted_of(request._replace(scores=None))).names()
    except ShapeError:  # of lists, whose length is not known yet
        return frame
    return frame[[name for name in frame.columns if str(name) in names]]


def _opened(request: Request, has_targets: bool, names: tuple[str, ...], *values: Any) -> Source | None:
    """The source of a partition; None without rows, whose columns would have other types."""
    return _source(request, has_targets, names, *values) if len(values[0]) else None


def _source(request: Request, has_targets: bool, names: tuple[str, ...], *values: Any) -> Source:
    frame, *parts = values
    if not has_targets:
        parts = [None, *parts]
    return opened_with(request, False, names, (frame, *parts))
