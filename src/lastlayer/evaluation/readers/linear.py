"""Logits that are computed from features, some rows at a time. In: a source of features, a linear head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lastlayer.blocks import to_host
from lastlayer.errors import ShapeError

from .source import Block, Source

__all__ = ["LinearSource"]

_ELEMENTS = 1 << 22  # of logits at once, unless one row alone has more


class LinearSource:
    """The rows of another source, times the weights of a linear head."""

    def __init__(self, features: Source, weight: Any, bias: Any) -> None:
        self.features, self.weight = features, to_host(weight)
        self.bias = None if bias is None else to_host(bias)
        if self.weight.ndim != 2 or self.weight.shape[1] != features.classes:
            found, rule = f"of shape {self.weight.shape}", f"(V, {features.classes}), a row for each class"
            raise ShapeError("fit_temperature", "weight", found, rule)
        self.classes, self.rows, self.n_bytes = int(self.weight.shape[0]), features.rows, features.n_bytes
        self.kind, self.labels = features.kind, None

    def identity(self) -> dict[str, Any]:
        """That of the features, and the head's shape."""
        return {"features": self.features.identity(), "weight": list(self.weight.shape)}

    def blocks(self, start: int) -> Iterator[Block]:
        """The logits of a few rows."""
        some = max(1, _ELEMENTS // self.classes)
        for block in self.features.blocks(start):
            x = to_host(block.scores)
            for begin in range(0, len(x), some):
                part = slice(begin, min(begin + some, len(x)))
                z = x[part].astype(np.float64) @ self.weight.T.astype(np.float64)
                z = z if self.bias is None else z + self.bias
                facts = {name: value[part] for name, value in block.facts.items()}
                yield Block(z, block.targets[part], block.first + begin, len(z), z.nbytes, facts)
