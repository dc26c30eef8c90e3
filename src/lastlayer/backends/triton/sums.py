"""A sum over all rows in the same launch as the rows: the last program to finish adds the others' parts up.

Device code. Programs add the losses of their rows up in a fixed order, and store a float64; a counter tells
the last one, which adds the parts up in the order of the programs. So the result is the same, bit by bit,
from run to run. The counter is 0 before and after each launch; see `launching.workspace`.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["FACTOR", "FEW_ROWS", "LOADED", "MEAN", "NONE", "ROWS", "SUM", "factor_of", "finish"]

# How losses are reduced: one number a row; the sum times a factor; the sum over the rows that count, divided
# by their number.
NONE, SUM, MEAN = (tl.constexpr(i) for i in range(3))
# Where the factor of a gradient comes from: the argument; 1 / total, which was counted before; 1 / the number
# of rows that are not ignored, which every program counts itself, for at most FEW_ROWS rows.
FACTOR, LOADED, ROWS = (tl.constexpr(i) for i in range(3))
FEW_ROWS = tl.constexpr(1024)
SOME = tl.constexpr(256)  # parts that are read at once


@triton.jit
def finish(loss, rows, result_ptr, parts_ptr, counter_ptr, factor, REDUCE: tl.constexpr, MOST: tl.constexpr):
    """Add up what every program found: ``loss``, and the number of ``rows`` that count (both float64).

    ``parts_ptr``: 2 MOST float64; MOST is at least the number of programs.
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
            sums = tl.zeros([SOME], tl.float64)
            counts = tl.zeros([SOME], tl.float64)
            for start in tl.range(0, programs, SOME, loop_unroll_factor=1):
                i = start + tl.arange(0, SOME)
                sums += tl.load(parts_ptr + i, i < programs, other=0.0, cache_modifier=".cg")
                if REDUCE == MEAN:
                    counts += tl.load(parts_ptr + MOST + i, i < programs, other=0.0, cache_modifier=".cg")
            total, count = tl.sum(sums, 0), tl.sum(counts, 0)
            tl.store(counter_ptr, 0)
        if REDUCE == MEAN:
            total = tl.where(count > 0.0, total / tl.where(count > 0.0, count, 1.0), total)
        else:
            total = total * factor
        tl.store(result_ptr, total.to(tl.float32))


@triton.jit
def factor_of(total_ptr, y_ptr, n, ignore, factor, COUNTED: tl.constexpr):
    """The factor of a gradient: see FACTOR, LOADED, ROWS. 0 where no row counts."""
    if COUNTED == FACTOR:
        return factor
    else:
        if COUNTED == LOADED:
            total = tl.load(total_ptr)
        else:
            i = tl.arange(0, FEW_ROWS)
            y = tl.load(y_ptr + i, i < n, other=0)
            total = tl.sum(tl.where((i < n) & (y != ignore), 1.0, 0.0), 0)
        return tl.where(total > 0.0, tl.div_rn(1.0, tl.where(total > 0.0, total, 1.0)), 0.0)
