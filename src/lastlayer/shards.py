"""Row statistics of a shard of the classes. In: its logits, targets among all classes. Out: `RowStats`.

Backends do not handle shards. They get target indices that count from the shard's first class, with targets
in other shards as ignored rows. Afterwards this module turns the class indices in the result back into
indices among all classes.
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
    """``lastlayer.row_stats`` of a shard. ``shard``: class_offset and target_logits. Targets may be None."""
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
    """`placed`, with targets and weights from a checked problem."""
    scores, t = checked.scores, checked.targets
    xp, held = namespace(stats.peak), problem.held_classes(scores)
    if t is None or t.kind != "index":
        return placed(stats, xp, first, held)
    return placed(stats, xp, first, held, t.array, wide(xp, t.sample_weight))


def placed(stats: RowStats, xp: Any, first: int, held: int, y: Any = None, weight: Any = None) -> RowStats:
    """A shard's statistics with indices among all classes; ``y`` and ``weight`` as in `problem.Shard`."""
    found: dict[str, Any] = {"rank": None, "classes": ((first, first + held),)}
    if stats.argmax is not None:
        found["argmax"] = xp.where(stats.argmax < 0, stats.argmax, stats.argmax + first)
    if y is not None:
        found["target"], found["weight"] = xp.where(y < 0, y, y + first), weight
    if xp is np:
        found = {k: v[()] if isinstance(v, np.ndarray) else v for k, v in found.items()}
    return replace(stats, **found)


def with_ranks(stats: RowStats, xp: Any, ranks: Array) -> RowStats:
    """The statistics with ranks; -1 for ignored rows and rows with a NaN."""
    unranked = xp.isnan(stats.peak) | (stats.weight == 0)
    return replace(stats, rank=xp.where(unranked, -1, ranks))
