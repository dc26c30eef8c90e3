"""A source as two arrays, read from the first row to the last by `check`. In: a source. Out: `InOrder`.

One pass over the source serves both arrays; only the blocks that are being read are in memory. A step back
begins the pass again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lastlayer.blocks import BLOCK_SIZE

from .source import Block, Source

__all__ = ["InOrder", "in_order"]


class _Held(NamedTuple):
    """A block in memory."""

    start: int
    stop: int
    parts: tuple[Any, Any]  # scores (n, V); targets (n,) or (n, V)


class _Pass:
    """A pass over the blocks of a source, which holds the last rows that were read."""

    def __init__(self, source: Source, parts: tuple[Callable[[Block], Any], ...]) -> None:
        self.source, self.parts = source, parts
        self.rows = source.rows
        if self.rows is None:
            self.rows = sum(block.rows for block in source.blocks(0))
        self.window = max(1, BLOCK_SIZE // source.classes)  # rows that are read at once
        self.held: list[_Held] = []
        self._begin()

    def _begin(self) -> None:
        self.blocks: Iterator[Block] = self.source.blocks(0)
        self.held = []
        self._step(0)

    def _step(self, stop: int) -> bool:
        """Hold the next block, and no block that ends before the window up to ``stop``."""
        block = next(self.blocks, None)
        if block is None:
            return False
        scores, targets = (part(block) for part in self.parts)
        self.held = [h for h in self.held if h.stop > stop - self.window]
        self.held.append(_Held(block.first, block.first + block.rows, (scores, targets)))
        return True

    def read(self, part: int, start: int, stop: int, rest: tuple[Any, ...]) -> list[Any]:
        """Rows of the scores (0) or targets (1), in pieces."""
        if self.held and start < self.held[0].start:
            self._begin()
        found = []
        while start < stop:
            for one in self.held:
                if one.start <= start < one.stop:
                    end = min(stop, one.stop)
                    index = (slice(start - one.start, end - one.start), *rest)
                    found.append(one.parts[part][index])
                    start = end
            if start < stop and not self._step(start):
                break
        return found


class InOrder:
    """The scores or the targets of a pass, as an array that is read by slices of rows."""

    def __init__(self, source: _Pass, part: int) -> None:
        self._pass, self._part = source, part
        first = source.held[0].parts[part] if source.held else np.empty((0, source.source.classes))
        self.shape, self.dtype = (source.rows, *first.shape[1:]), first.dtype

    def __getitem__(self, index: Any) -> Any:
        rows, *rest = index if isinstance(index, tuple) else (index,)
        start, stop, _ = rows.indices(self.shape[0])
        found = self._pass.read(self._part, start, stop, tuple(rest))
        return np.concatenate(found) if found else np.empty((0, *self.shape[1:]), self.dtype)


def in_order(
    source: Source, scores: Callable[[Block], Any], targets: Callable[[Block], Any]
) -> tuple[InOrder, InOrder]:
    """The scores (N, V), and the targets (N,) or (N, V), which the functions give for each block."""
    both = _Pass(source, (scores, targets))
    return InOrder(both, 0), InOrder(both, 1)
