"""A sum over all rows in the same launch as the rows: the last program to finish adds the others' parts up.

Device code. Programs add the losses of their rows up in a fixed order, and store a float64; a counter tells
the last one, which adds the parts up in the order of the programs. So the result is the same, bit by bit,
from run to run. The counter is 0 before and after each launch; see `launching.workspace`.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["MEAN", "NONE", "SUM", "finish"]

# How losses are reduced: one number a row; the sum times a factor; the sum over the rows that count, divided
# by their number.
NONE, SUM, MEAN = (tl.constexpr(i) for i in range(3))


@triton.jit
def finish(loss, rows, result_ptr, parts_ptr, counter_ptr, factor, REDUCE: tl.constexpr, MOST: tl.constexpr):
    """Add up what every program found: ``loss``, and the number of ``rows`` that count (both float64).

    ``parts_ptr``: 2 MOST float64, where MOST is a power of two, at least the number of programs.
    """
    programs = tl.num_programs(0)
    pid = tl.program_id(0)
    if programs == 1:
        total, count = loss, rows
        last = True
    else:
        tl.store(parts_ptr + pid, loss)
        if REDUCE == MEAN:
            tl.store(parts_ptr + MOST + pid, rows)
        tl.debug_barrier()  # the stores of this program come before its arrival
        last = tl.atomic_add(counter_ptr, 1, sem="acq_rel") == programs - 1
        total, count = loss, rows
    if last:
        if programs > 1:
            i = tl.arange(0, MOST)
            total = tl.sum(tl.load(parts_ptr + i, i < programs, other=0.0, cache_modifier=".cg"), 0)
            if REDUCE == MEAN:
                count = tl.sum(
                    tl.load(parts_ptr + MOST + i, i < programs, other=0.0, cache_modifier=".cg"), 0
                )
            tl.store(counter_ptr, 0)
        if REDUCE == MEAN:
            total = tl.where(count > 0.0, total / tl.where(count > 0.0, count, 1.0), total)
        else:
            total = total * factor
        tl.store(result_ptr, total.to(tl.float32))
