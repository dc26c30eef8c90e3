"""The loop over a source. In: blocks of rows. Out: a tally, with progress, checkpoints and interrupts."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from lastlayer.blocks import number_family, to_host
from lastlayer.checking.watching import Watch
from lastlayer.errors import LastlayerError, OptionError

from .checkpoint import Checkpoint, Progressed
from .inputs import scores_of
from .interrupts import whole
from .readers.source import Block, Source
from .tally import Tally

__all__ = ["EvaluationInterrupted", "count", "located"]

Progress = Callable[[int, "int | None", int], None]  # rows so far, of how many, bytes so far
_KINDS_OF_DATA = "targets|sample_weight|n_bytes|positions"


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during `evaluate`; ``tally`` holds the rows that were counted before it, each of them once."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(f"interrupted after {tally.n + tally.ignored} rows")
        self.tally = tally

    def __reduce__(self) -> tuple[type, tuple[Tally]]:
        """For another process."""
        return type(self), (self.tally,)


def count(
    tally: Tally, watch: Watch, source: Source, progress: Progress | None, checkpoint: Checkpoint | None
) -> tuple[Tally, Watch]:
    """Add the rows of a source to a tally and show them to the observers; from a checkpoint on, if any."""
    done = Progressed(tally, watch, 0, 0)
    if checkpoint is not None:
        done = checkpoint.read(watch) or done
    try:
        for block in source.blocks(done.rows):
            with whole():
                _add(done.tally, done.watch, block, source)
                done = done._replace(rows=block.first + block.rows, n_bytes=done.n_bytes + block.n_bytes)
            if progress is not None:
                progress(done.rows, source.rows, done.n_bytes)
            if checkpoint is not None and checkpoint.is_due():
                checkpoint.write(done)
    except KeyboardInterrupt as error:
        try:
            if checkpoint is not None:
                checkpoint.write(done)
        except LastlayerError as unsaved:  # the rows so far are not lost with it
            raise EvaluationInterrupted(done.tally) from unsaved
        raise EvaluationInterrupted(done.tally) from error
    if checkpoint is not None:
        checkpoint.write(done)
    return done.tally, done.watch


def _add(tally: Tally, watch: Watch, block: Block, source: Source) -> None:
    """Add a block; errors name the row among all rows."""
    o = tally.options
    before = tally.invalid
    try:
        scores = block.scores if isinstance(block.scores, np.ndarray) else to_host(block.scores)
        array, shape = scores_of("evaluate", scores, o)
        rows = np.arange(block.first, block.first + block.rows).reshape(shape)
        tally.update(scores, block.targets, rows=rows, **block.facts)
    except LastlayerError as error:
        raise located(error, block) from error
    given = getattr(block.targets, "shape", ())
    is_dense = not o.binary and tuple(given) == tuple(block.scores.shape)
    is_dense = is_dense and number_family(block.targets) != ""
    dense = scores_of("evaluate", block.targets, o)[0] if is_dense else None
    watch.see(array, dense, block.position, tally.invalid > before)
    if block.rows == source.rows and not o.binary:
        watch.have_all(scores, block.targets if is_dense else None)


def located(error: LastlayerError, block: Block) -> LastlayerError:
    """The error of a block, with the row's number among all rows."""
    argument, found = error.argument, re.fullmatch(rf"({_KINDS_OF_DATA})\[(\d+)\]", error.argument)
    of_a_part = isinstance(block.targets, tuple) and not isinstance(error, OptionError)
    if found and not of_a_part:
        position = block.position(int(found[2]))
        argument = f"{found[1]}[{', '.join(map(str, position))}]"
    return type(error)("evaluate", argument, error.found, error.rule, error.remedy)
