"""Few classes: many rows a program, whose scores travel as one vector and are transposed on chip.

    softmax, log-softmax         1 read + 1 write of the scores
    loss, with its mean          1 read
    loss and gradient            1 read + 1 write

For at most 32 classes side by side in memory, without room between the rows. A thread then has all classes of
its rows in registers, so no sum needs an exchange between threads, and memory is read and written 16 bytes at
a time whatever the number of classes. The transposition goes through shared memory (`tl.gather`).
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, reference
from .rows import (
    GRADIENT,
    LOG_SOFTMAX,
    LOSS,
    LSE,
    SOFTMAX,
    UNALIGNED,
    exponentials,
    gradient_rows,
    inverse,
    norm_of,
    row_results,
    target_rows,
    without_peak,
)
from .sums import NONE, factor_of, finish

__all__ = ["few"]


@triton.jit(do_not_specialize=["n", "ignore"], do_not_specialize_on_alignment=UNALIGNED)
def few(
    z_ptr, out_ptr, y_ptr, rows_ptr, peak_ptr, other_ptr, total_ptr, result_ptr, parts_ptr, counters_ptr,
    n, ignore, factor,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr, COUNTED: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, C: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr,
    SIZE: tl.constexpr,
):  # fmt: skip
    """R rows of V classes. C, P: the powers of two from V and R V on. The rest as in `tile`."""
    LOSSES: tl.constexpr = MODE >= LOSS
    p = tl.arange(0, P)
    i = tl.arange(0, C * R)
    r = tl.arange(0, R)
    to_rows = tl.where(i < V * R, (i % R) * V + i // R, 0)
    to_memory = tl.where(p < V * R, (p % V) * R + p // V, 0)
    loss_sum = tl.zeros([R], tl.float32)
    row_sum = tl.zeros([R], tl.float32)
    if MODE == GRADIENT:
        factor = factor_of(total_ptr, y_ptr, n, ignore, factor, COUNTED)
    for t in range(tl.program_id(0), tl.cdiv(n, R), tl.num_programs(0)):
        first = tl.cast(t, tl.int64) * R
        left = (tl.minimum(n - first, R) * V).to(tl.int32)
        live = r < n - first
        kept, z_y = live, r  # of losses alone
        if LOSSES:
            y, z_y, kept, right = target_rows(z_ptr, y_ptr, first, r, live, V, V, ignore)
        if left == R * V:  # a mask that the compiler knows: loads of 16 bytes
            w = tl.load(z_ptr + first * V + p, p < R * V, other=0.0)
        else:
            w = tl.load(z_ptr + first * V + p, p < left, other=0.0)
        z = tl.gather(w, to_rows, 0).to(tl.float32)
        z = tl.reshape(tl.where(i < V * R, z, -INF), [C, R])
        peak = tl.max(z, 0)
        shift, zero, unit, unit_low = reference(peak, WIDE)
        e = exponentials(z, shift[None, :], zero[None, :], WIDE, MODE >= LSE)
        below = tl.sum(tl.where(z == peak[None, :], 0.0, e), 0)
        other = without_peak(below, tl.sum(e, 0), unit)
        norm, norm_low = norm_of(peak, other, unit, unit_low)
        loss = row_results(
            rows_ptr, peak_ptr, other_ptr, first + r, live, peak, other, norm, norm_low, z_y, kept,
            MODE, REDUCE, KEEP,
        )  # fmt: skip
        if LOSSES and REDUCE != NONE:
            loss_sum += loss
            row_sum += tl.where(kept, 1.0, 0.0)
        if MODE == SOFTMAX or MODE == LOG_SOFTMAX or MODE == GRADIENT:
            if MODE == LOG_SOFTMAX:
                d = ((z - peak[None, :]) - norm[None, :]) - norm_low[None, :]
            else:
                if MODE == GRADIENT:
                    high, low, d_y = gradient_rows(
                        z_y, peak, shift, zero, other, unit, unit_low, factor, kept, right, WIDE
                    )
                else:
                    high, low = inverse(1.0, peak, other, 1.0, unit, unit_low)
                if WIDE:
                    d = tl.fma(e, high[None, :], e * low[None, :])
                else:
                    d = e * high[None, :]
                if MODE == GRADIENT:
                    here = (tl.arange(0, C)[:, None] == y[None, :]) & (kept & right)[None, :]
                    d = tl.where(here, d_y[None, :], d)
                    d = tl.where(kept[None, :], d, 0.0)  # 0 where the scores are NaN, too
            d = tl.gather(tl.reshape(d.to(out_ptr.dtype.element_ty), [C * R]), to_memory, 0)
            if left == R * V:
                tl.store(out_ptr + first * V + p, d, p < R * V)
            else:
                tl.store(out_ptr + first * V + p, d, p < left)
    if LOSSES and REDUCE != NONE:
        losses, counts = tl.sum(loss_sum, 0).to(tl.float64), tl.sum(row_sum, 0).to(tl.float64)
        i, parts = tl.program_id(0), tl.num_programs(0)
        finish(losses, counts, i, parts, result_ptr, parts_ptr, counters_ptr, factor, REDUCE, False, SIZE)
