"""The protocol of training data. A solver reads rows only as sums over them, and as samples.

With parameters P = [W, b] of shape (K, D + 1), features x of N rows, weights s of the rows, and logits
z = W x + b, a pass over the rows gives ::

    loss     = sum_n s_n cross_entropy(z_n, t_n)
    gradient = sum_n s_n (softmax(z_n) - t_n) [x_n, 1]^T                                        (K, D + 1)

K is the number of classes, or 1 for two classes, whose logits are then (0, z). Sums are additive: rows may be
divided among blocks, threads or machines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Rows", "Sums", "logits_of"]

Floats = npt.NDArray[np.floating[Any]]


class Sums(NamedTuple):
    """Sums over rows, in float64."""

    loss: float
    gradient: Floats  # (K, D + 1)
    noise: float  # the sum of |s (softmax - t)|^2, which determines the sampling noise of a sample's gradient


class Rows(Protocol):
    """Training data."""

    count: int
    features: int
    classes: int
    total: float  # the sum of the weights of the rows

    def start(self) -> Floats:
        """Parameters of zeros, (K, D + 1)."""

    def sums(self, parameters: Floats) -> Sums:
        """Loss and gradient: one pass over the rows."""

    def hessian(self, parameters: Floats) -> Callable[[Floats], Floats]:
        """The Hessian of the loss at the parameters: a direction (K, D + 1) -> their product."""

    def diagonal(self, parameters: Floats) -> Floats:
        """The diagonal of that, (K, D + 1)."""

    def shares(self) -> Floats:
        """The share of each class in the targets, (V,)."""

    def sample(self, count: int, rng: np.random.Generator) -> Any:
        """Rows drawn without replacement, in memory (`DenseRows` or `SparseRows`)."""

    @property
    def is_exact(self) -> bool:
        """Whether every product is in float64."""

    @property
    def rounding(self) -> float:
        """A bound on the mean gradient's rounding error, compared with products in float64."""

    def exact(self) -> Rows:
        """The same rows, with every product in float64."""


def logits_of(classes: int) -> int:
    """The number of logits K that are fitted."""
    return 1 if classes == 2 else classes
