"""The backend that specifies the others: all formulas, for any array library, not optimized.

In: a problem in canonical form. Out: arrays of the caller's own library. Everything is computed in float64
(or the widest float that the library has), with the class axis last, from

    z      = softcap tanh(raw / softcap) / temperature, and -inf where masked          (dz/draw in `_slope`)
    t_ij   = s_i w_j (on q_ij + off)                                                   (`effective_targets`)
    loss_i = sum_j t_ij (lse_i - z_ij) + s_i z_loss lse_i^2                            (`cross_entropy`)
    dloss_i/dz_ij = (mass_i + 2 s_i z_loss lse_i) p_ij - t_ij                          (`cross_entropy_grad`)

With peak = max_j z_j and rest = the sum of exp(z_j - peak) over all other classes, no formula below suffers
from cancellation: lse = peak + log1p(rest), and 1 - p at the peak is rest / (1 + rest). Libraries with
automatic differentiation get correct derivatives of any order from this code.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lastlayer import arrays as libraries
from lastlayer.arrays import Array, cast, device, integer, namespace, numbers, one_hot, truth, wide, widest
from lastlayer.problem import Problem, Scores, Targets, all_classes, held_classes, is_integral
from lastlayer.row_statistics import RowStats

name = "reference"
arrays = "arrays of every array-API library"


def why_not(scores: Scores) -> str | None:  # noqa: ARG001 - other backends read them
    """None: it can compute everything."""
    return None


def describe() -> str:
    """How it computes."""
    return "float64 inside"


# --- softmax ------------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """Canonical scores, class axis last; in ``peak`` and ``rest`` that axis has length 1."""

    xp: Any
    z: Array
    peak: Array
    rest: Array
    is_top: Array  # marks the argmax
    exp: Array  # exp(z - peak)


def _rows(scores: Scores, left_out: Array | None = None) -> _Rows:
    """The statistics of every row; rows to leave out become zeros first, so that no derivative is NaN."""
    xp, z = _canonical(scores, left_out)
    if z.shape[-1] == 0:  # no class: the sum of exponentials is 0
        peak = xp.full((*z.shape[:-1], 1), -xp.inf, dtype=z.dtype, device=device(z))
        return _Rows(xp, z, peak, xp.zeros_like(peak), z == z, z)
    # The peak is computed as the score at the argmax, not as the maximum. With ties, libraries divide the
    # derivative of the maximum among the tied classes, while the rest leaves out only one of them.
    is_top = numbers(xp, z) == xp.argmax(z, axis=-1, keepdims=True)
    peak = xp.sum(xp.where(is_top, z, 0.0), axis=-1, keepdims=True)
    difference, error = _minus(xp, z, peak)
    exp = xp.exp(difference) * (1 + error)
    rest = xp.sum(xp.where(is_top, 0.0, exp), axis=-1, keepdims=True)
    rest = xp.where(peak == -xp.inf, 0.0, xp.where(peak == xp.inf, xp.nan, rest))
    return _Rows(xp, z, peak, rest, is_top, exp)


def _canonical(scores: Scores, left_out: Array | None = None) -> tuple[Any, Array]:
    """The array library, and z: the scores after softcap, temperature and mask."""
    xp = namespace(scores.array)
    z = wide(xp, xp.moveaxis(scores.array, scores.axis, -1))
    if left_out is not None:
        z = xp.where(left_out[..., None], 0.0, z)
    if scores.softcap is not None:
        z = scores.softcap * xp.tanh(z / scores.softcap)
    z = z / scores.temperature
    if scores.where is not None:
        z = xp.where(xp.moveaxis(scores.where, scores.axis, -1), z, -xp.inf)
    return xp, z


def _minus(xp: Any, a: Array, b: Array) -> tuple[Array, Array]:
    """a - b as the rounded difference and its rounding error (Knuth's TwoSum)."""
    difference = a - b
    part = difference - a
    error = (a - (difference - part)) - (b + part)
    return difference, xp.where(xp.isfinite(error), error, 0.0)


def softmax(scores: Scores, out: Array | None) -> Array:
    """p = exp(z - peak) / (1 + rest); 0 where masked."""
    with np.errstate(all="ignore"):
        _, _, _, rest, _, exp = _rows(scores)
        return _like_scores(scores, _masked(scores, exp / (1 + rest), 0.0), out)


def log_softmax(scores: Scores, out: Array | None) -> Array:
    """log p = (z - peak) - log1p(rest); -inf where masked."""
    with np.errstate(all="ignore"):
        xp, z, peak, rest, _, _ = _rows(scores)
        return _like_scores(scores, _masked(scores, (z - peak) - xp.log1p(rest), -xp.inf), out)


def logsumexp(scores: Scores) -> Array:
    """lse = peak + log1p(rest)."""
    with np.errstate(all="ignore"):
        xp, _, peak, rest, _, _ = _rows(scores)
        dtype = libraries.result_dtype(xp, scores.array.dtype)
        return RowStats(peak=peak[..., 0], rest=rest[..., 0], dtype=dtype).lse


def top_k(scores: Scores, k: int) -> tuple[Array, Array]:
    """The k classes of largest z and their probabilities; ties by class index; -1 and NaN in a NaN row."""
    with np.errstate(all="ignore"):
        xp, z, peak, rest, _, exp = _rows(scores)
        unknown = xp.isnan(peak)
        order = xp.argsort(-z, axis=-1, stable=True)[..., :k]
        p = -xp.sort(-exp / (1 + rest), axis=-1)[..., :k]
        labels = xp.where(unknown, -1, order)
        return cast(xp, labels, integer(xp)), cast(xp, p, libraries.result_dtype(xp, scores.array.dtype))


def softmax_backward(grad: Array, y: Array, axis: int) -> Array:
    """dx = y (grad - sum_j grad_j y_j), from the output y of softmax."""
    with np.errstate(all="ignore"):
        xp = namespace(y)
        g, p = wide(xp, grad), wide(xp, y)
        return cast(xp, p * (g - xp.sum(g * p, axis=axis, keepdims=True)), y.dtype)


def log_softmax_backward(grad: Array, y: Array, axis: int) -> Array:
    """dx = grad - exp(y) sum_j grad_j, from the output y of log_softmax."""
    with np.errstate(all="ignore"):
        xp = namespace(y)
        g, p = wide(xp, grad), xp.exp(wide(xp, y))
        return cast(xp, g - p * xp.sum(g, axis=axis, keepdims=True), y.dtype)


# --- targets ------------------------------------------------------------------------------------------------


def target_totals(scores: Scores, targets: Targets, mean: bool) -> tuple[int, Any]:
    """The flat position of the first wrong target, or -1; and the sum of the weights if ``mean``, else 0.

    The sum is an array of the scores' library, so that it can be differentiated. While a library traces,
    values cannot be read (`arrays.truth`), and no target is reported as wrong: its row's loss is NaN instead.
    """
    xp = namespace(scores.array)
    bad = xp.reshape(_wrong(xp, scores, targets), (-1,))
    if truth(xp.any(bad)):
        return int(xp.argmax(cast(xp, bad, xp.int8))), 0.0
    if not mean:
        return -1, 0.0
    found = _weights(xp, scores, targets)
    total = xp.sum(found["weight"] * found.get("target_weight", 1.0))
    return -1, float(total) if xp is np else total


def _weights(xp: Any, scores: Scores, targets: Targets) -> dict[str, Array]:
    """s, 0 in ignored rows; and for index targets w_y. A mean is divided by the sum of s w_y."""
    s = _sample_weights(xp, scores, targets)
    if targets.kind != "index":
        return {"weight": s}
    w = targets.class_weight
    w = xp.ones(held_classes(scores), dtype=s.dtype, device=device(s)) if w is None else wide(xp, w)
    chosen = numbers(xp, scores.array, w.shape[0]) == _classes(xp, targets.array)[..., None]
    ignored = _ignored(xp, targets)
    of_class = xp.where(ignored, 0.0, xp.sum(xp.where(chosen, w, 0.0), axis=-1))
    return {"weight": xp.where(ignored, 0.0, s), "target_weight": of_class}


def _wrong(xp: Any, scores: Scores, targets: Targets) -> Array:
    """Which class indices are out of range, or which rows of integer dense targets are not one-hot."""
    if targets.kind == "dense":
        weighed = _sample_weights(xp, scores, targets) != 0
        if not is_integral(xp, targets.array):
            return weighed & ~weighed
        return weighed & ~one_hot(xp, targets.array, scores.axis)
    y = _classes(xp, targets.array if targets.kind == "index" else targets.array.indices)
    return ((y < 0) | (y >= held_classes(scores))) & ~_ignored(xp, targets)


def effective_targets(problem: Problem) -> tuple[Array, Array]:
    """t, class axis last, and the sample weights s. Both are 0 in ignored rows; t is NaN in wrong rows."""
    scores, targets = problem.scores, problem.targets
    assert targets is not None
    xp = namespace(scores.array)
    classes = held_classes(scores)
    s = _sample_weights(xp, scores, targets)
    wrong = _wrong(xp, scores, targets)
    if targets.kind == "index":
        q = wide(xp, numbers(xp, scores.array, classes) == _classes(xp, targets.array)[..., None])
        s = xp.where(_ignored(xp, targets), 0.0, s)
    elif targets.kind == "sparse":
        q = _listed(xp, scores, targets)
        wrong = xp.any(wrong, axis=-1)
    else:
        q = wide(xp, xp.moveaxis(targets.array, scores.axis, -1))
    t = targets.on * q + targets.off
    if targets.class_weight is not None:
        t = t * wide(xp, targets.class_weight)
    t = s[..., None] * xp.where((s[..., None] == 0) & ~xp.isfinite(t), 0.0, t)
    return xp.where(wrong[..., None], xp.nan, t), s


def _sample_weights(xp: Any, scores: Scores, targets: Targets) -> Array:
    if targets.sample_weight is not None:
        return wide(xp, targets.sample_weight)
    rows = scores.array.shape[: scores.axis] + scores.array.shape[scores.axis + 1 :]
    return xp.ones(rows, dtype=widest(xp), device=device(scores.array))


def _listed(xp: Any, scores: Scores, targets: Targets) -> Array:
    """Top-k targets: q_j = sum_k p_k [index_k = j] + rest / V, over the entries that are not ignored."""
    indices, p, rest = targets.array
    classes = held_classes(scores)
    j, indices, ignored = numbers(xp, scores.array, classes), _classes(xp, indices), _ignored(xp, targets)
    q = xp.zeros((*indices.shape[:-1], classes), dtype=widest(xp), device=device(scores.array))
    for k in range(indices.shape[-1]):
        here = (j == indices[..., k : k + 1]) & ~ignored[..., k : k + 1]
        q = q + xp.where(here, wide(xp, p[..., k : k + 1]), 0.0)
    return q if rest is None else q + wide(xp, rest)[..., None] / all_classes(scores)


def _ignored(xp: Any, targets: Targets) -> Array:
    """For index targets: which rows are ignored. For top-k targets: which entries are."""
    y = _classes(xp, targets.array if targets.kind == "index" else targets.array.indices)
    return y != y if targets.ignore_index is None else y == targets.ignore_index


def _classes(xp: Any, y: Array) -> Array:
    """Class indices as int64; a uint64 index above its range becomes a number that is no class."""
    if y.dtype == getattr(xp, "uint64", None):
        y = xp.where(y > (1 << 62), xp.asarray(1 << 62, dtype=y.dtype), y)
    return xp.astype(y, integer(xp)) if xp is not np else y.astype(np.int64)


# --- losses -------------------------------------------------------------------------------------------------


def row_stats(problem: Problem, fields: frozenset[str]) -> RowStats:
    """The statistics of every row; ``fields``: argmax, nll, rank, spread, square, moment, which to add."""
    scores, targets = problem.scores, problem.targets
    with np.errstate(all="ignore"):
        rows = _rows(scores)
        xp, z, peak, rest, is_top, exp = rows
        unknown = xp.isnan(peak[..., 0])
        values: dict[str, Array] = {"peak": peak[..., 0], "rest": rest[..., 0]}
        if "argmax" in fields:
            values["argmax"] = xp.where(unknown, -1, xp.argmax(z, axis=-1))
        if "spread" in fields:
            values["spread"] = xp.sum(xp.where(exp == 0, 0.0, exp * (peak - z)), axis=-1)
        if "moment" in fields:
            values["moment"] = xp.sum(xp.where(exp == 0, 0.0, exp * (peak - z) ** 2), axis=-1)
        if "square" in fields:
            values["square"] = xp.sum(xp.where(is_top, 0.0, exp**2), axis=-1)
        if targets is not None and "nll" in fields:
            t, _ = effective_targets(problem)
            values["gap"], values["mass"] = _gap_and_mass(rows, t)
            values |= _weights(xp, scores, targets)
        if targets is not None and targets.kind == "index" and "rank" in fields:
            y, j = _classes(xp, targets.array)[..., None], numbers(xp, z)
            z_y = xp.sum(xp.where(j == y, z, 0.0), axis=-1, keepdims=True)
            rank = xp.sum(cast(xp, (z > z_y) | ((z == z_y) & (j < y)), integer(xp)), axis=-1)
            unranked = unknown | _ignored(xp, targets) | (_sample_weights(xp, scores, targets) == 0)
            unranked = unranked | _wrong(xp, scores, targets)
            values["rank"] = xp.where(unranked, -1, rank)
        return RowStats(**values, dtype=libraries.result_dtype(xp, scores.array.dtype))


def ranks(scores: Scores, y: Array, target_logits: Array) -> Array:
    """How many of these classes rank above class y of each row, given its raw logit.

    The classes may be a shard: y then counts from its first class and may be in another shard.
    """
    with np.errstate(all="ignore"):
        rows = _rows(scores)
        xp, z = rows.xp, rows.z
        z_y = wide(xp, target_logits)[..., None]
        if scores.softcap is not None:
            z_y = scores.softcap * xp.tanh(z_y / scores.softcap)
        z_y, y, j = z_y / scores.temperature, y[..., None], numbers(xp, z)
        return xp.sum(cast(xp, ((z > z_y) | ((z == z_y) & (j < y))) & (j != y), integer(xp)), axis=-1)


def cross_entropy(problem: Problem) -> Array:
    """loss = gap + mass log1p(rest) + s z_loss lse^2, where gap = sum_j t_j (peak - z_j)."""
    with np.errstate(all="ignore"):
        t, s = effective_targets(problem)
        rows = _rows(problem.scores, _left_out(problem, t, s))
        return _reduced(problem, _losses(problem, rows, t, s))


def cross_entropy_grad(problem: Problem) -> tuple[Array, Array]:
    """The loss, and dloss/draw = dz/draw ((mass + 2 s z_loss lse) p - t)."""
    scores = problem.scores
    with np.errstate(all="ignore"):
        t, s = effective_targets(problem)
        left_out = _left_out(problem, t, s)
        rows = _rows(scores, left_out)
        xp, _, peak, rest, _, exp = rows
        loss = _reduced(problem, _losses(problem, rows, t, s))
        p, lse, s = exp / (1 + rest), peak + xp.log1p(rest), s[..., None]
        c = xp.sum(t, axis=-1, keepdims=True)
        if problem.targets and problem.targets.z_loss:
            c = c + 2 * s * problem.targets.z_loss * lse
        near_one = (c - t) - c * (rest / (1 + rest))  # 1 - p without the cancellation
        grad = xp.where(p > 0.5, near_one, c * p - t) * _slope(xp, scores) * problem.scale
        active = (s != 0) & (problem.scale != 0) & ~left_out[..., None]
        return loss, _like_scores(scores, xp.where(active, grad, 0.0), None)


def pick_loss(problem: Problem, log: bool) -> Array:
    """loss = -sum_j t_ij log p_j, from log-probabilities, or from probabilities (log=True).

    Where t = 0, p is not read: the term is 0 even if p is 0 or NaN.
    """
    scores = problem.scores
    with np.errstate(all="ignore"):
        xp = namespace(scores.array)
        p = wide(xp, xp.moveaxis(scores.array, scores.axis, -1))
        t, _ = effective_targets(problem)
        unread = (t == 0) & ~xp.isfinite(xp.log(p) if log else p)
        t, p = xp.where(unread, 0.0, t), xp.where(unread, 1.0, p)
        return _reduced(problem, xp.sum(-t * (xp.log(p) if log else p), axis=-1))


def _left_out(problem: Problem, t: Array, s: Array) -> Array:
    """Inactive rows with infinite or NaN logits: they are left out, so that no NaN reaches a result."""
    xp, z = _canonical(problem.scores)
    inactive = s == 0
    if problem.targets and not problem.targets.z_loss:
        inactive = inactive | xp.all(t == 0, axis=-1)
    return (inactive | (problem.scale == 0)) & ~xp.all(xp.isfinite(z), axis=-1)


def _losses(problem: Problem, rows: _Rows, t: Array, s: Array) -> Array:
    gap, mass = _gap_and_mass(rows, t)
    stats = RowStats(peak=rows.peak[..., 0], rest=rows.rest[..., 0], gap=gap, mass=mass)
    if problem.targets and problem.targets.z_loss:
        return stats.nll + s * problem.targets.z_loss * stats.lse**2
    return stats.nll


def _gap_and_mass(rows: _Rows, t: Array) -> tuple[Array, Array]:
    """gap = sum_j t_j (peak - z_j), and mass = sum_j t_j.

    A class with t = 0 and z = -inf adds 0 to both, and the derivative with respect to its t is 0.
    """
    xp, z, peak = rows.xp, rows.z, rows.peak
    t = xp.where((t == 0) & (z == -xp.inf), 0.0, t)
    below = xp.where((z == peak) & xp.isinf(peak), 0.0, peak - z)
    below = xp.where((t == 0) & ~xp.isfinite(below), 0.0, below)
    return xp.sum(t * below, axis=-1), xp.sum(t, axis=-1)


def _reduced(problem: Problem, losses: Array) -> Array:
    """The loss of each row, or scale times their sum; 0 if scale is 0, even if a loss is NaN."""
    xp, scale = namespace(losses), problem.scale
    dtype = libraries.result_dtype(xp, problem.scores.array.dtype)
    if problem.reduction == "none":
        return cast(xp, losses, dtype)
    if not isinstance(scale, float):
        losses = xp.where(scale == 0, 0.0, losses)
    elif scale == 0:
        losses = xp.zeros_like(losses)
    return cast(xp, xp.sum(losses) * scale, dtype)


def _slope(xp: Any, scores: Scores) -> Array | float:
    """dz/draw = (1 - tanh^2(raw / softcap)) / temperature, computed as 1 / cosh^2 to avoid cancellation."""
    if scores.softcap is None:
        return 1 / scores.temperature
    raw = wide(xp, xp.moveaxis(scores.array, scores.axis, -1))
    return 1 / xp.cosh(raw / scores.softcap) ** 2 / scores.temperature


# --- arrays -------------------------------------------------------------------------------------------------


def _like_scores(scores: Scores, y: Array, out: Array | None) -> Array:
    """``y`` with the class axis and the dtype of the scores, written to ``out`` if given."""
    xp = namespace(y)
    y = cast(xp, xp.moveaxis(y, -1, scores.axis), scores.array.dtype)
    if out is None:
        return y
    out[...] = y
    return out


def _masked(scores: Scores, y: Array, value: float) -> Array:
    if scores.where is None:
        return y
    xp = namespace(y)
    return xp.where(xp.moveaxis(scores.where, scores.axis, -1), y, value)
