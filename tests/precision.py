"""Measures the errors that `declared.py` bounds: a sample of logits, its truth, and the largest error in ULP.

The true results are computed by the definition in a wider type (float64 for logits of at most 32 bits,
longdouble for float64), without cancellation and without the code under test. A test compares them with
`oracle.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
from assertions import ulp
from backends import on

import lastlayer as ll
from lastlayer.backends.core import native

try:
    from lastlayer import _core
except ImportError:  # not built: the reference alone
    _core = None  # type: ignore[assignment]

__all__ = [
    "QUANTITIES",
    "SCALES",
    "SIZES",
    "Truth",
    "elementary",
    "engines",
    "largest",
    "ours",
    "sample",
    "use",
]

QUANTITIES = ("softmax", "log_softmax", "loss", "gradient", "logsumexp")
SCALES = (1, 5, 20)
SIZES = (2, 3, 10, 1000, 128256)
DTYPES = ("float32", "float64", "float16", "bfloat16")
LONG = np.finfo(np.longdouble).nmant >= 63  # otherwise longdouble is not precise enough for float64


def engines() -> tuple[str, ...]:
    """The names of all engines on this machine: each ISA of the native core, and the reference."""
    return (*(native.isas() if _core is not None else ()), "reference")


def use(engine: str) -> contextlib.AbstractContextManager[None]:
    """Run the functions on one engine."""
    return on(engine if engine == "reference" else f"native:{engine}")


def numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def sample(
    scale: float, classes: int, dtype: str, entries: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits of a scale; every other target is the class of the highest score, where a loss is small."""
    rng = np.random.default_rng([seed, int(scale), classes])
    logits = (rng.standard_normal((max(4, entries // classes), classes)) * scale).astype(numpy_dtype(dtype))
    targets = rng.integers(0, classes, size=len(logits))
    targets[::2] = logits[::2].astype(np.float64).argmax(axis=1)
    return logits, targets


class Truth:
    """The true `values` of all quantities, and one ULP at each of them, `units`."""

    def __init__(self, logits: np.ndarray, targets: np.ndarray) -> None:
        wide = np.longdouble if logits.dtype == np.float64 else np.float64
        z, rows = logits.astype(wide), np.arange(len(logits))
        top = z.argmax(axis=1)
        peak = z[rows, top]
        d = z - peak[:, None]
        with np.errstate(under="ignore"):
            e = np.exp(d)
            e[rows, top] = 0
            rest = e.sum(axis=1)  # without the peak's own 1, for log1p
            e[rows, top] = 1
            p = e / (1 + rest)[:, None]
        log_rest = np.log1p(rest)
        log_p = d - log_rest[:, None]
        gradient = p.copy()
        others = np.where(targets == top, rest, 1 + rest - e[rows, targets])
        gradient[rows, targets] = -others / (1 + rest)
        self.values = {
            "softmax": p,
            "log_softmax": log_p,
            "loss": -log_p[rows, targets],
            "gradient": gradient,
            "logsumexp": peak + log_rest,
        }
        own = logits.dtype
        loss = np.dtype(np.float64 if own == np.float64 else np.float32)
        lse = self.values["logsumexp"]
        self.units = {
            "softmax": ulp(p, own),
            "log_softmax": ulp(log_p, own),
            "loss": ulp(self.values["loss"], loss),
            "gradient": ulp(np.maximum(p, np.abs(gradient)), own),
            "logsumexp": ulp(np.maximum(np.abs(peak), np.abs(lse)), loss),
        }


def ours(logits: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Compute all quantities with lastlayer."""
    return {
        "softmax": ll.softmax(logits),
        "log_softmax": ll.log_softmax(logits),
        "loss": ll.cross_entropy(logits, targets, reduction="none"),
        "gradient": ll.cross_entropy_grad(logits, targets, reduction="sum")[1],
        "logsumexp": ll.logsumexp(logits),
    }


def largest(truth: Truth, got: dict[str, np.ndarray], least: float = 0.0) -> dict[str, float]:
    """Find the largest error of each quantity, in ULP; inf where a result is not finite.

    True values below ``least`` may be anything from 0 to it: GPU kernels make numbers below the smallest
    normal one 0.
    """
    found = {}
    for name, values in got.items():
        true, values = truth.values[name], np.asarray(values).astype(np.longdouble)
        errors = np.abs(values - true) / truth.units[name]
        errors[(np.abs(true) < least) & (np.abs(values) <= least)] = 0.0
        worst = float(errors.max()) if errors.size else 0.0
        found[name] = worst if worst == worst else np.inf
    return found


def elementary(name: str, x: np.ndarray) -> float:
    """Find the largest error of `exp_f32`, `log1p_f32`, ... of the native core on x, in ULP."""
    got = np.empty_like(x)
    getattr(_core, name)(x, got)
    wide = x.astype(np.longdouble if x.dtype == np.float64 else np.float64)
    with np.errstate(under="ignore"):
        truth = np.exp(wide) if name.startswith("exp") else np.log1p(wide)
    bits, least = (52, -1022) if x.dtype == np.float64 else (23, -126)
    one = np.ldexp(truth.dtype.type(1), np.maximum(np.frexp(truth)[1] - 1, least) - bits)
    same = got == truth  # infinities, and values that round to zero
    errors = np.where(same, 0, np.abs(got.astype(truth.dtype) - truth) / one)
    worst = float(errors.max())
    return worst if worst == worst else np.inf


def all_floats(first: float, last: float, step: int = 1, block: int = 1 << 20) -> Iterator[np.ndarray]:
    """Every step-th float32 between two of one sign, in blocks, the two themselves included."""
    low, high = sorted(int(np.float32(value).view(np.uint32)) for value in (first, last))
    for start in range(low, high + 1, block * step):
        stop = min(start + block * step, high + 1)
        yield np.arange(start, stop, step, dtype=np.uint32).view(np.float32)
    yield np.array([first, last], np.float32)
