"""The backend that computes NumPy arrays by the C++ core. In: problems in canonical form. Out: NumPy arrays.

The formulas are in `reference`. This module allocates the results, converts the small arrays (weights, index
targets) to the form that the core reads, and calls the core. The scores are not copied: the core reads any
strides, with a few rows of temporary memory per thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from typing import Any

import numpy as np

from lastlayer.backends import reference
from lastlayer.errors import BackendError
from lastlayer.problem import Problem, Scores, Targets, held_classes
from lastlayer.row_statistics import RowStats
from lastlayer.row_terms import pulled, weights, z_losses

from . import core
from .top_k_targets import Listed

name = "native"
arrays = "NumPy arrays and CPU tensors"

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def why_not(scores: Scores) -> str | None:
    """None for NumPy arrays, otherwise the reason."""
    if type(scores.array) is np.ndarray:
        return None
    return f"it reads NumPy arrays, not {type(scores.array).__module__}.{type(scores.array).__name__}"


def describe() -> str:
    """How it computes: the instruction set and the number of threads."""
    return f"C++ core on {core.isa()}, {core.get_num_threads()} threads" if core.BUILT else ""


def isas() -> list[str]:
    """The instruction sets that this machine can run, widest first."""
    return list(core.isas())


@contextmanager
def use_isa(isa: str) -> Iterator[None]:
    """Let the core use this instruction set inside a ``with`` block, in all threads: for tests."""
    before = core.isa()
    _set_isa(isa)
    try:
        yield
    finally:
        core.set_isa(before)


def _set_isa(isa: str) -> None:
    if not core.set_isa(isa):
        rule = f"one that this machine can run: {', '.join(isas())}"
        raise BackendError("", "LASTLAYER_ISA", repr(isa), rule)


# --- softmax ---


def softmax(scores: Scores, out: Any) -> Any:
    """See `reference.softmax`."""
    return softmax_into(scores, out, False)


def log_softmax(scores: Scores, out: Any) -> Any:
    """See `reference.log_softmax`."""
    return softmax_into(scores, out, True)


def softmax_into(scores: Scores, out: Any, log: bool) -> Any:
    """The softmax, or its logarithm, written to ``out`` if given."""
    _, x, axis, where, temperature, softcap = scores
    if out is None:
        out = np.empty(x.shape, x.dtype)
    if x.size == 0:  # the core requires a class
        return out
    z, half = core.readable(x)
    place = core.bits(out) if half else out
    core.softmax(z, axis, place, log, where, temperature, softcap or 0.0, half)
    return out


def logsumexp(scores: Scores) -> Any:
    """See `reference.logsumexp`."""
    lse = np.empty(_rows(scores), _result(scores.array))
    if scores.array.size == 0:  # no class, or no row
        lse.fill(-np.inf)
        return lse[()]
    _stats(scores, None, {"lse": lse})
    return lse[()]


def softmax_backward(grad: Any, y: Any, axis: int) -> Any:
    """See `reference.softmax_backward`."""
    return _backward(grad, y, axis, False)


def log_softmax_backward(grad: Any, y: Any, axis: int) -> Any:
    """See `reference.log_softmax_backward`."""
    return _backward(grad, y, axis, True)


def _backward(grad: Any, y: Any, axis: int, log: bool) -> Any:
    dx = np.empty(y.shape, y.dtype)
    if y.size == 0:
        return dx
    grad = grad.astype(y.dtype, copy=False)
    core.softmax_backward(core.bits(grad), core.bits(y), axis, core.bits(dx), log, core.is_bfloat(y))
    return dx


# --- rows ---


def row_stats(problem: Problem, fields: frozenset[str]) -> RowStats:
    """See `reference.row_stats`."""
    scores, targets = problem.scores, problem.targets
    shape, dtype = _rows(scores), _result(scores.array)
    if targets is not None and targets.kind == "sparse":
        if "moment" in fields:  # which no caller asks for
            return reference.row_stats(problem, fields)
        stats, _ = _sparse_stats(problem, ("argmax", "spread", "square"))
        found = {key: getattr(stats, key).reshape(shape)[()] for key in _SPARSE_FIELDS}
        return RowStats(**found, **weights(targets, shape), dtype=dtype)
    peak = np.empty(shape, computing_dtype(scores, scores.array.dtype.itemsize))
    into: dict[str, Any] = {"peak": peak, "rest": np.empty(shape)}
    for field in ("spread", "square", "moment"):
        if field in fields:
            into[field] = np.empty(shape)
    if "argmax" in fields:
        into["argmax"] = np.empty(shape, np.int64)
    if targets is not None and "nll" in fields:
        into["gap"], into["mass"] = np.empty(shape), np.empty(shape)
    if targets is not None and targets.kind == "index" and "rank" in fields:
        into["rank"] = np.empty(shape, np.int64)
    _stats(scores, targets, into)
    known = {} if targets is None else weights(targets, shape)
    return RowStats(**{key: value[()] for key, value in into.items()}, **known, dtype=dtype)


def ranks(scores: Scores, y: Any, target_logits: Any) -> Any:
    """See `reference.ranks`."""
    (_, x, axis, where, temperature, softcap), n = scores, math.prod(_rows(scores))
    rank = np.empty(n, np.int64)
    core.row_stats(
        core.bits(x), axis, core.is_bfloat(x), where, temperature, softcap or 0.0,
        core.contiguous(y).reshape(n), False, False, None, {"rank": rank}, 0, 0, None, None, 1.0, 0.0, True,
        core.doubles(target_logits).reshape(n),
    )  # fmt: skip
    return rank.reshape(y.shape)[()]


def top_k(scores: Scores, k: int) -> tuple[Any, Any]:
    """See `reference.top_k`."""
    shape = (*_rows(scores), k)
    labels, probabilities = np.empty(shape, np.int64), np.empty(shape, _result(scores.array))
    _stats(scores, None, {"top_label": labels, "top_probability": probabilities}, k)
    return labels, probabilities


def _stats(scores: Scores, targets: Targets | None, into: dict[str, Any], k: int = 0) -> None:
    _, x, axis, where, temperature, softcap = scores
    x, half = core.readable(x)
    if targets is None:
        core.row_stats(x, axis, half, where, temperature, softcap or 0.0, None, False, False, None, into, k)
        return
    dense = targets.kind == "dense"
    y, y_half = core.readable(targets.array) if dense else (core.contiguous(targets.array), False)
    core.row_stats(
        x, axis, half, where, temperature, softcap or 0.0, y, dense, y_half, targets.ignore_index, into, k, 0,
        core.doubles(targets.class_weight), core.doubles(targets.sample_weight), targets.on, targets.off,
    )  # fmt: skip


# --- losses ---


def target_totals(scores: Scores, targets: Targets, mean: bool) -> tuple[int, float]:
    """See `reference.target_totals`."""
    kind, y, _, _, class_weight, sample_weight, ignore_index, _ = targets
    classes = held_classes(scores)
    if kind == "index":
        if not mean or (class_weight is None and sample_weight is None):
            return core.target_totals(core.contiguous(y), classes, ignore_index, None, None)
        w, s = core.doubles(class_weight), core.doubles(sample_weight)
        return core.target_totals(core.contiguous(y), classes, ignore_index, w, s)
    if kind == "sparse":
        position, _ = core.target_totals(core.contiguous(y.indices), classes, ignore_index, None, None)
        if position >= 0:
            return position, 0.0
    elif y.dtype.kind in "biu":
        position = _not_one_hot(y, scores.axis, sample_weight)
        if position >= 0:
            return position, 0.0
    if not mean:
        return -1, 0.0
    if sample_weight is not None:
        return -1, float(np.sum(sample_weight, dtype=np.float64))
    return -1, float(np.prod(_rows(scores), dtype=np.float64))


def _not_one_hot(q: Any, axis: int, sample_weight: Any) -> int:
    """The flat position of the first row of integers that has a weight and is not one-hot, or -1."""
    q = q.view(np.uint8) if q.dtype.kind == "b" else q
    high = q.max(axis)
    if (high == 1).all() and np.count_nonzero(q) == high.size:
        return -1
    bad = (high != 1) | (q.min(axis) < 0) | (q.sum(axis, dtype=np.int64) != 1)
    if sample_weight is not None:
        bad &= sample_weight != 0
    return int(np.argmax(bad)) if bad.any() else -1


def cross_entropy(problem: Problem) -> Any:
    """See `reference.cross_entropy`."""
    return losses_of(problem, core.LOSS, None)


def cross_entropy_grad(problem: Problem) -> tuple[Any, Any]:
    """See `reference.cross_entropy_grad`."""
    x = problem.scores.array
    if problem.scale == 0.0:  # a mean over nothing, whatever the rows hold
        return _result(x).type(0), np.zeros(x.shape, x.dtype)
    grad = np.empty(x.shape, x.dtype)
    return losses_of(problem, core.GRADIENT, grad), grad


def pick_loss(problem: Problem, log: bool) -> Any:
    """See `reference.pick_loss`."""
    return losses_of(problem, core.PICK_LOG if log else core.PICK, None)


def losses_of(problem: Problem, kind: int, grad: Any) -> Any:
    """The losses, or their reduction; the gradient is written to ``grad`` if given.

    ``kind``: `core.LOSS`, `core.GRADIENT`, or another of these constants.
    """
    (_, x, axis, _, temperature, softcap), targets, scale, reduction = problem
    assert targets is not None
    if targets.kind == "sparse":
        return _sparse_losses(problem, grad)
    target_kind, y, on, off, class_weight, sample_weight, ignore_index, z_loss = targets
    losses = np.empty(_rows(problem.scores), _result(x)) if reduction == "none" else None
    dense = target_kind == "dense"
    y, y_half = core.readable(y) if dense else (core.contiguous(y), False)
    z, half = core.readable(x)
    total = core.cross_entropy(
        z, axis, half, temperature, softcap or 0.0, y, dense, y_half,
        None if class_weight is None else core.doubles(class_weight),
        None if sample_weight is None else core.doubles(sample_weight),
        ignore_index, on, off, z_loss, scale, kind, losses,
        grad if grad is None or not half else core.bits(grad),
    )  # fmt: skip
    return losses[()] if losses is not None else _result(x).type(total)


# --- top-k targets: the core computes what all classes have in common, `Listed` the listed classes ---

_SPARSE_FIELDS = ("peak", "rest", "gap", "mass", "argmax", "spread", "square")


def _sparse_stats(problem: Problem, fields: tuple[str, ...]) -> tuple[RowStats, Listed]:
    """The statistics of every row, in flat float64 arrays, and the listed classes."""
    (_, x, axis, _, temperature, softcap), t, _, _ = problem
    assert t is not None
    n = math.prod(_rows(problem.scores))
    s, dtype = t.sample_weight, computing_dtype(problem.scores, x.dtype.itemsize)
    s = None if s is None else core.doubles(s).reshape(n)
    listed = Listed(problem, (n, x.shape[axis]), s, double=dtype is _FLOAT64)
    into: dict[str, Any] = {"peak": np.empty(n, dtype)}
    into |= {field: np.empty(n) for field in ("rest", "gap", "mass", *fields)}
    if "argmax" in into:
        into["argmax"] = np.empty(n, np.int64)
    core.row_stats(
        core.bits(x), axis, core.is_bfloat(x), None, temperature, softcap or 0.0, np.full(n, -1), False,
        False, None, into, 0, 0, core.doubles(t.class_weight) if listed.off else None, listed.even, 0.0,
        listed.off, True,
    )  # fmt: skip
    into["peak"] = into["peak"].astype(np.float64)
    listed.look(np.moveaxis(core.bits(x), axis, -1), slice(0, n), slice(0, x.shape[axis]))
    return listed.complete(RowStats(**into)), listed


@np.errstate(all="ignore")
def _sparse_losses(problem: Problem, grad: Any) -> Any:
    """The losses, or their reduction; the gradient is written to ``grad`` if given."""
    (_, x, axis, _, temperature, softcap), t, scale, reduction = problem
    assert t is not None
    stats, listed = _sparse_stats(problem, ())
    losses = stats.nll + z_losses(stats, t.z_loss, listed.s)
    if grad is not None:
        inactive = np.asarray(stats.mass) == 0
        even = np.where(inactive, 0.0, listed.even)
        stats, out, n = pulled(stats, t.z_loss, listed.s), core.bits(grad), listed.n
        peak = stats.peak.astype(computing_dtype(problem.scores, x.dtype.itemsize))
        core.cross_entropy(
            core.bits(x), axis, core.is_bfloat(x), temperature, softcap or 0.0, np.full(n, -1), False, False,
            core.doubles(t.class_weight) if listed.off else None, even, None, 0.0, listed.off, 0.0, scale,
            core.GRADIENT, None, out, 0, peak, stats.rest, stats.mass,
        )  # fmt: skip
        listed.write(np.moveaxis(out, axis, -1), slice(0, n), slice(0, x.shape[axis]), stats)
    kind = _result(x).type
    if reduction == "none":
        return losses.astype(kind).reshape(_rows(problem.scores))[()]
    return kind(losses.sum() * scale if scale else 0.0)


def computing_dtype(scores: Scores, number: int) -> np.dtype[Any]:
    """The dtype in which the core computes, and returns peaks, for scores of ``number`` bytes each."""
    scaled = scores.temperature != 1.0 or scores.softcap is not None
    return _FLOAT64 if number == 8 or (number == 4 and scaled) else _FLOAT32


# --- arrays ---


def _rows(scores: Scores) -> tuple[int, ...]:
    shape, axis = scores.array.shape, scores.axis
    return shape[:axis] + shape[axis + 1 :]  # type: ignore[no-any-return]  # a tuple, of an array of any library


def _result(x: Any) -> np.dtype[Any]:
    """The dtype of losses and logarithms: float64 for float64, else float32."""
    return _FLOAT64 if x.dtype is _FLOAT64 or x.dtype == _FLOAT64 else _FLOAT32


if core.BUILT and environ.get("LASTLAYER_ISA"):
    _set_isa(environ["LASTLAYER_ISA"])
