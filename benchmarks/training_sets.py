"""Data sets for the benchmark of `SoftmaxClassifier`. In: a seed. Out: features and labels.

The first seven are those that the solver was designed on; the last three it had not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.datasets import load_digits


class Case(NamedTuple):
    """One line of the table; ``asks``: times faster than the best peer, at tolerances of 1e-4 and 1e-6."""

    name: str
    make: Callable[[int], tuple[Any, Any]]
    asks: tuple[float, float]
    penalty: float = 1.0  # C
    memory: int | None = None
    peers: tuple[str, ...] = ("lbfgs", "newton-cg", "torch L-BFGS")


def labels(x: Any, weight: Any, rng: np.random.Generator) -> Any:
    """Draw labels from the softmax of x W."""
    z = np.asarray(x @ weight)
    return np.unique(np.argmax(z + rng.gumbel(size=z.shape), axis=1), return_inverse=True)[1]


def normal(n: int, d: int, classes: int, dtype: Any) -> Callable[[int], tuple[Any, Any]]:
    """Independent normal features."""

    def make(seed: int) -> tuple[Any, Any]:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, d), dtype=dtype)
        weight = (rng.standard_normal((d, classes)) / np.sqrt(d) * 3).astype(dtype)
        return x, labels(x, weight, rng)

    return make


def digits(_: int) -> tuple[Any, Any]:
    x, y = load_digits(return_X_y=True)
    return x / 16, y


def probe(seed: int, n: int = 100_000, d: int = 768, classes: int = 10) -> tuple[Any, Any]:
    """Correlated features, as embeddings are: 64 directions hold most of the variance."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 64), dtype=np.float32)
    x = z @ rng.standard_normal((64, d), dtype=np.float32)
    x = (x + 0.5 * rng.standard_normal((n, d), dtype=np.float32)) / 8
    return x, labels(x, (rng.standard_normal((d, classes)) / np.sqrt(d) * 2).astype(np.float32), rng)


def sparse(seed: int, n: int = 10_000, d: int = 100_000, classes: int = 20) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x = scipy.sparse.random(n, d, density=1e-3, format="csr", rng=rng, dtype=np.float64)
    return x, labels(x, rng.standard_normal((d, classes)) * 2, rng)


def badly_scaled(seed: int) -> tuple[Any, Any]:
    x, y = normal(200_000, 50, 5, np.float64)(seed)
    x *= 10 ** np.random.default_rng(seed + 100).uniform(-4, 4, x.shape[1])
    return x, y


def rectified(seed: int, n: int = 30_000, d: int = 300, classes: int = 20) -> tuple[Any, Any]:
    """Features of a rectified layer: many zeros, classes nearly separable."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    z = rng.standard_normal((n, 40)) + 0.8 * rng.standard_normal((classes, 40))[y]
    return np.maximum(z @ rng.standard_normal((40, d)) / 6 - 0.3, 0).astype(np.float32), y


def categories(seed: int, n: int = 60_000, classes: int = 6) -> tuple[Any, Any]:
    """One-hot columns of skewed categories, and a few exponential ones."""
    rng = np.random.default_rng(seed)
    columns = [np.eye(m)[rng.zipf(1.5, n) % m] for m in (5, 12, 30, 50)]
    x = np.concatenate([*columns, rng.exponential(size=(n, 10))], axis=1)
    return x, labels(x, rng.standard_normal((x.shape[1], classes)), rng)


def unbalanced(seed: int, n: int = 50_000, d: int = 100, classes: int = 30) -> tuple[Any, Any]:
    """Features that are not centred, and classes of which the rarest has a three-thousandth of the rows."""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, d)) + 1).astype(np.float32)
    z = x @ (rng.standard_normal((d, classes)) / np.sqrt(d) * 2) + np.linspace(0, -8, classes)
    return x, np.unique(np.argmax(z + rng.gumbel(size=z.shape), axis=1), return_inverse=True)[1]


CASES = [
    Case("digits 1797 x 64 x 10, f64", digits, (2, 1.5)),
    Case("200 000 x 50 x 5, f64", normal(200_000, 50, 5, np.float64), (4, 4)),
    Case("50 000 x 256 x 100, f32", normal(50_000, 256, 100, np.float32), (2.5, 4)),
    Case("100 000 x 768 x 10, f32, correlated", probe, (5, 7)),
    Case("sparse 10 000 x 100 000 x 20", sparse, (2, 2), peers=("lbfgs", "newton-cg")),
    Case("200 000 x 50 x 5, f64, badly scaled", badly_scaled, (5, 5), peers=("newton-cholesky",)),
    Case("rectified 30 000 x 300 x 20, f32", rectified, (1.7, 3)),
    # lbfgs takes minutes here
    Case("categories 60 000 x 107 x 6, f64", categories, (1.7, 3), peers=("newton-cg", "torch L-BFGS")),
    # Newton's methods take minutes here
    Case("unbalanced 50 000 x 100 x 30, f32", unbalanced, (1.7, 3), peers=("lbfgs", "torch L-BFGS")),
]
MANY = Case(
    "20 000 x 128 x 20 000, f32", normal(20_000, 128, 20_000, np.float32), (3, 3), 1.0, 256 << 20, ("lbfgs",)
)
