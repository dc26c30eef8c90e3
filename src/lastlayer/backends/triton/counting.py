"""How many rows are not ignored: the divisor of a mean, before the gradient is computed with the loss."""

from __future__ import annotations

import triton
import triton.language as tl

from .sums import SUM, finish

__all__ = ["count"]


@triton.jit(do_not_specialize=["n", "ignore"], do_not_specialize_on_alignment=["y_ptr"])
def count(y_ptr, result_ptr, parts_ptr, counters_ptr, n, ignore, BLOCK: tl.constexpr):
    """result = the number of y that are not ``ignore``, in float32. n int64 are read."""
    kept = tl.zeros([BLOCK], tl.int32)
    for start in range(tl.program_id(0) * BLOCK, n, tl.num_programs(0) * BLOCK):
        i = start + tl.arange(0, BLOCK)
        kept += ((tl.load(y_ptr + i, i < n, other=ignore) != ignore) & (i < n)).to(tl.int32)
    found = tl.sum(kept, 0).to(tl.float64)
    i, parts = tl.program_id(0), tl.num_programs(0)
    finish(found, found, i, parts, result_ptr, parts_ptr, counters_ptr, 1.0, SUM)
