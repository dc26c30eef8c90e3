"""Targets and weights of training data. In: logits. Out: losses, their gradients, probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer import functional

from .rows import Floats, logits_of

__all__ = ["RowTargets", "pairs"]


def pairs(z: Floats) -> Floats:
    """The logits of all classes; for two classes, which have one logit z, (0, z)."""
    return np.concatenate([np.zeros_like(z), z], axis=1) if z.shape[1] == 1 else z


class RowTargets:
    """Targets and weights of rows. ``targets``: class indices (N,), or probabilities (N, V)."""

    def __init__(self, targets: Any, classes: int, weight: Floats | None, smoothing: float) -> None:
        is_index = targets.ndim == 1
        self.targets = np.ascontiguousarray(targets, np.int64) if is_index else targets
        self.weight = None if weight is None else np.ascontiguousarray(weight, np.float64)
        self.classes, self.smoothing = classes, smoothing
        self.count = len(targets)
        self.total = float(self.count if weight is None else np.sum(weight, dtype=np.float64))
        self.logits = logits_of(classes)

    def losses(self, z: Floats, cut: slice = slice(None)) -> tuple[Floats, Floats]:
        """The loss of some rows and its gradient (n, K), both times the row's weight."""
        losses, g = functional.cross_entropy_grad(
            pairs(z),
            self.targets[cut],
            sample_weight=None if self.weight is None else self.weight[cut],
            label_smoothing=self.smoothing,
            ignore_index=None,
            reduction="none",
        )
        return losses, np.ascontiguousarray(g[:, 1:]) if self.logits == 1 else g

    def softmax(self, z: Floats, out: Floats | None = None) -> Floats:
        """The softmax of logits, or the sigmoid of one logit: (n, K). ``out`` may be used for the result."""
        if self.logits == 1:
            p: Floats = functional.softmax(pairs(z))
            return p[:, 1:]
        return functional.softmax(z, out=out)

    def weighted(self, values: Floats, cut: slice = slice(None)) -> Floats:
        """Values (n, K) of some rows, each row multiplied by its weight in place."""
        if self.weight is not None:
            values *= self.weight[cut, None].astype(values.dtype)
        return values

    def shares(self) -> Floats:
        """The share of each class in the targets, (V,)."""
        if self.targets.ndim == 2:
            weight = np.ones(self.count) if self.weight is None else self.weight
            return np.asarray(weight @ self.targets / self.total)
        return np.asarray(np.bincount(self.targets, self.weight, self.classes) / self.total)

    def chosen(self, count: int, rng: np.random.Generator) -> Any:
        """The indices of rows drawn without replacement, in order."""
        return np.sort(rng.choice(self.count, min(count, self.count), replace=False))
