"""The functions of the linear head on arrays. In: a checked head, and options. Out: arrays of its library.

NumPy arrays go through the loop of `linear`. Arrays of other libraries, and NumPy's where there is no core,
go through the logits as a whole: the end of this file says in a few lines what all of `linear` computes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from . import dispatch, problem, shards
from .arrays import Array, cast, is_foreign, namespace, wide
from .backends.backend import Backend
from .backends.core.tiles import CoreTileBackend
from .linear import run, small
from .linear import top_k as linear_top_k
from .linear.array_ops import NumPyOps
from .linear.tile import NO_GRADIENTS
from .options import Given, Options
from .problem import Head, Problem, Scores
from .resolving import resolve
from .row_statistics import RowStats

__all__ = ["gradients", "loss", "statistics", "top_k"]

_NO_TARGETS = (None, None, None)
_TILES = {"native": CoreTileBackend}  # the backends that run the loop over tiles; others have whole logits
_ALL = (True, True, True)  # gradients


def loss(head: Head, given: Given, options: Options, stats: bool = False) -> Any:
    """``lastlayer.linear_cross_entropy``; with ``stats`` the rows' statistics too."""
    if not stats and (few := _small(head, given, options)) is not None:
        _, small_problem, backend = few
        return backend.cross_entropy(small_problem)
    if (checked := _checked(head, given, options)) is not None:
        tiles = _tiles(checked)
        if not stats:
            return run.loss_and_gradients(head, checked, NO_GRADIENTS, tiles).loss
        found, _, rows = run.with_row_stats(head, checked, NO_GRADIENTS, tiles)
        return found, rows
    found = _of_logits("cross_entropy", head, given, options)
    return (found, statistics(head, given, options)) if stats else found


def gradients(head: Head, given: Given, options: Options, stats: bool = False) -> Any:
    """``lastlayer.linear_cross_entropy_grad``; with ``stats`` the rows' statistics too."""
    if not stats and (few := _small(head, given, options)) is not None:
        z, small_problem, backend = few
        value, found = small.loss_and_gradients(head, z, small_problem, backend.cross_entropy_grad)
        return value, tuple(found)
    if (checked := _checked(head, given, options)) is not None:
        if not stats:
            result = run.loss_and_gradients(head, checked, _ALL, _tiles(checked))
            return result.loss, tuple(result.gradients)
        found, grads, rows = run.with_row_stats(head, checked, _ALL, _tiles(checked))
        return found, tuple(grads), rows
    found, g = _of_logits("cross_entropy_grad", head, given, options)
    both = found, _gradients_of_logits(head, g)
    return (*both, statistics(head, given, options)) if stats else both


def statistics(head: Head, given: Given, options: Options, class_offset: Any = None) -> RowStats:
    """``lastlayer.linear_row_stats``."""
    if class_offset is not None:
        return _of_shard(head, given, options, problem.class_offset(options.function, class_offset))
    if (checked := _checked(head, given, options)) is not None:
        return run.row_stats(head, checked, _tiles(checked))
    return _of_logits("row_stats", head, given, options)  # type: ignore[no-any-return]


def _of_shard(head: Head, given: Given, options: Options, first: int) -> RowStats:
    """The statistics of a shard of the classes."""
    checked = _checked(head, _NO_TARGETS, options)
    in_loop = checked is not None
    if checked is None:
        checked = problem.without_targets(_scores(_logits(head), options))
    chosen = dispatch.backend(checked.scores)
    if given[0] is not None:
        checked = shards.with_shard(checked.scores, chosen, first, given, options)
    if in_loop:
        return shards.placed_in(run.row_stats(head, checked, _tiles(checked)), checked, first)
    fields = run.FIELDS if given[0] is None else run.FIELDS | {"nll"}
    found = replace(chosen.row_stats(checked, fields), dtype=_kind(head))
    return shards.placed_in(found, checked, first)


def top_k(head: Head, k: Any, options: Options) -> tuple[Array, Array]:
    """``lastlayer.linear_top_k``."""
    if (checked := _checked(head, _NO_TARGETS, options)) is not None:
        k = problem.top(checked.scores, k)
        return linear_top_k.top_k(head, checked, k, _tiles(checked))
    xp = namespace(head.x)
    scores = _scores(_logits(head), options)
    labels, p = dispatch.backend(scores).top_k(scores, problem.top(scores, k))
    return labels, cast(xp, p, _kind(head))


