"""The canonical form that every backend computes from: `Scores` for softmax, `Problem` for losses.

``Targets`` is the effective target ``t`` of each row::

    t_ij = s_i w_j (on q_ij + off)      q_i: one-hot for an index target, the dense row, or see `TopK`
                                        ignored rows: t = 0
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lastlayer.arrays import Array

__all__ = [
    "LEAST",
    "LIMIT",
    "MOST",
    "ROUNDED",
    "Head",
    "Problem",
    "Scores",
    "Targets",
    "TopK",
    "WholeScores",
    "all_classes",
    "held_classes",
    "new_tuple",
]

new_tuple = tuple.__new__  # builds a named tuple in half the time of a call of its class
LIMIT = 1 << 63  # ignore_index is in [-LIMIT, LIMIT): an int64
LEAST = 1e-200  # the smallest divisor: quotients of ordinary numbers stay finite
MOST = 1e18  # the largest weight: a product of two is finite in float32
ROUNDED = 0.01  # a rest from -ROUNDED to 0 counts as 0: 16-bit probabilities are rounded that much


class Scores(NamedTuple):
    """Logits, log-probabilities or probabilities, with one class axis."""

    function: str  # the public function, for messages
    array: Array  # floating-point, at least one axis; a NumPy array is aligned, in native byte order
    axis: int  # the class axis, 0 <= axis < array.ndim
    where: Array | None  # bool, broadcast to the array's shape: which classes are possible
    temperature: float  # finite, > 0
    softcap: float | None  # finite, > 0


class WholeScores(Scores):
    """Scores that the user passed as integers or bools."""


class TopK(NamedTuple):
    """Top-k targets: ``q_j = sum_k p_k [index_k = j] + rest / V``."""

    indices: Array  # integers; the rows' shape, and K as the last axis
    probabilities: Array  # the same shape, float32 or float64; finite and >= 0, except in ignored entries
    rest: Array | None  # the rows' shape, float32 or float64, finite, >= 0; None: 0


class Targets(NamedTuple):
    """Effective targets: see the formula above."""

    kind: str  # "index", "dense" or "sparse"
    array: Any  # index: integers of the rows' shape; dense: numbers of the scores' shape; sparse: `TopK`
    on: float  # 1 - smoothing
    off: float  # smoothing / V
    class_weight: Array | None  # (V,), float32 or float64, finite, >= 0
    sample_weight: Array | None  # the rows' shape, float32 or float64, finite, >= 0
    ignore_index: int | None  # ignores rows with this index; for "sparse", single entries
    z_loss: float  # finite, >= 0


class Problem(NamedTuple):
    """A loss to compute: ``scale`` times the sum of the rows' losses, or for "none" the loss of each row."""

    scores: Scores
    targets: Targets | None
    scale: Any  # 1 / denominator for "mean" (0 if that is 0), else 1; a float, or another library's array
    reduction: str  # "mean", "sum" or "none"


class Head(NamedTuple):
    """A linear head, whose logits are ``x @ weight.T + bias``. The leading axes of ``x`` are the rows."""

    x: Array  # floating-point, (..., D)
    weight: Array  # floating-point, (V, D), V > 0
    bias: Array | None  # floating-point, (V,)
    memory: int | None  # the option max_memory in bytes, > 0


def held_classes(scores: Scores) -> int:
    """How many classes the scores hold: all V, or those of a shard."""
    return scores.array.shape[scores.axis]  # type: ignore[no-any-return]  # a number, of any library


def all_classes(scores: Scores) -> int:
    """V, the number of classes over which smoothing and ``rest`` are spread. Shards allow neither of them."""
    return held_classes(scores)
