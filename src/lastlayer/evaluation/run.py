"""How an evaluation was computed. In: the user's data, and when reading began. Out: `Run`.

It is not part of the counts: two runs over the same rows have the same numbers, and different times.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import platform
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from numbers import Real
from typing import Any

import numpy as np

from lastlayer.backends.core import core, native
from lastlayer.errors import LastlayerError

from .numbers import Run
from .readers.paths import files_of
from .readers.tables import is_table
from .stream import Progress

__all__ = ["Begun", "described"]


class Begun:
    """An evaluation that has begun: from now on its time and what it reads are counted."""

    def __init__(self, scores: Any, targets: Any) -> None:
        self._source = described(scores, targets)
        self._n_bytes: int | None = None
        self._started, self._begin = datetime.now(timezone.utc), time.monotonic()

    def telling(self, tell: Progress | None) -> Progress:
        """A function that notes the bytes so far, and passes what it is told on."""

        def note(rows: int, total: int | None, n_bytes: int) -> None:
            self._n_bytes = n_bytes
            if tell is not None:
                tell(rows, total, n_bytes)

        return note

    def run(self) -> Run:
        """The run until now."""
        seconds = time.monotonic() - self._begin
        started = self._started.isoformat(timespec="seconds")
        return Run(self._source, self._n_bytes, seconds, started, _versions())


def _versions() -> dict[str, str]:
    """Of what computes: this package, Python and NumPy; and the backend that is in use."""
    backend = native.describe() if core.in_use() else "reference (NumPy)"
    python = platform.python_version()
    return {"lastlayer": _own_version(), "Python": python, "NumPy": np.__version__, "backend": backend}


@functools.cache
def _own_version() -> str:
    metadata = importlib.import_module("importlib.metadata")  # takes as long as a small evaluation
    try:
        return str(metadata.version("lastlayer"))
    except metadata.PackageNotFoundError:  # it runs from a folder, and is not installed
        return "unknown"


def described(scores: Any, targets: Any = None) -> str:
    """The user's data, in words."""
    if not isinstance(scores, (str, os.PathLike)):
        return _data(scores, targets is not None)
    found = _files("scores", scores)
    return f"{found}, targets of {_files('targets', targets)}" if _is_path(targets) else found


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _files(argument: str, path: Any) -> str:
    """A path as it was given; of a folder or a pattern also how many files it has."""
    name, paths = os.fspath(path), None
    with contextlib.suppress(LastlayerError):  # the reader says what is wrong with it
        paths = files_of(argument, name)
    return name if paths in (None, [name]) else f"{len(paths)} file{'s' * (len(paths) != 1)} of {name}"


def _data(scores: Any, has_targets: bool) -> str:
    """Data in memory, or an open array of a file. A list is rows if there are targets, else batches."""
    kind, shape = type(scores), getattr(scores, "shape", None)
    name = f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"
    size = "" if shape is None else f" of shape {tuple(shape)}"
    if not all(isinstance(n, Real) for n in shape or ()):  # of Dask it may be a task
        size = ""
    if is_table(scores) or hasattr(scores, "columns"):
        return f"table ({name}){size}"
    if shape is not None:
        dtype = str(getattr(scores, "dtype", name)).rpartition(".")[2]
        return f"{dtype} array{size}"
    if has_targets and isinstance(scores, (list, tuple)):
        return f"{kind.__name__} of {len(scores)} rows"
    return "batches of a generator" if isinstance(scores, Iterator) else f"batches of a {kind.__qualname__}"
