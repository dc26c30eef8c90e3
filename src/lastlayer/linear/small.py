"""The linear head of NumPy arrays on few logits, which are computed as a whole.

In: a checked head, its logits and their problem. Out: the loss and the gradients of x, weight and bias. For a
small problem (`plan.is_small`) the loop over tiles would spend its time on itself. As in the loop, 16-bit
floats are multiplied as float32, inactive rows may hold anything, and the targets' entries of the logits'
gradient are left out of the products and added last.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lastlayer.backends.core import native
from lastlayer.problem import Head, Problem, is_top_k

from . import plan
from .array_ops import NumPyProducts

__all__ = ["Logits", "logits", "loss_and_gradients"]


class Logits(NamedTuple):
    """The logits of a small head, and what they were multiplied from."""

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
def loss_and_gradients(head: Head, made: Logits, problem: Problem) -> tuple[Any, list[Any]]:
    """The loss, and its gradients in x, weight and bias."""
    _, x, weight = made
    value, g = native.cross_entropy_grad(problem)
    g, t = g.reshape(len(x), -1), problem.targets
    assert t is not None
    inactive = None
    if not _all_active(problem, len(x)) and not (counts := g.any(1)).all():
        inactive = ~counts
        x = np.where(counts[:, None], x, x.dtype.type(0))  # whatever the others hold
    db = None if head.bias is None else g.sum(0).astype(head.bias.dtype, copy=False)
    large = t.kind == "index" and g.shape[1] > plan.FEW
    if large:
        products, row = NumPyProducts(g.dtype), np.arange(len(x))
        column = np.clip(np.asarray(t.array).reshape(-1), 0, g.shape[1] - 1).astype(np.int64)
        value_at = products.take(g, row, column)
    dx, dw = g @ weight, g.T @ x
    if large:
        products.put(column, row, value_at, x, dw, g.nbytes)
        dx += weight[column] * value_at[:, None]
    if inactive is not None:
        dx[inactive] = 0  # whatever the weights hold
    dx, dw = dx.astype(head.x.dtype, copy=False), dw.astype(head.weight.dtype, copy=False)
    return value, [dx.reshape(head.x.shape), dw, db]


def _all_active(problem: Problem, n: int) -> bool:
    """Whether every row is known to have a part in the loss: a mean over all of them, without weights."""
    t = problem.targets
    plain = t is not None and t.kind == "index" and t.class_weight is None and t.sample_weight is None
    return plain and problem.reduction == "mean" and problem.scale == 1.0 / n
