"""The plan of one call. In: its backend and operands. Out: a `Plan` that ``max_memory`` allows, or an error.

`plan` works on plain numbers; this module computes them from the arrays of the call.
"""

from __future__ import annotations

from lastlayer import problem as problems

from . import plan as plans
from .plan import Plan
from .tile import Needs, Operands, TileBackend, Wanted

__all__ = ["cut"]


def cut(backend: TileBackend, operands: Operands, wanted: Wanted, needs: Needs) -> Plan:
    """The plan of a call that computes the ``wanted`` gradients and whatever ``needs`` lists besides."""
    (head, problem, rows), arrays = operands, backend.arrays
    n, (v, d) = rows.x.shape[0], head.weight.shape
    size, sum_size = arrays.itemsize, arrays.sum_dtype.itemsize
    threads, costs = backend.threads, backend.costs(operands, wanted)
    fixed = costs.fixed + threads * min(arrays.pack_bytes, n * d * size) + needs.row_bytes * n
    if rows.x.dtype != head.x.dtype or rows.index is not None:
        fixed += n * d * size
    if wanted[0] and (head.x.dtype != arrays.sum_dtype or rows.index is not None):
        fixed += n * d * sum_size
    converted = head.weight.dtype != arrays.dtype
    rounded = wanted[1] and not converted and head.weight.dtype != arrays.sum_dtype
    costs = costs._replace(
        fixed=fixed,
        a_class=d * (size + (sum_size if wanted[1] else 0)) if converted else 0,
        a_class_again=d * sum_size if rounded else 0,
        row_product=d * size if wanted[0] and arrays.separate else 0,
        class_product=d * size if wanted[1] and arrays.separate else 0,
        aliasable=d * head.weight.dtype.itemsize if wanted[1] else 0,
    )
    memory = plans.default_memory() if head.memory is None else head.memory
    keep = any(wanted) and not needs.recompute
    found = plans.planner.plan(n, v, size, threads, memory, costs, keep=keep, wide=needs.min_classes)
    problems.enough_memory(problem.scores.function, head, found.memory)
    return found
