"""Logits that are computed from features, some rows at a time. In: a source of features, a linear head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer.blocks import to_host
from lastlayer.errors import OptionError, ShapeError
from lastlayer.problem import is_top_k

from .source import Block, Source
from .values import spread

__all__ = ["OF_ONE", "LinearSource", "logits_of"]

_LOGITS = 1 << 22  # float64 numbers at once, unless one row alone has more
_WEIGHTS = 1 << 22  # of the weights in float64 at once, unless one class alone has more

Floats = npt.NDArray[np.float64]


# What to do with the log-probability of class 1 alone, which is not its logit.
OF_ONE = "pass x - log(1 - exp(x)) of each log-probability x"


def logits_of(source: Source, weight: Any, bias: Any, axis: int, binary: bool = False) -> Source:
    """A source of logits: those of the source, or of its features and a linear head."""
    if source.kind not in (None, "logits", "log-probabilities"):  # logarithms of probabilities are logits too
        remedy = "pass their logarithms"
        raise OptionError("fit_temperature", "scores", f"{source.kind}, as the data says", "logits", remedy)
    if binary and source.kind == "log-probabilities":
        found, rule = f"{source.kind}, as the data says", "logits with binary=True"
        raise OptionError("fit_temperature", "scores", found, rule, OF_ONE)
    return source if weight is None else LinearSource(source, weight, bias, axis)


class LinearSource:
    """The rows of another source, times the weights of a linear head, whose classes are on the last axis.

    ``axis``: that of the features.
    """

    def __init__(self, features: Source, weight: Any, bias: Any, axis: int = -1) -> None:
        self.features, self.axis, self.weight = features, axis, to_host(weight)
        self.bias = None if bias is None else to_host(bias)
        if self.weight.ndim != 2 or self.weight.shape[1] != features.classes:
            found, rule = f"of shape {self.weight.shape}", f"(V, {features.classes}), a row for each class"
            raise ShapeError("fit_temperature", "weight", found, rule)
        self.classes, self.rows, self.n_bytes = int(self.weight.shape[0]), features.rows, features.n_bytes
        if self.bias is not None and self.bias.shape != (self.classes,):
            found, rule = f"of shape {self.bias.shape}", f"({self.classes},), a number for each class"
            raise ShapeError("fit_temperature", "bias", found, rule)
        self.kind, self.labels = None, None

    def identity(self) -> dict[str, Any]:
        """That of the features, and the head's shape."""
        return {"features": self.features.identity(), "weight": list(self.weight.shape)}

    def blocks(self, start: int) -> Iterator[Block]:
        """The logits of a few rows, which are numbered one after another whatever axes they have."""
        some = max(1, _LOGITS // self.classes)
        for block in self.features.blocks(start):
            x = np.moveaxis(to_host(block.scores), self.axis, -1)
            shape = x.shape[:-1]
            n, x = math.prod(shape), x.reshape(-1, x.shape[-1])
            facts = {name: spread("fit_temperature", name, v, shape) for name, v in block.facts.items()}
            targets = self._flat(block.targets, shape)
            for begin in range(0, n, some):
                part = slice(begin, min(begin + some, n))
                z, count = self._logits(x[part].astype(np.float64)), part.stop - begin
                y = tuple(t[part] for t in targets) if isinstance(targets, tuple) else targets[part]
                n_bytes = block.n_bytes * part.stop // n - block.n_bytes * begin // n
                some_facts = {name: value[part] for name, value in facts.items()}
                yield Block(z, y, block.first + begin, count, n_bytes, some_facts)

    def _flat(self, targets: Any, shape: tuple[int, ...]) -> Any:
        """Targets of rows that have one axis, if they fit; the others are an error later."""
        if is_top_k(targets):
            indices, p, *rest = (to_host(part) for part in targets)
            k = max(1, indices.shape[-1])
            return (
                indices.reshape(-1, k),
                p.reshape(-1, k),
                *(np.broadcast_to(r, shape).reshape(-1) for r in rest),
            )
        n = math.prod(shape)
        array = targets if isinstance(targets, np.ndarray) else to_host(targets)
        return array.reshape(n, self.classes) if array.size == n * self.classes > n else array.reshape(-1)

    def _logits(self, x: Floats) -> Floats:
        """x @ weight.T + bias, with some classes of the weights in float64 at a time."""
        z = np.empty((len(x), self.classes))
        step = max(1, _WEIGHTS // max(1, x.shape[1]))
        for begin in range(0, self.classes, step):
            part = slice(begin, begin + step)
            np.matmul(x, self.weight[part].T.astype(np.float64), out=z[:, part])
        return z if self.bias is None else np.add(z, self.bias, out=z)
