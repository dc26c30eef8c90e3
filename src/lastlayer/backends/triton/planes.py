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

import triton
import triton.language as tl

from .elementary import INF, exp_below, log1p, reference
from .online import add, finite
from .rows import GRADIENT, LOG_SOFTMAX, LOSS, LSE, SOFTMAX, UNALIGNED, exponentials, inverse, rest_of
from .sums import NONE, factor_of, finish

__all__ = ["planes"]


@triton.jit
def some(z, x, first, stride, V, live, COUNT: tl.constexpr, ALL: tl.constexpr):
    """The tuple ``z`` and COUNT classes of every pixel; -inf beyond class V unless ALL exist."""
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
def in_registers(e, z, y, WIDE: tl.constexpr, MODE: tl.constexpr, COUNT: tl.constexpr):
    """(peak, other, ties, z_y), and the tuple ``e`` with the exponentials of all classes."""
    peak = highest(z, COUNT)
    shift, exponent, _, _ = reference(peak, WIDE)
    other, part, ties = tl.zeros_like(peak), tl.zeros_like(peak), tl.zeros_like(peak)
    z_y = tl.full(peak.shape, float("nan"), tl.float32)
    for j in tl.static_range(COUNT):
        e += (exponentials(z[j], shift, exponent, WIDE, MODE >= LSE),)
        top = z[j] == peak
        part += tl.where(top, 0.0, e[j])
        if j % 4 == 3 or j == COUNT - 1:  # few additions in a row
            other += part
            part = tl.zeros_like(peak)
        ties += tl.where(top, 1.0, 0.0)
        if MODE >= LOSS:
            z_y = tl.where(y == j, z[j], z_y)
    return peak, other, ties, z_y, e


@triton.jit
def exponentials_of(e, z, shift, exponent, WIDE: tl.constexpr, COUNT: tl.constexpr):
    """The tuple ``e`` and the exponentials of COUNT classes."""
    for j in tl.static_range(COUNT):
        e += (exponentials(z[j], shift, exponent, WIDE, True),)
    return e


@triton.jit
def in_turn(x, stride, V, live, WIDE: tl.constexpr, COUNT: tl.constexpr, P: tl.constexpr):
    """(peak, other, ties), by COUNT classes at a time; see `online`."""
    zero = tl.zeros([P], tl.float32)
    peak = tl.full([P], -INF, tl.float32)
    shift, exponent, unit, other, low, ties = zero, zero, zero + 1.0, zero, zero, zero
    for first in range(0, V, COUNT):
        z = some((), x, first, stride, V, live, COUNT, False)
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
    return peak, other + low, ties


@triton.jit
def write(
    out, first, stride, V, live, z, e, peak, high, low, y, kept, at_target, factor,
    MODE: tl.constexpr, WIDE: tl.constexpr, COUNT: tl.constexpr, ALL: tl.constexpr,
):  # fmt: skip
    """COUNT classes of the result; ``at_target`` is p - 1 where the target is at the peak, else 1."""
    for j in tl.static_range(COUNT):
        if MODE == LOG_SOFTMAX:
            d = (z[j] - peak) - high
        else:
            d = e[j] * high
            if WIDE:
                d = tl.fma(e[j], high, e[j] * low)
            if MODE == GRADIENT:
                d = tl.where(kept, d, 0.0)  # 0 where the scores are NaN, too
                d = tl.where(y == first + j, tl.where(at_target > 0.0, d - factor, at_target), d)
        inside = live
        if not ALL:
            inside = live & (first + j < V)
        tl.store(out + (first + j) * stride, d.to(out.dtype.element_ty), inside)


_INTEGERS = ["outer", "inner", "V", "zo", "zs", "oo", "os", "ignore"]


