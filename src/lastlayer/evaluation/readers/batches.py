"""Batches from a loop, such as a DataLoader. In: an iterable of (scores, targets) or dicts. Out: blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lastlayer.errors import DtypeError, LastlayerError, OptionError, ShapeError

from .source import Block
from .values import array_of, keys_of

__all__ = ["BatchSource"]

_END: Any = object()  # None is no end: a loader may give it for a batch that it could not read
_FACTS = ("sample_weight", "n_bytes", "groups", "documents", "positions")


class BatchSource:
    """An iterable of batches; its first one says how many classes there are."""

    kind: str | None = None
    labels: tuple[Any, ...] | None = None
    rows: int | None = None
    n_bytes: int | None = None

    def __init__(self, batches: Iterable[Any], axis: int, binary: bool) -> None:
        self.batches, self.axis, self.binary = batches, axis, binary
        self._iterator: Iterator[Any] | None = iter(batches)
        self._again = self._iterator is not batches  # a list or a DataLoader, but no generator
        first = next(self._iterator, _END)
        if first is _END:
            raise OptionError("evaluate", "scores", "an iterable without a batch", "at least one batch")
        self._head = _read(first, 0)
        shape = tuple(int(n) for n in self._head[0].shape)
        if not binary and not -len(shape) <= axis < len(shape):
            raise ShapeError("evaluate", "batch[0]", f"of scores of shape {shape}", f"an axis {axis}")
        self.classes = 2 if binary else shape[axis]

    def identity(self) -> dict[str, Any]:
        """Nothing: the order of batches may be another each time."""
        rule = "None with batches, which may come in another order the next time"
        raise OptionError("evaluate", "checkpoint", "given", rule)

    def blocks(self, start: int) -> Iterator[Block]:  # noqa: ARG002 - there is only the beginning
        """The batches; those of a generator once."""
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            if not self._again:
                rule = "batches that can be read again, such as a list or a DataLoader"
                raise OptionError("evaluate", "scores", "an iterator that was read before", rule)
            iterator = iter(self.batches)
            batch = _read(next(iterator), 0)
        else:
            batch = self._head
        position, number = 0, 0
        while True:
            scores, targets, facts = batch
            elements = math.prod(int(k) for k in scores.shape)
            n = elements // (1 if self.binary else max(1, self.classes))
            n_bytes = elements * int(getattr(scores.dtype, "itemsize", 8))
            yield Block(scores, targets, position, n, n_bytes, facts)
            position, number = position + n, number + 1
            following = next(iterator, _END)
            if following is _END:
                return
            batch = _read(following, number)


def _read(batch: Any, number: int) -> tuple[Any, Any, dict[str, Any]]:
    """The scores, the targets and what else is said of the rows of a batch."""
    facts: dict[str, Any] = {}
    if isinstance(batch, Mapping):
        if not {"scores", "targets"} <= set(batch):
            found = f"with keys {sorted(map(str, batch))}"
            raise OptionError("evaluate", f"batch[{number}]", found, "'scores' and 'targets'")
        unknown = sorted(set(map(str, batch)) - {"scores", "targets", *_FACTS})
        if unknown:
            rule = f"no others than 'scores', 'targets', {', '.join(map(repr, _FACTS))}"
            raise OptionError("evaluate", f"batch[{number}]", f"with keys {unknown}", rule)
        facts = {name: array_of(name, batch[name]) for name in _FACTS if name in batch}
        facts |= {name: keys_of(name, facts[name]) for name in ("groups", "documents") if name in facts}
        scores, targets = batch["scores"], batch["targets"]
    elif isinstance(batch, (tuple, list)) and len(batch) == 2:
        scores, targets = batch
    else:
        found = f"a {type(batch).__name__}" + (
            f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
        )
        raise DtypeError(
            "evaluate", f"batch[{number}]", found, "(scores, targets), or a dict with these names"
        )
    try:
        scores = array_of("scores", scores)
        is_top_k = isinstance(targets, tuple) and len(targets) in (2, 3) and hasattr(targets[0], "shape")
        targets = targets if is_top_k else array_of("targets", targets)
    except LastlayerError as error:
        raise type(error)("evaluate", f"batch[{number}]", error.found, error.rule) from error
    if not len(scores.shape):
        raise ShapeError("evaluate", f"batch[{number}]", "of a single score", "rows of scores")
    return scores, targets, facts
