"""Statistics of a shard of the classes. In: its logits, and targets among all classes. Out: `RowStats`.

A backend knows nothing of other shards: it gets the targets in the terms of the shard's own classes, those of
other shards as ignored, and here the statistics are put in their place among all classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import problem
from .arrays import Array, namespace, wide
from .backends.backend import Backend
from .options import Given, Options
from .problem import Problem, Scores
from .resolving import resolve
from .row_statistics import RowStats

__all__ = ["placed", "placed_in", "row_stats", "with_ranks", "with_shard"]


def row_stats(
    scores: Scores, backend: Backend, fields: frozenset[str], shard: Any, given: Given, options: Options
) -> RowStats:
    """``lastlayer.row_stats`` of a shard: (class_offset, target_logits). The targets may be None."""
    offset, target_logits = shard
    function, held = scores.function, problem.held_classes(scores)
    if given[0] is None:
        first = problem.class_offset(function, offset, target_logits, False)
        found = backend.row_stats(problem.without_targets(scores), fields)
        return placed(found, namespace(scores.array), first, held)
    first = problem.class_offset(function, offset, target_logits)
    checked = with_shard(scores, backend, first, given, options)
    assert checked.targets is not None
    found = placed_in(backend.row_stats(checked, fields - {"rank"}), checked, first)
    if target_logits is None:
        return found
    problem.class_offset(function, offset, target_logits, checked.targets.kind == "index")
    z_y = problem.target_logits(scores, target_logits)
    y = problem.shard_indices(scores, given[0]) - first
    return with_ranks(found, namespace(z_y), backend.ranks(scores, y, z_y))


def with_shard(scores: Scores, backend: Backend, first: int, given: Given, options: Options) -> Problem:
    """The problem of a shard whose first class is ``first``."""
    targets, class_weight, sample_weight = given
    own = problem.shard(scores, first, targets, sample_weight, options.ignore_index, options.label_smoothing)
    options = options._replace(
        ignore_index=own.ignore_index, label_smoothing=0.0, z_loss=0.0, reduction="none", denominator=None
    )
    return resolve(scores, backend, (own.targets, class_weight, own.sample_weight), options)


def placed_in(stats: RowStats, checked: Problem, first: int) -> RowStats:
    """`placed`, for the targets of a checked problem."""
    scores, t = checked.scores, checked.targets
    xp, held = namespace(stats.peak), problem.held_classes(scores)
    if t is None or t.kind != "index":
        return placed(stats, xp, first, held)
    return placed(stats, xp, first, held, t.array, wide(xp, t.sample_weight))


def placed(stats: RowStats, xp: Any, first: int, held: int, y: Any = None, weight: Any = None) -> RowStats:
    """The statistics of a shard's classes, among all; ``y`` and ``weight`` as `problem.Shard` has them."""
    found: dict[str, Any] = {"rank": None, "classes": ((first, first + held),)}
    if stats.argmax is not None:
        found["argmax"] = xp.where(stats.argmax < 0, stats.argmax, stats.argmax + first)
    if y is not None:
        found["target"], found["weight"] = xp.where(y < 0, y, y + first), weight
    if xp is np:
        found = {k: v[()] if isinstance(v, np.ndarray) else v for k, v in found.items()}
    return replace(stats, **found)


def with_ranks(stats: RowStats, xp: Any, ranks: Array) -> RowStats:
    """The statistics with a rank in each row that counts and is known."""
    lost = xp.isnan(stats.peak) | (stats.weight == 0)
    return replace(stats, rank=xp.where(lost, -1, ranks))
