"""The linear head of NumPy arrays for small problems, whose logits are computed as a whole.

In: a checked head, its logits and their problem. Out: the loss and the gradients of x, weight and bias. For a
small problem (`plan.is_small`) the overhead of the loop over tiles would exceed its work. As in the loop,
16-bit floats are multiplied as float32, inactive rows may hold infinities and NaN, and the targets' entries
of the logits' gradient are left out of the products and added last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lastlayer.problem import Head, Problem, is_top_k

from . import plan
from .array_ops import NumPyOps

__all__ = ["Logits", "logits", "loss_and_gradients"]

Gradient = Callable[[Problem], tuple[Any, Any]]  # loss, and its gradient in the logits


class Logits(NamedTuple):
    """The logits of a small head, and the arrays from which they were computed."""

    z: Any  # (..., V), float32 or float64
    x: Any  # (N, D), of their dtype
    weight: Any  # (V, D), likewise


def logits(head: Head, targets: Any) -> Logits | None:
    """The logits of a small head; None with top-k targets too, whose entries the loop adds last."""
    x, weight, bias, memory = head
    if memory is not None or weight.size == 0 or is_top_k(targets):
        return None
    rows, (v, d) = x.shape[:-1], weight.shape
    n = math.prod(rows)
    if not plan.planner.is_small(n, v, None):
        return None
    dtype = x.dtype
    if not (dtype == weight.dtype and (bias is None or dtype == bias.dtype) and dtype.char in "fd"):
        double = any(a is not None and a.dtype == np.float64 for a in (x, weight, bias))
        dtype = np.dtype(np.float64 if double else np.float32)
        x, weight = x.astype(dtype, copy=False), weight.astype(dtype, copy=False)
    x = x.reshape(n, d)
    with np.errstate(all="ignore"):
        z = x @ weight.T
        if bias is not None:
            z += bias
    return Logits(z.reshape(*rows, v), x, weight)


@np.errstate(all="ignore")
def loss_and_gradients(
    head: Head, z: Logits, problem: Problem, cross_entropy_grad: Gradient
) -> tuple[Any, list[Any]]:
    """The loss, and its gradients in x, weight and bias; by a backend's gradient in the logits."""
    _, x, weight = z
    value, g = cross_entropy_grad(problem)
    g, t = g.reshape(len(x), -1), problem.targets
    assert t is not None
    inactive = None
    if not _all_active(problem, len(x)) and not (active := g.any(1)).all():
        inactive = ~active
        x = np.where(active[:, None], x, x.dtype.type(0))  # others may hold infinities
    db = None if head.bias is None else g.sum(0).astype(head.bias.dtype, copy=False)
    large = t.kind == "index" and g.shape[1] > plan.FEW
    if large:
        arrays, row = NumPyOps(g.dtype), np.arange(len(x))
        column = np.clip(np.asarray(t.array).reshape(-1), 0, g.shape[1] - 1).astype(np.int64)
        entry = arrays.take_out(g, row, column)
    dx, dw = g @ weight, g.T @ x
    if large:
        arrays.add_entries((column, row, entry), x, dw, g.nbytes)
        dx += weight[column] * entry[:, None]
    if inactive is not None:
        dx[inactive] = 0  # even if the weights hold infinities
    dx, dw = dx.astype(head.x.dtype, copy=False), dw.astype(head.weight.dtype, copy=False)
    return value, [dx.reshape(head.x.shape), dw, db]


def _all_active(problem: Problem, n: int) -> bool:
    """Whether every row is known to be active: a mean over all of them, without weights."""
    t = problem.targets
    plain = t is not None and t.kind == "index" and t.class_weight is None and t.sample_weight is None
    return plain and problem.reduction == "mean" and problem.scale == 1.0 / n