def _small(head: Head, given: Given, options: Options) -> tuple[small.Logits, Problem, Backend] | None:
    """The logits of a small call, their problem and backend; None if it is not small or not for the core."""
    if is_foreign(head.x) or (logits := small.logits(head, given[0])) is None:
        return None
    scores = _scores(logits.z, options)
    chosen = dispatch.backend(scores)
    if chosen.name not in _TILES:
        return None
    return logits, resolve(scores, chosen, given, options), chosen


def _checked(head: Head, given: Given, options: Options) -> Problem | None:
    """The problem for the loop; None where the core does not run it."""
    if is_foreign(head.x):
        return None
    scores = problem.head_scores(options.function, head, options.temperature, options.softcap)
    chosen = dispatch.backend(scores)
    if chosen.name not in _TILES:
        return None
    return _problem(scores, chosen, given, options)


def _tiles(checked: Problem) -> CoreTileBackend:
    """The backend of a problem's tiles."""
    return _TILES[dispatch.backend(checked.scores).name](NumPyOps(checked.scores.array.dtype))


def _problem(scores: Scores, backend: Backend, given: Given, options: Options) -> Problem:
    """The problem of scores, with targets if there are any."""
    if given[0] is None:
        return problem.without_targets(scores)
    return resolve(scores, backend, given, options)


# --- the specification: with logits -------------------------------------------------------------------------


@np.errstate(all="ignore")
def _of_logits(name: str, head: Head, given: Given, options: Options) -> Any:
    """A backend's function of the logits ``x @ weight.T + bias``, these in the widest float."""
    xp = namespace(head.x)
    scores = _scores(_logits(head), options)
    chosen = dispatch.backend(scores)
    checked = _problem(scores, chosen, given, options)
    dtype = _kind(head)
    if name == "row_stats":
        return replace(
            chosen.row_stats(checked, run.FIELDS if given[0] is None else run.FIELDS | {"nll", "rank"}),
            dtype=dtype,
        )
    if name == "cross_entropy":
        return cast(xp, chosen.cross_entropy(checked), dtype)
    found, g = chosen.cross_entropy_grad(checked)
    return cast(xp, found, dtype), g


def _scores(z: Array, options: Options) -> Scores:
    """The scores of logits, classes last."""
    return problem.scores(options.function, z, -1, None, options.temperature, options.softcap)


def _logits(head: Head) -> Array:
    """``x @ weight.T + bias``, in the widest float."""
    xp = namespace(head.x)
    z = wide(xp, head.x) @ wide(xp, head.weight).T
    return z if head.bias is None else z + wide(xp, head.bias)


def _kind(head: Head) -> Any:
    """The dtype of losses and probabilities: float64 where one of the arrays is of it, else float32."""
    xp = namespace(head.x)
    parts = (head.x, head.weight, head.bias)
    return xp.float64 if any(a is not None and a.dtype == xp.float64 for a in parts) else xp.float32


@np.errstate(all="ignore")
def _gradients_of_logits(head: Head, g: Array) -> tuple[Array, Array, Array | None]:
    """dx, dweight and dbias from the gradient g of the logits: ``g @ weight``, ``g.T @ x``, the sum of g."""
    xp = namespace(head.x)
    v, d = head.weight.shape
    g = xp.reshape(g, (-1, v))
    active = xp.any(g != 0, axis=1)  # 0 times an infinity of an inactive row would be NaN
    x = xp.where(active[:, None], wide(xp, xp.reshape(head.x, (g.shape[0], d))), 0.0)
    dx = xp.where(active[:, None], g @ wide(xp, head.weight), 0.0)
    dx = xp.reshape(dx, head.x.shape)
    dbias = None if head.bias is None else cast(xp, xp.sum(g, axis=0), head.bias.dtype)
    return cast(xp, dx, head.x.dtype), cast(xp, g.T @ x, head.weight.dtype), dbias
