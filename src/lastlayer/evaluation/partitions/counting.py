"""`evaluate` by partitions. In: partitions, options. Out: the tally of all rows, and what observers saw."""

from __future__ import annotations

from typing import Any, NamedTuple

from lastlayer.checking.watching import Watch
from lastlayer.errors import errors_of
from lastlayer.evaluation.stream import Progress, count
from lastlayer.evaluation.tally import Tally

from .partition import Division, Opened
from .tree import Read, over
from .whole import Extent, Whole

__all__ = ["count_partitions"]


class Counted(NamedTuple):
    """Of some rows, numbered from 0."""

    tally: Tally
    watch: Watch
    extent: Extent


def count_partitions(
    division: Division, options: dict[str, Any], progress: Progress | None
) -> tuple[Tally, Watch]:
    """Count the rows of all partitions; ``options`` are those of `Tally`."""
    found: Counted = over("evaluate", division, _counted, _merged, options, progress)
    if found.extent.is_small and not options["binary"]:
        found.watch.have_all(*(Whole(division, part, found.extent) for part in ("scores", "targets")))
    return found.tally, found.watch


def _counted(options: dict[str, Any], source: Opened) -> Counted:
    """The rows of one partition."""
    labels = source.labels if options["labels"] is None else options["labels"]
    with errors_of("evaluate"):
        tally = Tally(source.classes, **{**options, "labels": labels})
    watch = Watch(options["kind"], options["axis"], options["binary"])
    tally, watch = count(tally, watch, source, None, None)
    return Counted(tally, watch, Extent.of(source))


def _merged(a: Counted, b: Counted, of_a: Read, _: Read) -> Counted:
    """The rows of both, those of b after those of a. Neither is changed."""
    with errors_of("evaluate", names={"other": "a partition"}):
        tally = a.tally + b.tally
    tally.hardest.rows = list(a.tally.hardest.rows)
    tally.hardest.keep([(loss, row + of_a.rows, t, p) for loss, row, t, p in b.tally.hardest.rows])
    watch = Watch(a.watch.kind, a.watch.axis, a.watch.is_pair)
    watch.merge(a.watch, 0)
    watch.merge(b.watch, of_a.length)
    return Counted(tally, watch, a.extent + b.extent)