@triton.jit(do_not_specialize=_INTEGERS, do_not_specialize_on_alignment=UNALIGNED)
def planes(
    z_ptr, out_ptr, y_ptr, rows_ptr, total_ptr, result_ptr, parts_ptr, counters_ptr,
    outer, inner, V, zo, zs, oo, os, ignore, factor,
    MODE: tl.constexpr, REDUCE: tl.constexpr, COUNTED: tl.constexpr,
    P: tl.constexpr, COUNT: tl.constexpr, HELD: tl.constexpr, A: tl.constexpr, WIDE: tl.constexpr,
    LONG: tl.constexpr,
):  # fmt: skip
    """``rows_ptr``: the loss or lse of each pixel (REDUCE is NONE). COUNTED: see `sums.factor_of`.

    Pixels lie next to each other; strides of classes (s) and of images (o), which are divided by A, like
    ``inner``, the number of pixels of an image. COUNT classes are looked at together: all if HELD.
    """
    inner *= A
    zo *= A
    zs *= A
    oo *= A
    os *= A
    LOSSES: tl.constexpr = MODE >= LOSS
    loss_sum = tl.zeros([P], tl.float64)
    row_sum = tl.zeros([P], tl.float64)
    if LONG:
        zs = tl.cast(zs, tl.int64)
        os = tl.cast(os, tl.int64)
    if MODE == GRADIENT:
        factor = factor_of(total_ptr, y_ptr, outer * inner, ignore, factor, COUNTED)
    blocks = tl.cdiv(inner, P)
    for t in range(tl.program_id(0), outer * blocks, tl.num_programs(0)):
        image = tl.cast(t // blocks, tl.int64)
        i = (t % blocks) * P + tl.arange(0, P)
        live = i < inner
        x = z_ptr + image * zo + i
        row = image * inner + i
        kept, right, y = live, live, tl.full([P], -1, tl.int32)
        if LOSSES:
            label = tl.load(y_ptr + row, live, other=0)
            kept = live & (label != ignore)
            right = (label >= 0) & (label < V)
            y = tl.where(right, label, -1).to(tl.int32)
        if HELD:
            z = some((), x, 0, zs, V, live, COUNT, True)
            peak, other, ties, z_y, e = in_registers((), z, y, WIDE, MODE, COUNT)
        else:
            peak, other, ties = in_turn(x, zs, V, live, WIDE, COUNT, P)
            z_y = tl.load(x + y * zs, kept & right & (y >= 0), other=float("nan")).to(tl.float32)
        shift, exponent, unit, unit_low = reference(finite(peak), WIDE)
        rest = rest_of(peak, other, ties, unit)
        norm = log1p(rest)
        if MODE == LSE:
            lse = tl.where(tl.abs(peak) < INF, peak + norm, peak + other)
            tl.store(rows_ptr + row, lse, live)
        if LOSSES:
            loss = tl.where(kept, (peak - z_y) + norm, 0.0)
            if REDUCE == NONE:
                tl.store(rows_ptr + row, loss, live)
            else:
                loss_sum += loss.to(tl.float64)
                row_sum += tl.where(kept, 1.0, 0.0)
        if MODE == SOFTMAX or MODE == LOG_SOFTMAX or MODE == GRADIENT:
            out = out_ptr + image * oo + i
            at_target = peak
            if MODE == LOG_SOFTMAX:
                high, low = norm, norm
            elif MODE == SOFTMAX:
                high, low = inverse(1.0, peak, other, ties, unit, unit_low)
            else:
                high, low = inverse(factor, peak, other, ties, unit, unit_low)
                below = (other + (ties - 1.0) * unit) * high  # 1 - p without cancellation
                at_target = tl.where(z_y == peak, -below, 1.0)
                gone = right & kept  # a wrong target makes the row NaN, an ignored one makes it 0
                high = tl.where(gone, high, tl.where(kept, float("nan"), 0.0))
                low = tl.where(gone, low, 0.0)
                y = tl.where(gone, y, -1)
            if HELD:
                write(
                    out, 0, os, V, live, z, e, peak, high, low, y, kept, at_target, factor,
                    MODE, WIDE, COUNT, True,
                )  # fmt: skip
            else:
                for first in range(0, V, COUNT):
                    again = some((), x, first, zs, V, live, COUNT, False)
                    e = exponentials_of((), again, shift, exponent, WIDE, COUNT)
                    write(
                        out, first, os, V, live, again, e, peak, high, low, y, kept, at_target, factor,
                        MODE, WIDE, COUNT, False,
                    )  # fmt: skip
    if LOSSES and REDUCE != NONE:
        losses, counts = tl.sum(loss_sum, 0), tl.sum(row_sum, 0)
        part, parts = tl.program_id(0), tl.num_programs(0)
        finish(losses, counts, part, parts, result_ptr, parts_ptr, counters_ptr, factor, REDUCE)
