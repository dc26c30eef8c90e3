"""Arrays in memory, on disk or on a device. In: anything with a shape that is sliced by rows. Out: blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lastlayer.blocks import row_blocks
from lastlayer.errors import OptionError, ShapeError, named

from .ahead import Ahead
from .source import BLOCK_BYTES, BLOCK_ROWS, Block
from .values import Part, array_of, fingerprint, keys_of, sliced

__all__ = ["ArraySource"]

Box = tuple[slice, ...]


class ArraySource:
    """Scores and targets that are read some rows at a time, in the order of the array."""

    kind: str | None = None
    labels: tuple[Any, ...] | None = None

    def __init__(self, scores: Any, targets: Any, axis: int, binary: bool, facts: dict[str, Any]) -> None:
        self.scores, self.binary = array_of("scores", scores), binary
        scores = self.scores
        shape = tuple(int(n) for n in scores.shape)
        if not shape or (len(shape) == 1 and not binary):
            rule = "rows of scores; of a single row pass " + named("scores[None]")
            raise ShapeError("evaluate", "scores", f"of shape {shape}", rule)
        if binary:  # (...) or (..., 1)
            self.axis = len(shape) - 1 if len(shape) > 1 and shape[-1] == 1 else None
        elif -len(shape) <= axis < len(shape):
            self.axis = axis % len(shape)
        else:
            raise OptionError("evaluate", "axis", str(axis), f"an axis of scores of shape {shape}")
        self.shape = tuple(n for k, n in enumerate(shape) if k != self.axis)  # of the rows
        self.classes = 2 if binary else shape[axis]
        self.rows: int | None = math.prod(self.shape)
        self._item, self._each = int(getattr(scores.dtype, "itemsize", 8)), 1 if binary else self.classes
        self.n_bytes: int | None = self._item * math.prod(shape)
        self.is_top_k = isinstance(targets, tuple) and len(targets) in (2, 3) and hasattr(targets[0], "shape")
        parts = targets if self.is_top_k else (targets,)
        self.targets = tuple(array_of("targets", part) for part in parts)
        self.facts = {k: array_of(k, v) for k, v in facts.items() if v is not None}
        self._check_lengths()

    def _check_lengths(self) -> None:
        for name, value in {"targets": self.targets[0], **self.facts}.items():
            given = tuple(int(n) for n in value.shape)
            is_dense = name == "targets" and given == tuple(self.scores.shape)
            if given and not is_dense and given[0] != self.shape[0]:
                where = " has on its first axis" if self.axis else " has"
                rule = f"{self.shape[0]}{'' if self.axis else ' rows'} as " + named("scores") + where
                raise ShapeError("evaluate", name, f"of length {given[0]}", rule)

    def identity(self) -> dict[str, Any]:
        """The shapes and dtypes, digests, and the state of files."""
        found = {"scores": fingerprint(self.scores), "targets": [fingerprint(t) for t in self.targets]}
        return found | {name: fingerprint(value) for name, value in self.facts.items()}

    def cut(self, start: int, stop: int) -> ArraySource:
        """The rows of these positions on the first axis, which is none of classes."""
        scores, *parts = (_cut(v, start, stop) for v in (self.scores, *self.targets))
        facts = {name: _cut(value, start, stop) for name, value in self.facts.items()}
        targets = tuple(parts) if self.is_top_k else parts[0]
        axis = -1 if self.axis is None else self.axis
        found = ArraySource(scores, targets, axis, self.binary, facts)
        found.kind, found.labels = self.kind, self.labels
        return found

    def blocks(self, start: int) -> Iterator[Block]:
        """Boxes of rows, one after another."""
        first, ahead = 0, Ahead(self.scores if self.axis in (None, len(self.shape)) else None)
        whole = (*self.shape, max(1, self._each))
        size = min(BLOCK_BYTES // self._item, BLOCK_ROWS * max(1, self._each))
        for found in row_blocks(whole, len(self.shape), size):
            n = math.prod(part.stop - part.start for part in found.box)
            ahead.of(max(first, start) * self._each * self._item)
            if first >= start:
                yield self._block(found.box, first, n)
            elif first + n > start:  # another split has ended here: its rows one by one
                for i in range(start - first, n):
                    yield self._block(tuple(slice(k, k + 1) for k in found.position(i)), first + i, 1)
            first += n

    def _block(self, box: Box, first: int, n: int) -> Block:
        of_scores = box if self.axis is None else (*box[: self.axis], slice(None), *box[self.axis :])
        facts: dict[str, Any] = {}
        for name, value in self.facts.items():
            part = sliced(value, box)
            facts[name] = keys_of(name, part) if name in ("groups", "documents") else part
        if len(box) > 1:
            size = tuple(part.stop - part.start for part in box)
            facts["positions"] = np.broadcast_to(np.arange(box[-1].start, box[-1].stop), size)
        is_dense = not self.is_top_k and tuple(self.targets[0].shape) == tuple(self.scores.shape)
        targets = tuple(sliced(t, of_scores if is_dense else box) for t in self.targets)
        scores = sliced(self.scores, of_scores)
        n_bytes = n * self._each * self._item
        return Block(scores, targets if self.is_top_k else targets[0], first, n, n_bytes, facts, box)


def _cut(array: Any, start: int, stop: int) -> Any:
    """Some positions of an array's first axis; nothing is read."""
    if not array.shape:
        return array
    return array[start:stop] if isinstance(array, np.ndarray) else Part(array, start, stop - start)
