"""The progress of a run. In: True, or a function. Out: a function of the rows and bytes so far, or None.

Where data is read several times, rows and bytes begin again with each pass.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from lastlayer.errors import DtypeError

from .readers.source import Block, Source
from .stream import Progress

__all__ = ["Told", "bar_in_terminal", "shown"]


class Told:
    """A source that reports the progress of a pass over it."""

    def __init__(self, source: Source, tell: Progress) -> None:
        self._source, self._tell = source, tell
        self.classes, self.rows, self.n_bytes = source.classes, source.rows, source.n_bytes
        self.kind, self.labels = source.kind, source.labels

    def identity(self) -> dict[str, Any]:
        """That of the source."""
        return self._source.identity()

    def blocks(self, start: int) -> Iterator[Block]:
        """Its blocks; when the next one is asked for, this one is done."""
        n_bytes = 0
        for block in self._source.blocks(start):
            yield block
            n_bytes += block.n_bytes
            self._tell(block.first + block.rows, self.rows, n_bytes)


@contextlib.contextmanager
def shown(progress: Any) -> Iterator[Progress | None]:
    """A bar in a terminal, a function of the user, or nothing."""
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with _bar() as tell:
            yield tell
    elif callable(progress):
        yield progress
    else:
        found = f"a {type(progress).__name__}"
        raise DtypeError("evaluate", "progress", found, "True, None or a function of (rows, total, bytes)")


@contextlib.contextmanager
def bar_in_terminal(*columns: str) -> Iterator[Any]:
    """A progress bar of rich on standard error; None where there is no terminal, or no rich.

    A column is the name of one of rich's, or text.
    """
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        yield None
        return
    if not sys.stderr.isatty():
        yield None
        return
    made = [getattr(progress, c)() if hasattr(progress, c) else progress.TextColumn(c) for c in columns]
    with progress.Progress(*made, console=Console(stderr=True), transient=True) as bar:
        yield bar


@contextlib.contextmanager
def _bar() -> Iterator[Progress | None]:
    """A bar with rows and bytes a second, where there is a terminal and rich to draw it."""
    columns = ("{task.fields[rows]}", "BarColumn", "DownloadColumn", "TransferSpeedColumn")
    with bar_in_terminal(*columns) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task("", rows="", total=None)
        begun, passes, last = time.monotonic(), 1, 0

        def tell(rows: int, total: int | None, n_bytes: int) -> None:
            nonlocal begun, passes, last
            if rows <= last:
                bar.reset(task)  # the speed is that of this pass
                begun, passes = time.monotonic(), passes + 1
            last = rows
            speed = rows / max(1e-9, time.monotonic() - begun)
            whole = None if not total or not rows else int(n_bytes / rows * total)
            text = f"pass {passes}, " if passes > 1 else ""
            bar.update(task, completed=n_bytes, total=whole, rows=f"{text}{rows:,} rows, {speed:,.0f} rows/s")

        yield tell
