"""Divide the rows of a large call into blocks, so that what is computed in between stays small.

In: shapes. Out: `Block`s, which take their part of a tensor as a view. Nothing here reads a number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Block", "blocks", "joined"]

SCORES = 1 << 24  # of one block, about: 64 MiB in float32


class Block(NamedTuple):
    """Some of the rows: ``length`` of them from ``start`` on, along one axis of the scores."""

    class_axis: int
    axis: int
    start: int
    length: int

    def of_scores(self, x: Tensor) -> Tensor:
        """Its part of a tensor that has the shape of the scores."""
        return x.narrow(self.axis, self.start, self.length)

    def of_rows(self, t: Tensor) -> Tensor:
        """Its part of a tensor with an axis for each row axis, and perhaps one more at the end."""
        return t.narrow(self.axis - (self.axis > self.class_axis), self.start, self.length)


def blocks(x: Tensor, class_axis: int, least: int = 1) -> list[Block] | None:
    """The blocks of rows of the scores ``x``, in order; None if one block holds them all.

    ``least``: how many blocks at least, if there are so many rows. The rows are divided along the first axis
    that is long enough, so that a block is contiguous in memory where that is possible.
    """
    parts = max(least, -(-x.numel() // SCORES))
    lengths = {i: n for i, n in enumerate(x.shape) if i != class_axis % x.ndim}
    if parts <= 1 or max(lengths.values(), default=1) <= 1:
        return None
    axis = next((i for i, n in lengths.items() if n >= parts), max(lengths, key=lambda i: lengths[i]))
    step = -(-lengths[axis] // parts)
    return [
        Block(class_axis % x.ndim, axis, start, min(step, lengths[axis] - start))
        for start in range(0, lengths[axis], step)
    ]


def joined(found: list[Tensor], division: list[Block] | None) -> Tensor:
    """The rows of all blocks: the opposite of `Block.of_rows`."""
    if division is None:
        return found[0]
    block = division[0]
    return torch.cat(found, block.axis - (block.axis > block.class_axis))
