"""What `progress=` shows. In: True, or a function. Out: a function of the rows and bytes so far, or None."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from lastlayer.errors import DtypeError

from .stream import Progress

__all__ = ["shown"]


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
def _bar() -> Iterator[Progress | None]:
    """A bar with rows and bytes a second, where there is a terminal and rich to draw it."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar
    except ImportError:
        yield None
        return
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.fields[rows]}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    begun = time.monotonic()
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", rows="", total=None)

        def tell(rows: int, total: int | None, n_bytes: int) -> None:
            speed = rows / max(1e-9, time.monotonic() - begun)
            whole = None if not total or not rows else int(n_bytes / rows * total)
            bar.update(task, completed=n_bytes, total=whole, rows=f"{rows:,} rows, {speed:,.0f} rows/s")

        yield tell
