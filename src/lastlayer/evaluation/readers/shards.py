"""Several sources, one after another. In: the sources of a folder's files. Out: blocks of all their rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lastlayer.errors import OptionError, ShapeError

from .arrays import ArraySource
from .source import Block
from .values import fingerprint

__all__ = ["Shards"]


class Shards:
    """The rows of several sources.

    ``whole``: arrays for all of them, which need this length on the first axis.
    """

    def __init__(
        self, parts: Sequence[ArraySource], whole: dict[str, Any] | None = None, length: int = 0
    ) -> None:
        self.parts, self.whole, first = parts, whole or {}, parts[0]
        self.classes, self.kind, self.labels = first.classes, first.kind, first.labels
        for part in parts[1:]:
            if (part.classes, part.kind) != (self.classes, self.kind):
                found = f"of {part.classes} classes and {self.classes}, kind {part.kind!r} and {self.kind!r}"
                raise OptionError("evaluate", "scores", found, "files of the same classes and kind")
        self.rows: int | None = sum(p.rows or 0 for p in parts)
        self.n_bytes: int | None = sum(p.n_bytes or 0 for p in parts)
        for name, value in self.whole.items():
            if int(value.shape[0]) != length:
                rule = f"{length}, as all files together have on their first axis"
                raise ShapeError("evaluate", name, f"of length {int(value.shape[0])}", rule)

    def identity(self) -> dict[str, Any]:
        """Those of the parts."""
        found: dict[str, Any] = {"files": [part.identity() for part in self.parts]}
        return found | {name: fingerprint(value) for name, value in self.whole.items()}

    def blocks(self, start: int) -> Iterator[Block]:
        """The blocks of each part."""
        rows, length = 0, 0  # so far; of files of sequences a length is not a number of rows
        for part in self.parts:
            n = part.rows or 0
            if start < rows + n:
                for block in part.blocks(max(0, start - rows)):
                    yield block.moved(rows, length)
            rows, length = rows + n, length + part.shape[0]
