"""Arrays in memory, on disk or on a device. In: anything with a shape that is sliced by rows. Out: blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lastlayer.blocks import opened
from lastlayer.errors import OptionError, ShapeError

from .source import BLOCK_BYTES, Block

__all__ = ["ArraySource"]


class ArraySource:
    """Scores and targets that are read a few rows of the first axis at a time."""

    kind: str | None = None
    labels: tuple[Any, ...] | None = None

    def __init__(
        self, scores: Any, targets: Any, axis: int, binary: bool, facts: dict[str, Any], name: str = ""
    ) -> None:
        self.scores = opened(scores)
        self.name, self.facts = name, {k: v for k, v in facts.items() if v is not None}
        shape = tuple(int(n) for n in self.scores.shape)
        if not shape or (len(shape) == 1 and not binary):
            rule = "rows of scores; of a single row pass scores[None]"
            raise ShapeError("evaluate", "scores", f"of shape {shape}", rule)
        if not binary and axis % len(shape) == 0 and len(shape) > 1:
            raise OptionError("evaluate", "axis", str(axis), "a class axis behind the rows' first axis")
        self.targets = targets if isinstance(targets, (list, tuple)) else opened(targets)
        self.classes = 2 if binary else shape[axis]
        self.each = math.prod(shape[1:]) // (1 if binary else max(1, shape[axis]))  # rows of one slice
        self.each = max(1, self.each) if shape[0] else 1
        self.length, self.rows = shape[0], shape[0] * self.each
        size = int(getattr(self.scores.dtype, "itemsize", 8)) * max(1, math.prod(shape[1:]))
        self.n_bytes = size * shape[0]
        self.step, self._slice_bytes = max(1, BLOCK_BYTES // size), size
        self._check_lengths()

    def _check_lengths(self) -> None:
        targets = self.targets
        top_k = isinstance(targets, tuple) and len(targets) in (2, 3) and hasattr(targets[0], "shape")
        given = {"targets": targets[0] if top_k else targets} | self.facts
        for name, value in given.items():
            length = int(value.shape[0]) if hasattr(value, "shape") and value.shape else len(value)
            if length != self.length:
                rule = f"{self.length} as scores has on its first axis"
                raise ShapeError("evaluate", name, f"of length {length}", rule)
        self.top_k = top_k

    def identity(self) -> list[Any]:
        """The shape, the dtype and where it lies."""
        return ["array", self.name, [int(n) for n in self.scores.shape], str(self.scores.dtype)]

    def blocks(self, start: int) -> Iterator[Block]:
        """Slices of the first axis."""
        for begin in range(start // self.each, self.length, self.step):
            part = slice(begin, min(begin + self.step, self.length))
            targets = tuple(t[part] for t in self.targets) if self.top_k else self.targets[part]
            facts = {name: value[part] for name, value in self.facts.items()}
            n = part.stop - part.start
            scores = self.scores[part]
            yield Block(scores, targets, begin * self.each, n * self.each, n * self._slice_bytes, facts)


def as_lists(values: Any) -> Any:
    """Values of a table as an array: of numbers where they are, else of objects."""
    return values if hasattr(values, "shape") else np.asarray(values, dtype=object)
