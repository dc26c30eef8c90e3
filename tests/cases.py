"""Test cases as data, and functions that expand them. A case is a line: a row of logits, its exact results.

``CASES`` are small and exact. The functions surround a case by impossible classes, shift it, put it between
rows of NaN and outliers, and lay it out in memory in various ways. So a few cases cover the remainders of
all vector loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, log, log1p, nan

import ml_dtypes
import numpy as np
from interpreter import INTERPRETED


@dataclass(frozen=True)
class Case:
    name: str
    logits: list  # one row, of numbers that are exact in every dtype
    target: int = 0
    lse: float | None = None
    softmax: list | None = None
    loss: float | None = None
    rank: int | None = None
    argmax: int | None = None
    entropy: float | None = None


_THREE = log(exp(-1.5) + exp(-0.5) + 1)

CASES = [
    Case("one class", [3.0], 0, lse=3.0, softmax=[1.0], loss=0.0, rank=0, argmax=0, entropy=0.0),
    Case(
        "uniform",
        [0, 0, 0, 0],
        2,
        lse=log(4),
        softmax=[0.25] * 4,
        loss=log(4),
        rank=2,
        argmax=0,
        entropy=log(4),
    ),
    Case("two classes", [0, 1], 0, lse=log1p(exp(1)), loss=log1p(exp(1)), rank=1, argmax=1),
    Case("three classes", [1, 2, 2.5], 1, lse=2.5 + _THREE, loss=0.5 + _THREE, rank=1, argmax=2),
    Case(
        "far from zero", [-800, -800], 1, lse=-800 + log(2), softmax=[0.5, 0.5], loss=log(2), rank=1, argmax=0
    ),
    Case("overflows in exp", [1000, 1001, 1002], 2, lse=1002 + log1p(exp(-1) + exp(-2)), rank=0, argmax=2),
    Case("confident and right", [0, 20], 1, lse=20 + log1p(exp(-20)), loss=log1p(exp(-20)), rank=0, argmax=1),
    Case("surer than float32", [0, 64], 1, lse=64.0, loss=exp(-64), rank=0, argmax=1),
    Case("confident and wrong", [0, 64], 0, lse=64.0, loss=64 + exp(-64), rank=1, argmax=1),
    Case("tie before the target", [5, 1, 5], 2, lse=5 + log(2 + exp(-4)), rank=1, argmax=0),
    Case("tie behind the target", [5, 1, 5], 0, lse=5 + log(2 + exp(-4)), rank=0, argmax=0),
    Case(
        "an outlier",
        [0, 0, 512, 0],
        1,
        lse=512.0,
        softmax=[0, 0, 1, 0],
        loss=512.0,
        rank=2,
        argmax=2,
        entropy=0.0,
    ),
    Case(
        "an impossible class",
        [0, -inf, 0],
        0,
        lse=log(2),
        softmax=[0.5, 0, 0.5],
        loss=log(2),
        rank=0,
        argmax=0,
    ),
    Case(
        "an impossible target", [0, -inf, 0], 1, lse=log(2), softmax=[0.5, 0, 0.5], loss=inf, rank=2, argmax=0
    ),
    Case(
        "one possible class",
        [-inf, 7, -inf],
        1,
        lse=7.0,
        softmax=[0, 1, 0],
        loss=0.0,
        rank=0,
        argmax=1,
        entropy=0.0,
    ),
    Case("signed zeros", [-0.0, 0.0], 1, lse=log(2), softmax=[0.5, 0.5], loss=log(2), rank=1, argmax=0),
]

# Rows whose probabilities are not defined. ``argmax`` and ``rank`` are -1 where there is none.
ODD_CASES = [
    Case("nothing possible", [-inf, -inf], 0, lse=-inf, softmax=[nan, nan], loss=nan, argmax=0, entropy=nan),
    Case(
        "not a number", [1, nan, 2], 0, lse=nan, softmax=[nan] * 3, loss=nan, rank=-1, argmax=-1, entropy=nan
    ),
    Case(
        "not a number first",
        [nan, 1],
        1,
        lse=nan,
        softmax=[nan] * 2,
        loss=nan,
        rank=-1,
        argmax=-1,
        entropy=nan,
    ),
    Case("not a number at all", [nan, nan], 1, lse=nan, softmax=[nan] * 2, loss=nan, rank=-1, argmax=-1),
    Case("nan beside inf", [inf, nan, 0], 2, lse=nan, softmax=[nan] * 3, loss=nan, rank=-1, argmax=-1),
    Case("infinite", [1, inf, 2], 0, lse=inf, softmax=[nan] * 3, loss=nan, argmax=1, entropy=nan),
    Case("infinite target", [1, inf, 2], 1, lse=inf, softmax=[nan] * 3, loss=nan, argmax=1, entropy=nan),
    Case("twice infinite", [inf, 0, inf], 1, lse=inf, softmax=[nan] * 3, loss=nan, argmax=0, entropy=nan),
    Case("both infinities", [-inf, inf], 0, lse=inf, softmax=[nan] * 2, loss=nan, argmax=1, entropy=nan),
]

DTYPES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32), np.dtype(np.float64)]
INDEX_DTYPES = [np.dtype(c) for c in "bhilqBHILQ"]

# How many impossible classes stand before and after: every remainder of vectors of 2 to 64 lanes.
PADS = (
    [(n, 0) for n in range(1, 131)]
    + [(0, n) for n in range(1, 131)]
    + [(n, 130 - n) for n in range(0, 131, 13)]
)
FEW_PADS = [(1, 0), (0, 1), (3, 0), (0, 7), (8, 9), (15, 0), (0, 16), (31, 2), (5, 63), (64, 64), (130, 1)]

# How many rows stand before and after: kernels for few classes take several rows at once.
NEIGHBOURS = [(0, 0), (1, 0), (0, 1), (3, 4), (7, 0), (0, 8), (15, 1), (16, 0), (2, 31), (33, 33), (64, 5)]
if INTERPRETED:  # each call takes a tenth of a second
    PADS, FEW_PADS, NEIGHBOURS = [(3, 0), (0, 16), (130, 1)], [(1, 0), (15, 2)], [(0, 1), (16, 2)]


def loss_dtype(dtype):
    """The dtype of losses for logits of this dtype."""
    return np.dtype(np.float64 if np.dtype(dtype).char == "d" else np.float32)


def shifts(case, dtype):
    """The shifts that leave the differences of a case's logits exact in a dtype."""
    logits = np.asarray(case.logits, np.float64)
    for shift in (10000.0, -10000.0, 1024.0, -96.0):
        moved = (logits + shift).astype(dtype).astype(np.float64)
        if np.array_equal(moved - shift, logits, equal_nan=True):
            yield shift


