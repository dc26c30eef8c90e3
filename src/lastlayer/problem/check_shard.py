"""Check targets of a shard. In: indices among all classes. Out: `Shard`, with indices in the shard."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from lastlayer.arrays import Array, cast, device, namespace, truth, wide
from lastlayer.errors import OptionError, TargetError

from .check_arrays import as_int64, is_integral
from .check_numbers import ignore_index_of, number_option
from .check_target_arrays import as_targets
from .check_weights import sample_weight_of
from .types import Scores
from .wording import element

__all__ = ["ELSEWHERE", "Shard", "no_smoothing", "own_indices", "shard", "shard_indices"]


class Shard(NamedTuple):
    """Targets of a shard, with indices that count from the shard's first class."""

    first: int  # the shard's first class among all classes
    targets: Any  # an index is `ELSEWHERE` where the row is ignored or another shard holds the class
    sample_weight: Any  # 0 in ignored rows
    ignore_index: int | None


ELSEWHERE = -1  # stands for a class that another shard holds; passed on as ignore_index


def shard(
    scores: Scores, first: int, targets: Any, sample_weight: Any, ignore_index: Any, label_smoothing: Any
) -> Shard:
    """The checked targets of a shard whose first class is ``first``."""
    function, x = scores.function, scores.array
    rows = x.shape[: scores.axis] + x.shape[scores.axis + 1 :]
    if number_option(function, "label_smoothing", label_smoothing, high=1.0):
        no_smoothing(function, label_smoothing)
    targets, kind = as_targets(scores, rows, targets)
    ignore_index = ignore_index_of(function, ignore_index, kind == "dense")
    if kind == "dense":
        if is_integral(namespace(x), targets):  # as floats, for a shard of a one-hot row may be all 0
            targets = wide(namespace(x), targets)
        return Shard(first, targets, sample_weight, -100)
    if sample_weight is not None:
        sample_weight = sample_weight_of(scores, rows, sample_weight)
    if kind == "sparse" and targets.rest is not None:
        raise OptionError(function, "targets[2]", "not 0", f"no rest with class_offset: {_OF_ALL}")
    xp = namespace(x)
    y = as_int64(xp, targets.indices if kind == "sparse" else targets)
    local, ignored = own_indices(xp, y, first, x.shape[scores.axis], ignore_index)
    bad = xp.reshape((y < 0) & ~ignored, (-1,))
    if truth(xp.any(bad)):
        place = int(xp.argmax(cast(xp, bad, xp.int8)))
        name = element("targets[0]" if kind == "sparse" else "targets", place, y.shape)
        rule = "a class of 0 or more" + ("" if ignore_index is None else f" or ignore_index={ignore_index}")
        raise TargetError(function, name, f"{int(xp.reshape(y, (-1,))[place])}", rule)
    if kind == "sparse":
        return Shard(first, (local, targets.probabilities), sample_weight, ELSEWHERE)
    ones = xp.ones(rows, dtype=xp.float32, device=device(x)) if sample_weight is None else sample_weight
    return Shard(first, local, xp.where(ignored, xp.zeros_like(ones), ones), ELSEWHERE)


_OF_ALL = "it depends on how many classes all shards have"


def no_smoothing(function: str, label_smoothing: Any) -> NoReturn:
    """Refuse label smoothing for a shard."""
    raise OptionError(function, "label_smoothing", f"{label_smoothing}", f"0 with class_offset: {_OF_ALL}")


def own_indices(xp: Any, y: Any, first: int, classes: int, ignore_index: int | None) -> tuple[Any, Any]:
    """Class indices counted from ``first``, `ELSEWHERE` for other shards' classes; and which are ignored."""
    ignored = y != y if ignore_index is None else y == ignore_index
    own = (y >= first) & (y - first < classes) & ~ignored
    return xp.where(own, y - first, xp.full_like(y, ELSEWHERE)), ignored


def shard_indices(scores: Scores, targets: Any) -> Array:
    """Class indices among all classes, as int64 in the shape of the rows."""
    rows = scores.array.shape[: scores.axis] + scores.array.shape[scores.axis + 1 :]
    return as_int64(namespace(scores.array), as_targets(scores, rows, targets)[0])
