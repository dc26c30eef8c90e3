"""Batches from a loop, such as a DataLoader. In: an iterable of (scores, targets) or dicts. Out: blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lastlayer.errors import DtypeError, OptionError

from .source import Block

__all__ = ["BatchSource"]

_FACTS = ("sample_weight", "n_bytes", "groups", "documents", "positions")


class BatchSource:
    """An iterable that is gone through once; its first batch says how many classes there are."""

    kind: str | None = None
    labels: tuple[Any, ...] | None = None
    rows: int | None = None
    n_bytes: int | None = None

    def __init__(self, batches: Iterable[Any], axis: int, binary: bool) -> None:
        self.batches, self.axis, self.binary = iter(batches), axis, binary
        first = next(self.batches, None)
        if first is None:
            raise OptionError("evaluate", "scores", "an iterable without a batch", "at least one batch")
        self.head = self._read(first)
        shape = self.head[0].shape
        self.classes = 2 if binary else int(shape[axis])

    def identity(self) -> list[Any]:
        """Nothing: batches cannot be told from others."""
        raise OptionError("evaluate", "checkpoint", "given", "None with batches, which cannot be read again")

    def _read(self, batch: Any) -> tuple[Any, Any, dict[str, Any]]:
        if isinstance(batch, Mapping):
            if not {"scores", "targets"} <= set(batch):
                found = f"with keys {sorted(map(str, batch))}"
                raise OptionError("evaluate", "batch", found, "'scores' and 'targets'")
            facts = {name: batch[name] for name in _FACTS if name in batch}
            return batch["scores"], batch["targets"], facts
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not hasattr(batch[0], "shape"):
            found = f"a {type(batch).__name__}"
            raise DtypeError("evaluate", "batch", found, "(scores, targets), or a dict with these names")
        return batch[0], batch[1], {}

    def blocks(self, start: int) -> Iterator[Block]:  # noqa: ARG002 - there is only the beginning
        """The batches."""
        position, batch = 0, self.head
        while True:
            scores, targets, facts = batch
            n = math.prod(int(k) for k in scores.shape) // (1 if self.binary else self.classes)
            size = int(getattr(scores.dtype, "itemsize", 8)) * math.prod(int(k) for k in scores.shape)
            yield Block(scores, targets, position, n, size, facts)
            position += n
            following = next(self.batches, None)
            if following is None:
                return
            batch = self._read(following)