def padded(logits, before, after, value=-np.inf):
    """A row (or rows) of logits between impossible classes."""
    logits = np.asarray(logits)
    width = [(0, 0)] * (logits.ndim - 1) + [(before, after)]
    return np.pad(logits.astype(np.float64), width, constant_values=value)


def among(row, before, after, seed=0):
    """A row between rows of NaN, infinities and outliers, which must not change its results."""
    rng = np.random.default_rng(seed)
    others = rng.normal(size=(before + after, len(row))) * 10
    for i in range(len(others)):
        others[i, rng.integers(len(row))] = rng.choice([nan, inf, -inf, 512.0, -512.0])
    return np.concatenate([others[:before], np.asarray(row, np.float64)[None], others[before:]])


# --- layouts: the same values in other memory layouts -------------------------------------------------------


def _contiguous(x):
    return np.array(x, order="C")


def _fortran(x):
    return np.array(x, order="F")


def _reversed(x):
    turn = (slice(None, None, -1),) * x.ndim
    return np.array(x[turn], order="C")[turn]


def _strided(x):
    wide = np.full([2 * n + 1 for n in x.shape], np.nan if x.dtype.kind not in "iub" else 1).astype(x.dtype)
    view = wide[(*(slice(1, None, 2) for _ in x.shape), ...)]
    view[...] = x
    return view


def _read_only(x):
    x = np.array(x)
    x.flags.writeable = False
    return x


def _byte_swapped(x):
    return x if x.dtype.name == "bfloat16" else x.astype(x.dtype.newbyteorder())


def _misaligned(x):
    buffer = np.empty(x.nbytes + 1, np.uint8)
    view = buffer[1:].view(x.dtype).reshape(x.shape) if x.size else x
    view[...] = x
    return view


def _inner(x):
    """A window of a larger array of NaN, so that reading outside of it changes the result."""
    wide = np.full([n + 4 for n in x.shape], np.nan if x.dtype.kind not in "iub" else 1).astype(x.dtype)
    view = wide[(*(slice(2, -2) for _ in x.shape), ...)]
    view[...] = x
    return view


LAYOUTS = {
    "contiguous": _contiguous,
    "fortran": _fortran,
    "reversed": _reversed,
    "strided": _strided,
    "read-only": _read_only,
    "byte-swapped": _byte_swapped,
    "misaligned": _misaligned,
    "inner": _inner,
}


# --- guards: a buffer to write to, surrounded by a known pattern --------------------------------------------


@dataclass
class Guarded:
    """An array to write to, inside a larger one that is filled with a known pattern."""

    whole: np.ndarray
    view: np.ndarray
    before: bytes

    def check(self):
        """Raise if the memory around the view was written to."""
        kept = self.whole.copy()
        self._blank(kept)
        if kept.tobytes() != self.before:
            raise AssertionError("something was written outside of out=")

    def _blank(self, whole):
        window = whole[
            tuple(slice(3, 3 + n * s, s) for n, s in zip(self.view.shape, self.steps, strict=True))
        ]
        window[...] = 0

    steps: tuple = ()


def guarded(shape, dtype, steps=None):
    """A buffer of this shape, with the pattern around it, and between its elements if ``steps`` exceed 1."""
    steps = tuple(steps or [1] * len(shape))
    whole = np.full([3 + n * s + 3 for n, s in zip(shape, steps, strict=True)], -7.0).astype(dtype)
    view = whole[tuple(slice(3, 3 + n * s, s) for n, s in zip(shape, steps, strict=True))]
    result = Guarded(whole, view, b"", steps)
    blank = whole.copy()
    result._blank(blank)
    result.before = blank.tobytes()
    view[...] = np.nan
    return result
