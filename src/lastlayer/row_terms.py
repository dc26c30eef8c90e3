"""Weights and z-loss of each row, in NumPy arrays. In: targets, row statistics. Out: one number per row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .arrays import Array
from .row_statistics import RowStats

__all__ = ["pulled", "weights", "z_losses"]


def weights(targets: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """The fields ``weight`` and ``target_weight`` of `RowStats`, from `problem.Targets` of rows ``shape``."""
    s, w = targets.sample_weight, targets.class_weight
    if s is None and w is None and targets.kind == "index" and targets.array.shape == shape:
        ones = (targets.array != targets.ignore_index).astype(np.float64)  # all 1 if ignore_index is None
        return {"weight": ones, "target_weight": ones}
    s = None if s is None else np.array(s, np.float64).reshape(shape)  # a copy: it becomes a result
    if targets.kind != "index":
        return {"weight": np.ones(shape) if s is None else s[()]}
    y = np.asarray(targets.array).reshape(shape)
    counts = np.ones(shape, bool) if targets.ignore_index is None else y != targets.ignore_index
    ones = counts.astype(np.float64)
    weight = ones if s is None else np.where(counts, s, 0.0)
    if w is not None:
        ones = np.where(counts, np.asarray(w, np.float64)[np.where(counts, y, 0).astype(np.int64)], 0.0)
    return {"weight": weight[()], "target_weight": ones[()]}


def z_losses(stats: RowStats, weight: float, s: Array | None) -> Array | float:
    """``weight s lse^2`` of each row. It is 0 where s is 0, even if lse is NaN. ``s=None`` means 1."""
    if not weight:
        return 0.0
    found: Array = weight * stats.lse**2
    return found if s is None else np.where(s == 0, 0.0, found * s)


def pulled(stats: RowStats, weight: float, s: Array | None) -> RowStats:
    """The statistics with ``mass + 2 weight s lse`` as mass: the factor of p in a row's gradient."""
    if not weight:
        return stats
    pull = 2 * weight * stats.lse
    return replace(stats, mass=stats.mass + (pull if s is None else np.where(s == 0, 0.0, pull * s)))
