"""Short rows: one or several rows a program, held on chip; one visit for all results.

    softmax, log-softmax         1 read + 1 write of the scores
    loss, with its mean          1 read
    loss and gradient            1 read + 1 write

Used up to 16 384 classes, for scores whose classes lie next to each other in memory. A program holds R rows
as a tile of shape (R, K, C), class k C + c: C classes of a row side by side in the lanes, K such pieces in a
thread's registers: the sums over K need no exchange between threads, and the loads are as wide as the
alignment A of the rows allows (Triton knows alignments of 16 only: V and the strides come divided by A).
Of P programs each goes through every P-th tile.

Accuracy: see `tests/declared.py`; in float32 at most 3.6 ULP for softmax and gradients, 4.3 for losses.
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
    SURE,
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

__all__ = ["tile"]


@triton.jit
def others(z, e, peak, total, unit):
    """The sum of the exponentials of all classes but one at the peak, which is not added and taken away."""
    below = tl.sum(tl.sum(tl.where(z == peak[:, None, None], 0.0, e), 1), 1)
    return without_peak(below, total, unit)


@triton.jit
def others_of(e, total, unit):
    """As `others`, from the exponentials alone: those of the peak are the largest."""
    top = tl.max(tl.max(e, 1), 1)
    below = tl.sum(tl.sum(tl.where(e < top[:, None, None], e, 0.0), 1), 1)
    return tl.where(total == total, without_peak(below, total, unit), total)


@triton.jit(do_not_specialize=["n", "V", "zs", "os", "ignore"], do_not_specialize_on_alignment=UNALIGNED)
def tile(
    z_ptr, out_ptr, y_ptr, rows_ptr, peak_ptr, other_ptr, total_ptr, result_ptr, parts_ptr, counters_ptr,
    n, V, zs, os, ignore, factor,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr, COUNTED: tl.constexpr,
    K: tl.constexpr, R: tl.constexpr, C: tl.constexpr, A: tl.constexpr, WIDE: tl.constexpr,
    FIX: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """``rows_ptr``: the loss or lse of each row (REDUCE is NONE). KEEP: store (peak, other), see `long`.

    COUNTED: where the factor of the gradient comes from, see `sums.factor_of`.
    """
    V *= A
    zs *= A
    os *= A
    LOSSES: tl.constexpr = MODE >= LOSS
    k = tl.arange(0, K)[None, :, None]
    r = tl.arange(0, R)
    c = tl.arange(0, C)[None, None, :]
    col = k * C + c
    in_tile = r[:, None, None] * zs + col
    out_tile = r[:, None, None] * os + col
    loss_sum = tl.zeros([R], tl.float32)
    row_sum = tl.zeros([R], tl.float32)
    if MODE == GRADIENT:
        factor = factor_of(total_ptr, y_ptr, n, ignore, factor, COUNTED)
    for t in range(tl.program_id(0), tl.cdiv(n, R), tl.num_programs(0)):
        first = tl.cast(t, tl.int64) * R
        live = r < n - first
        read = live
        outside = -INF
        kept, z_y = live, r  # of losses alone
        if LOSSES:
            y, z_y, kept, right = target_rows(z_ptr, y_ptr, first, r, live, zs, V, ignore)
            read = kept  # the scores of an ignored row are not read: 0 stands for them
            outside = tl.where(kept, -INF, 0.0)[:, None, None].to(z_ptr.dtype.element_ty)
        mask = live[:, None, None] & (col < V)
        z = tl.load(z_ptr + first * zs + in_tile, read[:, None, None] & (col < V), other=outside).to(
            tl.float32
        )
        peak = tl.max(tl.max(z, 1), 1)
        shift, zero, unit, unit_low = reference(peak, WIDE)
        e = exponentials(z, shift[:, None, None], zero[:, None, None], WIDE, MODE >= LSE)
        total = tl.sum(tl.sum(e, 1), 1)
        if MODE == SOFTMAX and not WIDE:  # rounded to 16 bits: the peak need not be left out
            other = total - unit
        elif R == 1:
            if tl.max(total - SURE * unit, 0) >= 0.0:
                other = total - unit
            elif MODE == GRADIENT or MODE == SOFTMAX:
                other = others_of(e, total, unit)
            else:  # the scores once more, which need not be kept for it
                again = tl.load(
                    z_ptr + first * zs + in_tile, read[:, None, None] & (col < V), other=outside
                ).to(tl.float32)
                e = exponentials(again, shift[:, None, None], zero[:, None, None], WIDE, True)
                other = others(again, e, peak, total, unit)
        else:
            other = others(z, e, peak, total, unit)
        norm, norm_low = peak, peak
        if MODE != SOFTMAX:
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
                d = ((z - peak[:, None, None]) - norm[:, None, None]) - norm_low[:, None, None]
            else:
                if MODE == GRADIENT:
                    high, low, d_y = gradient_rows(
                        z_y, peak, shift, zero, other, unit, unit_low, factor, kept, right, WIDE
                    )
                else:
                    high, low = inverse(1.0, peak, other, 1.0, unit, unit_low)
                if WIDE:
                    d = tl.fma(e, high[:, None, None], e * low[:, None, None])
                else:
                    d = e * high[:, None, None]
                if MODE == GRADIENT and not FIX:
                    here = (col == y[:, None, None]) & (kept & right)[:, None, None]
                    d = tl.where(here, d_y[:, None, None], d)
                if MODE == GRADIENT:
                    tl.debug_barrier()  # in place: all have read z_y before anyone writes
            tl.store(out_ptr + first * os + out_tile, d.to(out_ptr.dtype.element_ty), mask)
            if MODE == GRADIENT and FIX:  # the target's entry, after the others: no comparison a score
                tl.debug_barrier()
                tl.store(out_ptr + first * os + (r * os + y), d_y.to(out_ptr.dtype.element_ty), kept & right)
    if LOSSES and REDUCE != NONE:
        losses, counts = tl.sum(loss_sum, 0).to(tl.float64), tl.sum(row_sum, 0).to(tl.float64)
        i, parts = tl.program_id(0), tl.num_programs(0)
        finish(losses, counts, i, parts, result_ptr, parts_ptr, counters_ptr, factor, REDUCE, False, SIZE)
