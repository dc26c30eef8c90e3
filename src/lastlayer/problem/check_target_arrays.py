"""Convert targets to arrays and find their kind. In: the user's targets. Out: arrays, or an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from lastlayer.arrays import Array, device, namespace

from .check_arrays import floats, is_float, kind_of, like, native_form, of_rows
from .check_top_k_targets import as_top_k, is_top_k
from .target_errors import bad_target_shape, not_indices
from .types import Scores, TopK
from .wording import unfit

__all__ = ["as_targets", "later", "shifted", "target_logits"]


def as_targets(scores: Scores, rows: tuple[int, ...], targets: Any) -> tuple[Any, str]:
    """The targets as an array or `TopK`, and their kind: "index", "dense" or "sparse"."""
    function, x = scores.function, scores.array
    if is_top_k(targets):
        return as_top_k(scores, rows, *targets), "sparse"
    xp = namespace(x)
    targets = like(xp, function, "targets", targets, x)
    kind = kind_of(xp, targets.dtype)
    if xp is np:
        if kind == "f" and targets.size == 0 and targets.shape == rows:
            targets, kind = targets.astype(np.int64), "i"  # [] has no dtype of its own
        elif kind == "f" and not is_float(targets.dtype):
            targets = targets.astype(np.float64)
        targets = native_form(targets)
    if kind not in "biuf":
        unfit(function, "targets", targets, targets.dtype)
    if tuple(targets.shape) == tuple(x.shape):
        return targets, "dense"
    if tuple(targets.shape) != tuple(rows):
        bad_target_shape(scores, rows, tuple(targets.shape))
    if kind in "bf":
        nan = xp is np and kind == "f" and bool(np.isnan(targets.astype(np.float64)).any())
        not_indices(function, "targets", targets, nan)
    return targets, "index"


def shifted(
    scores: Scores, rows: tuple[int, ...], targets: Any, sample_weight: Array | None, shift: int
) -> tuple[Any, Array | None]:
    """Targets and sample weights moved ``shift`` positions towards the front; the last weights become 0."""
    if shift == 0 or not rows:
        return targets, sample_weight
    xp = namespace(scores.array)
    if sample_weight is None:
        sample_weight = xp.ones(rows, dtype=xp.float32, device=device(scores.array))
    axis = len(rows) - 1
    sample_weight = later(xp, sample_weight, axis, shift)
    if isinstance(targets, TopK):
        return TopK(*(None if a is None else later(xp, a, axis, shift) for a in targets)), sample_weight
    return later(xp, targets, axis, shift), sample_weight


def later(xp: Any, a: Array, axis: int, shift: int) -> Array:
    """``a[shift:]`` along an axis, padded with zeros to the length of ``a``."""
    found = a[(slice(None),) * axis + (slice(shift, None), ...)]
    missing = (*a.shape[:axis], a.shape[axis] - found.shape[axis], *a.shape[axis + 1 :])
    return xp.concat([found, xp.zeros(missing, dtype=a.dtype, device=device(a))], axis=axis)


def target_logits(scores: Scores, value: Any) -> Array:
    """The logit of each row's target, in the shape of the rows."""
    function, x = scores.function, scores.array
    rows = x.shape[: scores.axis] + x.shape[scores.axis + 1 :]
    value = floats(scores, "target_logits", value)
    return of_rows(function, "target_logits", value, rows, "one logit for each row")
