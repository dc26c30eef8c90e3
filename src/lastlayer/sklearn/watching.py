"""The progress of a fit. In: the steps. Out: lines, or a bar in a terminal; and a checkpoint."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

from lastlayer.evaluation.progress import bar_in_terminal
from lastlayer.fitting.checkpoint import Checkpoint, Saved
from lastlayer.fitting.fit import Report

__all__ = ["Watcher", "watched"]

Watcher = Callable[[Report], None]


@contextlib.contextmanager
def watched(name: str, verbose: int, tol: float, checkpoint: Checkpoint | None) -> Iterator[Watcher | None]:
    """A function that is told of each step, or None where nobody watches.

    ``verbose`` 1 prints a line for each step, 2 draws a bar, where there is a terminal and rich to draw it.
    """
    with contextlib.ExitStack() as stack:
        watchers: list[Watcher] = []
        if checkpoint is not None:
            watchers.append(lambda r: checkpoint.note(Saved(r.point.parameters, r.iteration)))
        if verbose:
            bar = stack.enter_context(_bar(name, tol)) if verbose > 1 else None
            watchers.append(bar or _lines(name))

        def tell(report: Report) -> None:
            for watcher in watchers:
                watcher(report)

        yield tell if watchers else None


def _lines(name: str) -> Watcher:
    def line(r: Report) -> None:
        print(f"[{name}] step {r.iteration}: loss {r.point.loss:.8g}, gradient norm {r.point.norm:.2e}")

    return line


@contextlib.contextmanager
def _bar(name: str, tol: float) -> Iterator[Watcher | None]:
    """A bar that is full when the gradient's norm is at the tolerance; nothing where none can be drawn."""
    with bar_in_terminal(name, "BarColumn", "{task.fields[state]}", "TimeElapsedColumn") as bar:
        if bar is None:
            yield None
            return
        task: Any = bar.add_task("", state="", total=1.0)
        first = math.nan

        def tell(r: Report) -> None:
            nonlocal first
            norm = max(r.point.norm, sys.float_info.min)
            if math.isnan(first):
                first = norm
            state = f"step {r.iteration}, loss {r.point.loss:.6g}, gradient norm {norm:.1e}"
            bar.update(task, completed=part_done(first, norm, tol), state=state)

        yield tell


def part_done(first: float, norm: float, tol: float) -> float:
    """How much of the way from the first norm to the tolerance is done, on a logarithmic scale: in [0, 1]."""
    if norm <= tol:
        return 1.0
    if not first > tol > 0:
        return 0.0
    return min(1.0, max(0.0, math.log(first / norm) / math.log(first / tol)))
