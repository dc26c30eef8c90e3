"""Row statistics of a shard of the classes, for tensors: the steps of `lastlayer.shards`.

In: logits of the shard, and targets as indices among all classes. Out: targets as indices in the shard; the
shard's `RowStats` with indices among all classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lastlayer import problem, shards
from lastlayer.options import Options
from lastlayer.row_statistics import RowStats

from . import canonical, kernels
from .targets import Target, signed
from .tensors import memory, wide

__all__ = ["own_options", "own_targets", "placed", "with_ranks"]


def own_targets(x: Tensor, target: Target, o: Options, first: int) -> Target:
    """Targets that count from the shard's first class; those in other shards are `problem.ELSEWHERE`."""
    if not torch.compiler.is_compiling():
        canonical.shard_of(x, target, o, first)
    if not _has_indices(target, x):  # as floats, for a shard of a one-hot row may be all 0
        return target if target.y.is_floating_point() else target._replace(y=target.y.to(wide(x.dtype)))
    y, classes = signed(target.y), x.shape[o.axis]
    own, ignored = problem.own_indices(torch, y, first, classes, o.ignore_index)
    own = torch.where((y < 0) & ~ignored, classes, own)  # stays out of range, so that the row gives NaN
    if target.is_top_k:
        return target._replace(y=own)
    s = target.sample_weight
    s = torch.ones((), dtype=torch.float32, device=x.device) if s is None else s
    return target._replace(y=own, sample_weight=torch.where(ignored, 0.0, s))


def own_options(own: Target | None, x: Tensor, o: Options) -> Options:
    """The options to use with `own_targets`."""
    if own is None or not _has_indices(own, x):
        return o._replace(label_smoothing=0.0)
    return o._replace(label_smoothing=0.0, ignore_index=problem.ELSEWHERE)


def _has_indices(target: Target, x: Tensor) -> bool:
    return target.is_top_k or target.y.shape != x.shape


def with_ranks(
    stats: RowStats, x: Tensor, y: Tensor, target_logits: Tensor, o: Options, first: int
) -> RowStats:
    """The statistics with the ranks of the targets, given the targets' logits."""
    found = kernels.ranks(x.detach(), signed(y) - first, target_logits.detach(), o)
    ranked: Any = shards.with_ranks(stats, torch, found)
    if ranked.state is not None:
        ranked = replace(ranked, state=replace(ranked.state, rank=memory(ranked.rank)))
    return ranked  # type: ignore[no-any-return]


def placed(stats: Any, own: Target | None, first: int, x: Tensor, axis: int = -1) -> RowStats:
    """`lastlayer.shards.placed`, for the tensors and for the NumPy arrays that share their memory."""
    classes = x.shape[axis]
    y = weight = None
    if own is not None and own.sample_weight is not None and own.y.ndim < x.ndim:
        y, weight = own.y, own.sample_weight.to(wide(x.dtype))
    found = shards.placed(stats, torch, first, classes, y, weight)
    if stats.state is None:
        return found
    arrays = () if y is None or weight is None else (memory(y), memory(weight.double()))
    return replace(found, state=shards.placed(stats.state, np, first, classes, *arrays))  # type: ignore[call-arg]
