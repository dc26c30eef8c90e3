"""Few classes, each a plane of neighbouring pixels (images with class axis 1): one visit for all results.

    softmax, log-softmax         1 read + 1 write of the scores
    loss, with its mean          1 read
    loss and gradient            1 read + 1 write

Used up to 256 classes, for index targets and no other option. A program holds P pixels; the lanes lie along
the pixels, 2 to 8 neighbours a thread, and a thread has all classes of its pixels, so that sums over classes
need no exchange. Up to 32 classes are kept in registers, written out class by class (HELD); of more classes a
program keeps the statistics, brought up to date by 8 classes at a time, and reads its pixels again from the
nearest cache to write.

Accuracy: as `tile`.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from .elementary import INF, exp_below, log1p, reference
from .online import add, finite
from .rows import exponentials, inverse, rest_of
from .sums import NONE, finish
from .tile import GRADIENT, LOG_SOFTMAX, LOSS, LSE, SOFTMAX

__all__ = ["planes"]


@triton.jit
def some(x, first, stride, V, live, COUNT: tl.constexpr, ALL: tl.constexpr):
    """COUNT classes of every pixel, a tuple; -inf beyond class V unless ALL exist."""
    z: Any = ()
    for j in tl.static_range(COUNT):
        inside = live
        if not ALL:
            inside = live & (first + j < V)
        z += (tl.load(x + (first + j) * stride, inside, other=-INF).to(tl.float32),)
    return z


@triton.jit
def highest(z, COUNT: tl.constexpr):
    """The largest of a tuple; NaN is left out."""
    peak = z[0]
    for j in tl.static_range(1, COUNT):
        peak = tl.maximum(peak, z[j])
    return peak


@triton.jit
def planes(
    z_ptr, out_ptr, y_ptr, rows_ptr, peak_ptr, rest_ptr, total_ptr, result_ptr, parts_ptr, counter_ptr,
    outer, inner, V, zo, zs, oo, os, ignore, factor,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr, COUNTED: tl.constexpr,
    P: tl.constexpr, COUNT: tl.constexpr, HELD: tl.constexpr, WIDE: tl.constexpr, LONG: tl.constexpr,
    MOST: tl.constexpr,
):  # fmt: skip
    """Arguments as of `tile`; pixels lie next to each other; strides of classes (s) and of images (o).

    COUNT classes are looked at together: all if HELD.
    """
    LOSSES: tl.constexpr = MODE >= LOSS
    TIED: tl.constexpr = MODE != SOFTMAX
    CORRECTED: tl.constexpr = MODE >= LSE
    loss_sum = tl.zeros([P], tl.float64)
    row_sum = tl.zeros([P], tl.float64)
    if LONG:
        zs = tl.cast(zs, tl.int64)
        os = tl.cast(os, tl.int64)
    if COUNTED:
        total = tl.load(total_ptr)
        factor = tl.where(total > 0.0, tl.div_rn(1.0, tl.where(total > 0.0, total, 1.0)), 0.0)
    blocks = tl.cdiv(inner, P)
    for t in range(tl.program_id(0), outer * blocks, tl.num_programs(0)):
        image = tl.cast(t // blocks, tl.int64)
        i = (t % blocks) * P + tl.arange(0, P)
        live = i < inner
        x = z_ptr + image * zo + i
        out = out_ptr + image * oo + i
        row = image * inner + i
        if LOSSES:
            y = tl.load(y_ptr + row, live, other=0)
            kept = live & (y != ignore)
            right = (y >= 0) & (y < V)
            y = tl.where(right, y, -1).to(tl.int32)
            z_y = tl.full([P], float("nan"), tl.float32)
        zero = tl.zeros([P], tl.float32)
        other, low, ties = zero, zero, zero
        if HELD:
            z = some(x, 0, zs, V, live, COUNT, True)
            peak = highest(z, COUNT)
            shift, exponent, unit, unit_low = reference(peak, WIDE)
            e: Any = ()
            for j in tl.static_range(COUNT):
                e += (exponentials(z[j], shift, exponent, WIDE, CORRECTED),)
                if TIED:
                    top = z[j] == peak
                    other += tl.where(top, 0.0, e[j])
                    ties += tl.where(top, 1.0, 0.0)
                else:
                    other += e[j]
                if LOSSES:
                    z_y = tl.where(y == j, z[j], z_y)
        else:
            peak = tl.full([P], -INF, tl.float32)
            shift, exponent, unit = zero, zero, zero + 1.0
            for first in range(0, V, COUNT):
                z = some(x, first, zs, V, live, COUNT, False)
                new = tl.maximum(peak, highest(z, COUNT))
                new_shift, new_exponent, new_unit, _ = reference(finite(new), WIDE)
                grew = new > peak
                fewer = exp_below(shift, new_shift, new_exponent - exponent)
                other = tl.where(grew, (other + ties * unit) * fewer, other)
                low = tl.where(grew, low * fewer, low)
                ties = tl.where(grew, 0.0, ties)
                peak, shift, exponent, unit = new, new_shift, new_exponent, new_unit
                here = zero
                for j in tl.static_range(COUNT):
                    top = (z[j] == peak) & (first + j < V)
                    here += tl.where(top, 0.0, exponentials(z[j], shift, exponent, WIDE, True))
                    ties += tl.where(top, 1.0, 0.0)
                other, low = add(other, low, here)
            other += low
            shift, exponent, unit, unit_low = reference(finite(peak), WIDE)
            if LOSSES:
                z_y = tl.load(x + y * zs, kept & right, other=float("nan")).to(tl.float32)
        rest = rest_of(peak, other, ties, unit)
        if KEEP:
            tl.store(peak_ptr + row, peak, live)
            tl.store(rest_ptr + row, rest, live)
        if MODE == LSE:
            lse = tl.where(tl.abs(peak) < INF, peak + log1p(rest), tl.where(peak == -INF, peak, rest + peak))
            tl.store(rows_ptr + row, lse, live)
        if LOSSES:
            loss = tl.where(kept, (peak - z_y) + log1p(rest), 0.0)
            if REDUCE == NONE:
                tl.store(rows_ptr + row, loss, live)
            else:
                loss_sum += loss.to(tl.float64)
                row_sum += tl.where(kept, 1.0, 0.0)
        if MODE == LOG_SOFTMAX:
            high, low = log1p(rest), zero
        elif MODE == SOFTMAX:
            high, low = inverse(1.0, peak, other, ties, unit, unit_low)
        elif MODE == GRADIENT:
            high, low = inverse(factor, peak, other, ties, unit, unit_low)
            gone = right & kept  # a wrong target makes the row NaN, an ignored one makes it 0
            at_target = -(other + (ties - 1.0) * unit) * high  # p - 1 without cancellation
            high = tl.where(gone, high, tl.where(kept, float("nan"), 0.0))
            low = tl.where(gone, low, 0.0)
            y = tl.where(gone, y, -1)
            at_peak = z_y == peak
        if MODE == SOFTMAX or MODE == LOG_SOFTMAX or MODE == GRADIENT:
            if not HELD:
                tl.debug_barrier()
            for first in range(0, V, COUNT):
                if not HELD:
                    z = some(x, first, zs, V, live, COUNT, False)
                for j in tl.static_range(COUNT):
                    if MODE == LOG_SOFTMAX:
                        d = (z[j] - peak) - high
                    else:
                        if HELD:
                            p = e[j]
                        else:
                            p = exponentials(z[j], shift, exponent, WIDE, True)
                        d = p * high
                        if WIDE:
                            d = tl.fma(p, high, p * low)
                        if MODE == GRADIENT:
                            d = tl.where(kept, d, 0.0)  # 0 where the scores are NaN, too
                            d = tl.where(y == first + j, tl.where(at_peak, at_target, d - factor), d)
                    inside = live
                    if not HELD:
                        inside = live & (first + j < V)
                    tl.store(out + (first + j) * os, d.to(out_ptr.dtype.element_ty), inside)
    if LOSSES and REDUCE != NONE:
        finish(
            tl.sum(loss_sum, 0), tl.sum(row_sum, 0), result_ptr, parts_ptr, counter_ptr, factor, REDUCE, MOST
        )
