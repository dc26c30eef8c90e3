"""A sum over all rows in the same launch as the rows, in a fixed order: the same bits from run to run.

Device code. Whoever has computed rows (a program, or the program that finished a row) stores their sum as a
float64 and counts itself as arrived; the last to arrive of a group adds the group's parts up, and the last
group adds the groups up. The counters are 0 before and after each launch; see `launching.workspace`.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["FACTOR", "FEW_ROWS", "GROUP", "LOADED", "MEAN", "NONE", "ROWS", "SUM", "factor_of", "finish"]

# How losses are reduced: one number a row; the sum times a factor; the sum over the rows that count, divided
# by their number.
NONE, SUM, MEAN = (tl.constexpr(i) for i in range(3))
# Where the factor of a gradient comes from: the argument; 1 / total, which was counted before; 1 / the number
# of rows that are not ignored, which every program counts itself, for at most FEW_ROWS rows.
FACTOR, LOADED, ROWS = (tl.constexpr(i) for i in range(3))
FEW_ROWS = tl.constexpr(1024)
GROUP = tl.constexpr(128)
MANY = tl.constexpr(512)


@triton.jit
def arrived(counter_ptr, expected):
    """Whether this is the last of those expected; the counter is 0 again then."""
    tl.debug_barrier()  # what this program has stored comes before its arrival
    last = tl.atomic_add(counter_ptr, 1, sem="acq_rel") == expected - 1
    if last:
        tl.store(counter_ptr, 0)
    return last


@triton.jit
def finish(
    loss, rows, i, n, result_ptr, parts_ptr, counters_ptr, factor,
    REDUCE: tl.constexpr, TOTAL: tl.constexpr = False, SIZE: tl.constexpr = GROUP,
):  # fmt: skip
    """Add up n parts, of which this is number i: ``loss`` and the ``rows`` that count, in float64.

    TOTAL: store the divisor of a mean, too, in result_ptr[1].

    ``parts_ptr``: 2 float64 for each part, then 2 for each group of SIZE. ``counters_ptr``: one for the
    groups, then one for each group. A single group needs no second step.
    """
    groups = tl.cdiv(n, SIZE)
    group = i // SIZE
    sums_ptr = parts_ptr + 2 * n
    tl.store(parts_ptr + 2 * i, loss)
    if REDUCE == MEAN:
        tl.store(parts_ptr + 2 * i + 1, rows)
    if arrived(counters_ptr + 1 + group, tl.minimum(SIZE, n - group * SIZE)):
        j = group * SIZE + tl.arange(0, SIZE)
        total = tl.sum(tl.load(parts_ptr + 2 * j, j < n, other=0.0, cache_modifier=".cg"), 0)
        count = total
        if REDUCE == MEAN:
            count = tl.sum(tl.load(parts_ptr + 2 * j + 1, j < n, other=0.0, cache_modifier=".cg"), 0)
        last = groups == 1
        if groups > 1:
            tl.store(sums_ptr + 2 * group, total)
            if REDUCE == MEAN:
                tl.store(sums_ptr + 2 * group + 1, count)
            last = arrived(counters_ptr, groups)
            if last:
                total = tl.full((), 0.0, tl.float64)
                count = total
                for start in tl.range(0, groups, MANY, loop_unroll_factor=1):
                    k = start + tl.arange(0, MANY)
                    more = tl.load(sums_ptr + 2 * k, k < groups, other=0.0, cache_modifier=".cg")
                    total += tl.sum(more, 0)
                    if REDUCE == MEAN:
                        more = tl.load(sums_ptr + 2 * k + 1, k < groups, other=0.0, cache_modifier=".cg")
                        count += tl.sum(more, 0)
        if last:
            if REDUCE == MEAN:
                total = tl.where(count == 0.0, 0.0, total / tl.where(count == 0.0, 1.0, count))
                if TOTAL:
                    tl.store(result_ptr + 1, count.to(tl.float32))
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
