"""The canonical form that every backend computes from: `Scores` for softmax, `Problem` for losses.

``Targets`` is the effective target ``t`` of each row::

    t_ij = s_i w_j (on q_ij + off)      q_i: one-hot of an index target, the dense row, or what `TopK` lists
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

new_tuple = tuple.__new__  # a named tuple without the keyword arguments, at half the time
LIMIT = 1 << 63  # of ignore_index
LEAST = 1e-200  # of what is divided by: quotients of ordinary numbers stay finite
MOST = 1e18  # of a weight: products of two are numbers of float32
ROUNDED = 0.01  # of a rest: what the rounding of 16-bit probabilities can make of 0


class Scores(NamedTuple):
    """Logits, log-probabilities or probabilities, with one class axis."""

    function: str  # the public function, for messages
    array: Array  # floating, at least one axis; NumPy's are aligned and of native byte order
    axis: int  # the class axis, 0 <= axis < array.ndim
    where: Array | None  # bool, broadcast to the array's shape: which classes are possible
    temperature: float  # finite, > 0
    softcap: float | None  # finite, > 0


class WholeScores(Scores):
    """Scores that were integers or bools when they were passed."""


class TopK(NamedTuple):
    """Rows of targets of which K classes are listed: ``q_j = sum_k p_k [index_k = j] + rest / V``."""

    indices: Array  # integers, the rows' shape and K
    probabilities: Array  # the same shape, float32 or float64; finite and >= 0 but where the index is ignored
    rest: Array | None  # the rows' shape, float32 or float64, finite, >= 0; None: 0


class Targets(NamedTuple):
    """Effective targets (see above)."""

    kind: str  # "index", "dense" or "sparse"
    array: Any  # index: integers of the rows' shape; dense: numbers of the scores' shape; sparse: `TopK`
    on: float  # 1 - smoothing
    off: float  # smoothing / V
    class_weight: Array | None  # (V,), float32 or float64, finite, >= 0
    sample_weight: Array | None  # the rows' shape, float32 or float64, finite, >= 0
    ignore_index: int | None  # index: of rows that are ignored; sparse: of entries that do not count
    z_loss: float  # finite, >= 0


class Problem(NamedTuple):
    """A loss to compute: ``scale`` times the sum of the rows' losses, or each row's."""

    scores: Scores
    targets: Targets | None
    scale: Any  # 1 / denominator for the mean, 0 for a mean over nothing; else 1; a float, or a foreign array
    reduction: str  # "mean", "sum" or "none"


class Head(NamedTuple):
    """What makes logits: ``x @ weight.T + bias``. Leading axes of ``x`` are the rows'."""

    x: Array  # floating, (..., D)
    weight: Array  # floating, (V, D), V > 0
    bias: Array | None  # floating, (V,)
    memory: int | None  # bytes that may be used meanwhile, > 0


def held_classes(scores: Scores) -> int:
    """How many classes the scores hold: all V, or those of a shard."""
    return scores.array.shape[scores.axis]  # type: ignore[no-any-return]  # a number, of any library


def all_classes(scores: Scores) -> int:
    """V, which even shares are divided by. A shard does not know it, and has no option that needs it."""
    return held_classes(scores)
