"""The loop over a source. In: blocks of rows. Out: a tally, with progress, checkpoints and interrupts."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lastlayer.errors import OptionError

from .readers.source import Block, Source
from .tally import Tally

__all__ = ["EvaluationInterrupted", "count", "write_whole"]

_EVERY = 5.0  # seconds between checkpoints
Progress = Callable[[int, "int | None", int], None]  # rows so far, of how many, bytes so far


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during `evaluate`; ``tally`` holds the rows that were counted until then."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(f"interrupted after {tally.n + tally.ignored} rows")
        self.tally = tally


def count(
    tally: Tally,
    source: Source,
    progress: Progress | None,
    checkpoint: str | None,
    see: Callable[[Block], None],
) -> Tally:
    """Add all rows of a source to a tally; ``see`` looks at each block besides."""
    saved = None if checkpoint is None else _Checkpoint(checkpoint, source, tally)
    start, n_bytes = 0, 0
    if saved is not None and (found := saved.read()) is not None:
        tally, start = found
    last = time.monotonic()
    try:
        for block in source.blocks(start):
            rows = np.arange(block.first, block.first + block.rows)
            shape = _rows_shape(block, tally)
            tally.update(block.scores, block.targets, rows=rows.reshape(shape), **block.facts)
            see(block)
            start, n_bytes = block.first + block.rows, n_bytes + block.n_bytes
            if progress is not None:
                progress(start, source.rows, n_bytes)
            if saved is not None and time.monotonic() - last > _EVERY:
                saved.write(tally, start)
                last = time.monotonic()
    except KeyboardInterrupt as error:
        raise EvaluationInterrupted(tally) from error
    if saved is not None:
        saved.write(tally, start)
    return tally


def _rows_shape(block: Block, tally: Tally) -> tuple[int, ...]:
    """The shape of a block's rows."""
    shape, o = [int(n) for n in block.scores.shape], tally.options
    if o.binary:
        return tuple(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape)
    del shape[o.axis % len(shape)]
    return tuple(shape)


class _Checkpoint:
    """A file with a tally and how many rows of the source are in it."""

    def __init__(self, path: str, source: Source, tally: Tally) -> None:
        self.path = path
        self.of = {"source": source.identity(), "options": json.loads(json.dumps(tally.to_dict()["options"]))}

    def read(self) -> tuple[Tally, int] | None:
        """The tally so far and the first row that is not in it; None where there is no file yet."""
        if not os.path.exists(self.path):
            return None
        try:
            with open(self.path, encoding="utf-8") as file:
                saved = json.load(file)
            of, start = saved["of"], int(saved["rows"])
            tally = Tally.from_dict(saved["tally"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError("evaluate", "checkpoint", repr(self.path), f"a checkpoint ({error})") from error
        for name in ("source", "options"):
            if of.get(name) != json.loads(json.dumps(self.of[name])):
                remedy = "remove the file to begin again"
                rule = f"one of the same {name}, {json.dumps(self.of[name])}"
                raise OptionError(
                    "evaluate", "checkpoint", f"of {name} {json.dumps(of.get(name))}", rule, remedy
                )
        return tally, start

    def write(self, tally: Tally, rows: int) -> None:
        """Replace the file."""
        text = json.dumps({"of": self.of, "rows": rows, "tally": tally.to_dict()}, sort_keys=True)
        write_whole("checkpoint", self.path, text.encode())


def write_whole(argument: str, path: str, data: bytes) -> None:
    """Write a file that is never seen half-written: the old one stays until the new one is on the disk."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".")
    except OSError as error:
        raise OptionError(
            "evaluate", argument, repr(path), f"a file that can be written ({error})"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            rule = f"a file that can be written ({error})"
            raise OptionError("evaluate", argument, repr(path), rule) from error
        raise


@contextlib.contextmanager
def bar(progress: Any) -> Iterator[Progress | None]:
    """What is told of the progress: a bar in a terminal, a function of the user, or nothing."""
    if progress is None or progress is False:
        yield None
        return
    if callable(progress):
        yield progress
        return
    try:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    except ImportError:
        yield None
        return
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    columns = (TextColumn("{task.fields[rows]}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task("", rows="", total=None)

        def tell(rows: int, total: int | None, n_bytes: int) -> None:
            speed = rows / max(1e-9, time.monotonic() - begun)
            whole = None if not total or not rows else int(n_bytes / rows * total)
            shown.update(task, completed=n_bytes, total=whole, rows=f"{rows:,} rows, {speed:,.0f} rows/s")

        yield tell
