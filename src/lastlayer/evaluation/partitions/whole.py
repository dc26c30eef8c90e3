"""All partitions as one array. In: a division, what its arrays are. Out: slices, read where the data is.

An observer asks a small array for a few of its classes, to see whether another axis is that of the classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lastlayer.blocks import to_host
from lastlayer.evaluation.readers.arrays import ArraySource
from lastlayer.evaluation.readers.source import BLOCK_BYTES, BLOCK_ROWS

from .partition import Division, Opened
from .tree import over

__all__ = ["Extent", "Whole"]


class Extent(NamedTuple):
    """The scores of some rows."""

    shape: tuple[int, ...]
    axis: int  # of the classes
    n_bytes: int

    @classmethod
    def of(cls, source: Opened) -> Extent:
        """Of a source that was read."""
        inner = source.source
        if isinstance(inner, ArraySource):
            return cls(tuple(int(n) for n in inner.scores.shape), inner.axis or 0, source.bytes)
        return cls((source.seen, source.classes), 1, source.bytes)

    @property
    def cut(self) -> int:
        """The axis that is divided."""
        return int(self.axis == 0 and len(self.shape) > 1)

    @property
    def is_small(self) -> bool:
        """Whether one machine would read all of it at once."""
        rows = int(np.prod(self.shape)) // max(1, self.shape[self.axis]) if self.shape else 1
        return 0 < rows <= BLOCK_ROWS and self.n_bytes <= BLOCK_BYTES

    def __add__(self, other: Any) -> Extent:
        k = self.cut
        shape = (*self.shape[:k], self.shape[k] + other.shape[k], *self.shape[k + 1 :])
        return Extent(shape, self.axis, self.n_bytes + other.n_bytes)


class Whole:
    """The scores or the dense targets of all rows."""

    def __init__(self, division: Division, part: str, extent: Extent) -> None:
        self._division, self._part, self._cut = division, part, extent.cut
        self.shape = extent.shape

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        """A slice of each axis: one pass over the data."""
        k = self._cut
        inner = tuple(slice(None) if i == k else part for i, part in enumerate(index))
        found = over("evaluate", self._division, _read, _joined, (self._part, k, inner), None)
        return found[1][(slice(None),) * k + (index[k],)]


def _read(parameters: tuple[str, int, tuple[slice, ...]], source: Opened) -> tuple[int, Any]:
    name, cut, index = parameters
    inner = source.source
    if isinstance(inner, ArraySource):
        return cut, to_host(inner.scores if name == "scores" else inner.targets[0])[index]
    blocks = [to_host(getattr(block, name)) for block in source.blocks(0)]
    return cut, np.concatenate(blocks)[index]


def _joined(a: tuple[int, Any], b: tuple[int, Any], *_: Any) -> tuple[int, Any]:
    return a[0], np.concatenate([a[1], b[1]], axis=a[0])
