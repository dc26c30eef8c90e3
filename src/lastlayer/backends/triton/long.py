"""Long rows: several programs a row, whose parts are joined by the merge law.

    loss, lse, statistics (`spans`)         1 read
    softmax, loss and gradient (`follow`)   1 read + 1 write of memory; the second reading comes from L2
    gradient of known rows (`again`)        1 read + 1 write

A part of a row is (peak, other) of some of its classes: see `rows`. It travels as one number of 64 bits, so
it is there as a whole or not at all.

`follow` reads a row twice. Its programs, in the order in which the GPU starts them, are in turn one that
finds a part and one that writes a part which was read ``lag`` tasks before: far enough to have been found
meanwhile, near enough to be still in L2. One that writes waits for all parts of its row; these belong to
programs that have started before it, and those wait for nobody, so all end.

Rows that do not start at 16 bytes (ODD: V = 50257) are read from the aligned address below: whole vectors, of
which the classes outside the row are put to -inf. They are written in whole vectors too, but for the row's
ends.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, exp_below, exp_beside, reference
from .rows import (
    GRADIENT,
    LOG_SOFTMAX,
    LSE,
    SOFTMAX,
    SURE,
    UNALIGNED,
    at_target,
    exponentials,
    inverse,
    loss_from,
    lse_from,
    norm_of,
    without_peak,
)
from .sums import NONE, arrived, factor_of, finish

__all__ = ["EMPTY", "again", "follow", "lines", "spans"]

EMPTY = -1  # a part that is not there yet; as a part it would be a NaN that `packed` never makes
NOWHERE = tl.constexpr(-(1 << 30))  # in no tile


_SIZES = ["n", "V", "zs", "os", "offset", "ignore", "parts", "tiles", "tiles_of_part", "lag"]


@triton.jit
def packed(peak, other):
    """A part as 64 bits; never `EMPTY`."""
    peak = tl.where(peak == peak, peak, float("nan"))
    high = peak.to(tl.int32, bitcast=True).to(tl.int64) << 32
    return high | (other.to(tl.int32, bitcast=True).to(tl.int64) & 0xFFFFFFFF)


@triton.jit
def unpacked(bits):
    """(peak, other)."""
    peak = (bits >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    return peak, bits.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def merged(peaks, others, WIDE: tl.constexpr):
    """(peak, other) of the parts of a row. A part without finite scores is (-inf, -1): it adds 0."""
    peak = tl.max(peaks, 0)
    shift, zero, unit, unit_low = reference(tl.where(peak == -INF, 0.0, peak), WIDE)
    if WIDE:
        shifts, zeros, units, units_low = reference(tl.where(peaks == -INF, 0.0, peaks), True)
        factor = tl.where(peaks == -INF, 0.0, exp_below(shifts, shift, zero - zeros))
    else:
        units = 1.0
        factor = tl.where(peaks == -INF, 0.0, exp_beside(peaks, shift, True))
    factor = tl.where(peaks == peak, 1.0, factor)  # infinite ones, too
    i = tl.arange(0, peaks.shape[0])
    own = i == tl.min(tl.where(peaks == peak, i, peaks.shape[0]), 0)
    other = tl.sum(tl.where(own, others, factor * (units + others)), 0)
    return peak, other


@triton.jit
def opened(mail, there, WIDE: tl.constexpr):
    """(peak, other) of a row, from the mail of its parts."""
    peaks, others = unpacked(mail)
    return merged(tl.where(there, peaks, -INF), tl.where(there, others, -1.0), WIDE)


@triton.jit
def first_class(row, part, zs, offset, SIZE: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr):
    """The class at which a tile starts: a negative one if the first vector of the row does."""
    if ODD:
        return part * SIZE - ((row * zs + offset) % VEC).to(tl.int32)
    else:
        return part * SIZE


@triton.jit
def is_last(row, n, zs, VEC: tl.constexpr):
    """Whether a vector with the end of this row can reach beyond the end of the last row: of all memory."""
    return (n - 1 - row) * zs < VEC


@triton.jit
def load_tile(
    z_ptr, row, part, n, zs, V, offset,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr,
):  # fmt: skip
    """The scores of a tile in float32, -inf outside the row; and the class at which it starts."""
    first = first_class(row, part, zs, offset, K * C, VEC, ODD)
    i = tl.arange(0, K)[:, None] * C + tl.arange(0, C)[None, :]
    vector = (i // VEC) * VEC + first
    if ODD:
        start = tl.multiple_of(row * zs + (offset + first), VEC)
        end = tl.where(is_last(row, n, zs, VEC), V - VEC, V - 1)  # the rest: `tail_of`
        z = tl.load(z_ptr + start + i, (vector + VEC > 0) & (vector <= end), other=-INF).to(tl.float32)
        if (first < 0) | (first + K * C > V):  # the ends of the row, which share vectors with other rows
            z = tl.where((i + first >= 0) & (i + first < V), z, -INF)
        return z, first
    else:
        start = tl.multiple_of(row * zs + first, VEC)
        return tl.load(z_ptr + start + i, vector < V, other=-INF).to(tl.float32), first


@triton.jit
def part_from(peak, other):
    """(peak, other) without one class at the peak; (-inf, -1) for no class; other is NaN if a score is."""
    return peak, tl.where(peak == -INF, tl.where(other == other, -1.0, float("nan")), other)


@triton.jit
def joined(peak, other, tail_peak, tail_other, WIDE: tl.constexpr):
    """Two parts as one."""
    i = tl.arange(0, 2)
    return merged(tl.where(i == 0, peak, tail_peak), tl.where(i == 0, other, tail_other), WIDE)


@triton.jit
def tail_of(z_ptr, row, zs, V, offset, VEC: tl.constexpr, WIDE: tl.constexpr):
    """(peak, other) of the classes after the last whole vector of a row, which `load_tile` leaves out."""
    before = ((row * zs + offset) % VEC).to(tl.int32)
    i = ((V + before) // VEC) * VEC - before + tl.arange(0, VEC)
    z = tl.load(z_ptr + (row * zs + offset) + i, (i >= 0) & (i < V), other=-INF).to(tl.float32)
    peak = tl.max(z, 0)
    shift, zero, unit, unit_low = reference(tl.where(peak == -INF, 0.0, peak), WIDE)
    e = exponentials(z, shift, zero, WIDE, True)
    below = tl.sum(tl.where(z == peak, 0.0, e), 0)
    return part_from(peak, without_peak(below, tl.sum(e, 0), unit))


@triton.jit
def part_at(
    z_ptr, row, part, n, zs, V, offset,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr,
    WIDE: tl.constexpr, LOOSE: tl.constexpr,
):  # fmt: skip
    """(peak, other) of a tile. LOOSE: for 16-bit results, which need no digits of a small `other`."""
    z, first = load_tile(z_ptr, row, part, n, zs, V, offset, K, C, VEC, ODD)
    peak = tl.max(tl.max(z, 0), 0)
    shift, zero, unit, unit_low = reference(tl.where(peak == -INF, 0.0, peak), WIDE)
    total = tl.sum(tl.sum(exponentials(z, shift, zero, WIDE, not LOOSE), 0), 0)
    other = total - unit
    if not LOOSE:
        if not (total >= SURE * unit):  # the difference would lose more than a digit: once more, without it
            again, first = load_tile(z_ptr, row, part, n, zs, V, offset, K, C, VEC, ODD)
            e = exponentials(again, shift, zero, WIDE, True)
            below = tl.sum(tl.sum(tl.where(again == peak, 0.0, e), 0), 0)
            other = without_peak(below, total, unit)
    peak, other = part_from(peak, other)
    if ODD:
        if is_last(row, n, zs, VEC) & (first + K * C > V):
            tail_peak, tail_other = tail_of(z_ptr, row, zs, V, offset, VEC, WIDE)
            peak, other = joined(peak, other, tail_peak, tail_other, WIDE)
    return peak, other


@triton.jit
def span_of(
    z_ptr, row, first, last, n, zs, V, offset, K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr,
    ODD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """(peak, other) of tiles first..last - 1 of a row; only a tile with a new peak is compared with it."""
    peak = -INF
    shift, zero, unit = 0.0, 0.0, 1.0
    ties = 0.0
    sums = tl.zeros([C], tl.float32)
    more = 0.0  # the peaks that were
    for tile in range(first, last):
        z, unused = load_tile(z_ptr, row, tile, n, zs, V, offset, K, C, VEC, ODD)
        high = tl.max(tl.max(z, 0), 0)
        if (high >= peak) & (high > -INF):
            new_shift, new_zero, new_unit, new_low = reference(high, WIDE)
            if high > peak:  # all that is there becomes relative to the new peak
                was = tl.where(peak > -INF, exponentials(peak, new_shift, new_zero, WIDE, True), 0.0)
                factor = was
                if WIDE:
                    factor = tl.where(peak > -INF, exp_below(shift, new_shift, new_zero - zero), 0.0)
                sums = sums * factor
                more = more * factor + ties * was
                ties = 0.0
            peak, shift, zero, unit = high, new_shift, new_zero, new_unit
            e = exponentials(z, shift, zero, WIDE, True)
            top = z == peak
            sums += tl.sum(tl.where(top, 0.0, e), 0)
            ties += tl.sum(tl.sum(tl.where(top, 1.0, 0.0), 0), 0)
        else:
            sums += tl.sum(exponentials(z, shift, zero, WIDE, True), 0)
    peak, other = part_from(peak, tl.sum(sums, 0) + more + (ties - 1.0) * unit)
    if ODD:
        if is_last(row, n, zs, VEC) & (first_class(row, last, zs, offset, K * C, VEC, ODD) >= V):
            tail_peak, tail_other = tail_of(z_ptr, row, zs, V, offset, VEC, WIDE)
            peak, other = joined(peak, other, tail_peak, tail_other, WIDE)
    return peak, other


@triton.jit
def add_row(loss, y_ptr, row, n, ignore, result_ptr, parts_ptr, counters_ptr, factor, REDUCE: tl.constexpr):
    """Add the loss of a row to the sum of all."""
    kept = tl.where(tl.load(y_ptr + row) != ignore, 1.0, 0.0).to(tl.float64)
    finish(loss.to(tl.float64), kept, row, n, result_ptr, parts_ptr, counters_ptr, factor, REDUCE)


@triton.jit
def norm_from(peak, other, WIDE: tl.constexpr):
    """log1p(rest) as a pair; NaN where probabilities are not defined."""
    shift, zero, unit, unit_low = reference(tl.where(tl.abs(peak) < INF, peak, 0.0), WIDE)
    return norm_of(peak, other, unit, unit_low)


@triton.jit
def target_of(y_ptr, row, V, ignore):
    """(class or NOWHERE, whether the row is not ignored, whether the class is in range)."""
    y = tl.load(y_ptr + row)
    right = (y >= 0) & (y < V)
    return tl.where(right & (y != ignore), y, NOWHERE).to(tl.int32), y != ignore, right


@triton.jit
def row_loss(z_ptr, y_ptr, row, peak, other, zs, V, offset, ignore, WIDE: tl.constexpr):
    """The loss of an index target; 0 if it is ignored, NaN if it is no class."""
    y, kept, right = target_of(y_ptr, row, V, ignore)
    z_y = tl.load(z_ptr + (row * zs + offset) + y, kept & right, other=float("nan")).to(tl.float32)
    high, low = norm_from(peak, other, WIDE)
    return tl.where(kept, loss_from(peak, z_y, high, low), 0.0)


@triton.jit(do_not_specialize=_SIZES, do_not_specialize_on_alignment=UNALIGNED)
def spans(
    z_ptr, y_ptr, rows_ptr, peak_ptr, other_ptr, mail_ptr, arrived_ptr, result_ptr, parts_ptr, counters_ptr,
    n, V, zs, offset, ignore, factor, parts, tiles, tiles_of_part,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr, S: tl.constexpr,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Statistics, lse or losses of long rows: a program finds a part, the last one of a row joins them.

    ``arrived_ptr``: n zeros, the parts of each row that have arrived; 0 again at the end. S: parts or more.
    """
    pid = tl.program_id(0)
    row = (pid // parts).to(tl.int64)
    part = pid % parts
    first = part * tiles_of_part
    last = tl.minimum(first + tiles_of_part, tiles)
    peak, other = span_of(z_ptr, row, first, last, n, zs, V, offset, K, C, VEC, ODD, WIDE)
    done = True
    if S > 1:
        tl.store(mail_ptr + row * parts + part, packed(peak, other))
        done = arrived(arrived_ptr + row, parts)
    if done:
        if S > 1:
            i = tl.arange(0, S)
            mail = tl.load(mail_ptr + row * parts + i, i < parts, other=0, cache_modifier=".cg")
            peak, other = opened(mail, i < parts, WIDE)
        if KEEP:
            tl.store(peak_ptr + row, peak)
            tl.store(other_ptr + row, other)
        if MODE == LSE:
            norm, norm_low = norm_from(peak, other, WIDE)
            tl.store(rows_ptr + row, lse_from(peak, other, norm, norm_low))
        else:
            loss = row_loss(z_ptr, y_ptr, row, peak, other, zs, V, offset, ignore, WIDE)
            if REDUCE == NONE:
                tl.store(rows_ptr + row, loss)
            else:
                add_row(loss, y_ptr, row, n, ignore, result_ptr, parts_ptr, counters_ptr, factor, REDUCE)


@triton.jit(do_not_specialize=_SIZES, do_not_specialize_on_alignment=UNALIGNED)
def lines(
    z_ptr, y_ptr, rows_ptr, peak_ptr, other_ptr, result_ptr, parts_ptr, counters_ptr,
    n, V, zs, offset, ignore, factor, tiles,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr, ONE: tl.constexpr,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """As `spans`, for many rows: a program finds whole rows, one after another. ONE: rows of one tile."""
    losses = tl.full((), 0.0, tl.float32)
    rows = losses
    for number in range(tl.program_id(0), n, tl.num_programs(0)):
        row = tl.cast(number, tl.int64)
        kept = True
        if MODE != LSE:
            kept = tl.load(y_ptr + row) != ignore
        loss = tl.full((), 0.0, tl.float32)
        if kept:
            if ONE:
                peak, other = part_at(z_ptr, row, 0, n, zs, V, offset, K, C, VEC, ODD, WIDE, False)
            else:
                peak, other = span_of(z_ptr, row, 0, tiles, n, zs, V, offset, K, C, VEC, ODD, WIDE)
            if KEEP:
                tl.store(peak_ptr + row, peak)
                tl.store(other_ptr + row, other)
            if MODE == LSE:
                norm, norm_low = norm_from(peak, other, WIDE)
                loss = lse_from(peak, other, norm, norm_low)
            else:
                loss = row_loss(z_ptr, y_ptr, row, peak, other, zs, V, offset, ignore, WIDE)
                rows += 1.0
        if REDUCE == NONE:
            tl.store(rows_ptr + row, loss)
        else:
            losses += loss
    if REDUCE != NONE:
        i, parts = tl.program_id(0), tl.num_programs(0)
        sums = tl.cast(losses, tl.float64)
        finish(sums, tl.cast(rows, tl.float64), i, parts, result_ptr, parts_ptr, counters_ptr, factor, REDUCE)


@triton.jit
def factors(peak, other, c, WIDE: tl.constexpr):
    """(shift, zero, high, low): c p = exponential * (high + low)."""
    shift, zero, unit, unit_low = reference(tl.where(tl.abs(peak) < INF, peak, 0.0), WIDE)
    high, low = inverse(c, peak, other, 1.0, unit, unit_low)
    return shift, zero, high, low


@triton.jit
def results(z, peak, other, c, MODE: tl.constexpr, WIDE: tl.constexpr):
    """Softmax, log-softmax or c p of scores, from the statistics of their row."""
    if MODE == LOG_SOFTMAX:
        high, low = norm_from(peak, other, WIDE)
        return ((z - peak) - high) - low
    else:
        shift, zero, high, low = factors(peak, other, c, WIDE)
        e = exponentials(z, shift, zero, WIDE, False)
        if WIDE:
            return tl.fma(e, high, e * low)
        else:
            return e * high


@triton.jit
def write_tile(
    z, first, z_ptr, out_ptr, row, peak, other, c, kept, zs, os, V, offset,
    MODE: tl.constexpr, K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """Write a tile. ODD: whole vectors, then the ends of the row, which share vectors with other rows."""
    d = results(z, peak, other, c, MODE, WIDE).to(out_ptr.dtype.element_ty)
    i = tl.arange(0, K)[:, None] * C + tl.arange(0, C)[None, :]
    vector = (i // VEC) * VEC + first
    if ODD:
        start = tl.multiple_of(row * os + (offset + first), VEC)
        tl.store(out_ptr + start + i, d, (vector >= 0) & (vector + VEC <= V))
        if (first < 0) | (first + K * C > V):
            e = tl.arange(0, 2 * VEC)
            last = ((V - first) // VEC) * VEC + first  # the class at which the last vector starts
            at = tl.where(e < VEC, e + first, e - VEC + last)
            inside = tl.where(e < VEC, first < 0, last < first + K * C) & (at >= 0) & (at < V)
            ends = tl.load(z_ptr + (row * zs + offset) + at, inside, other=0.0).to(tl.float32)
            found = results(tl.where(kept, ends, 0.0), peak, other, c, MODE, WIDE)
            tl.store(out_ptr + (row * os + offset) + at, found.to(out_ptr.dtype.element_ty), inside)
    else:
        start = tl.multiple_of(row * os + first, VEC)
        tl.store(out_ptr + start + i, d, vector < V)


@triton.jit
def write_gradient(
    z, first, z_ptr, out_ptr, row, peak, other, c, zs, os, V, offset, y, kept, right,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Write a tile of c (p - t): c p first, then the target's entry; NaN for a wrong target, 0 if ignored.

    Returns the target's score if it is in this tile, else NaN.
    """
    here = (y >= first) & (y < first + K * C)
    z_y = float("nan")
    if here:
        z_y = tl.load(z_ptr + (row * zs + offset) + y).to(tl.float32)
    tl.debug_barrier()  # in place: all have read it before it is overwritten
    if kept:
        scale = tl.where(right, c, float("nan"))
        write_tile(
            z, first, z_ptr, out_ptr, row, peak, other, scale, True, zs, os, V, offset,
            GRADIENT, K, C, VEC, ODD, WIDE,
        )  # fmt: skip
    else:  # 0, whatever the scores are
        write_tile(
            tl.zeros([K, C], tl.float32), first, z_ptr, out_ptr, row, 0.0, 0.0, 0.0, False, zs, os, V, offset,
            GRADIENT, K, C, VEC, ODD, WIDE,
        )  # fmt: skip
    if here:
        shift, zero, high, low = factors(peak, other, c, WIDE)
        d = at_target(z_y, peak, shift, zero, other, high, low, c, WIDE, False)
        tl.debug_barrier()
        tl.store(out_ptr + (row * os + offset) + y, d.to(out_ptr.dtype.element_ty))
    return z_y


@triton.jit(do_not_specialize=_SIZES, do_not_specialize_on_alignment=UNALIGNED)
def follow(
    z_ptr, out_ptr, y_ptr, rows_ptr, mail_ptr, total_ptr, result_ptr, parts_ptr, counters_ptr,
    n, V, zs, os, offset, ignore, factor, parts, lag,
    MODE: tl.constexpr, REDUCE: tl.constexpr, COUNTED: tl.constexpr, S: tl.constexpr,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Softmax, log-softmax, or loss and gradient, of long rows. ``mail_ptr``: n * parts times `EMPTY`.

    Whoever writes a tile joins the parts of its row itself: to wait for another to do so takes longer than
    the arithmetic, and what is to be read again has left L2 by then.
    """
    pid = tl.program_id(0)
    task = pid // 2
    if pid % 2 == 0:
        if task < n * parts:
            row = (task // parts).to(tl.int64)
            kept = True
            if MODE == GRADIENT:
                kept = tl.load(y_ptr + row) != ignore
            peak = tl.full((), 0.0, tl.float32)
            other = peak
            if kept:
                peak, other = part_at(
                    z_ptr, row, task % parts, n, zs, V, offset, K, C, VEC, ODD, WIDE,
                    MODE == SOFTMAX and not WIDE,
                )  # fmt: skip
            tl.store(mail_ptr + task, packed(peak, other))
    else:
        task -= lag
        if task >= 0:
            row = (task // parts).to(tl.int64)
            part = task % parts
            z, first = load_tile(z_ptr, row, part, n, zs, V, offset, K, C, VEC, ODD)
            i = tl.arange(0, S)
            mail = tl.load(mail_ptr + row * parts + i, i < parts, other=0, volatile=True)
            while tl.sum((mail == -1).to(tl.int32), 0) > 0:
                mail = tl.load(mail_ptr + row * parts + i, i < parts, other=0, volatile=True)
            peak, other = opened(mail, i < parts, WIDE)
            if MODE == GRADIENT:
                c = factor_of(total_ptr, y_ptr, n, ignore, factor, COUNTED)
                y, kept, right = target_of(y_ptr, row, V, ignore)
                z_y = write_gradient(
                    z, first, z_ptr, out_ptr, row, peak, other, c, zs, os, V, offset,
                    y, kept, right, K, C, VEC, ODD, WIDE,
                )  # fmt: skip
                if ((y >= first) & (y < first + K * C)) | ((y < 0) & (part == 0)):
                    high, low = norm_from(peak, other, WIDE)
                    loss = tl.where(kept, loss_from(peak, z_y, high, low), 0.0)
                    if REDUCE == NONE:
                        tl.store(rows_ptr + row, loss)
                    else:
                        add_row(
                            loss, y_ptr, row, n, ignore, result_ptr, parts_ptr, counters_ptr, factor, REDUCE
                        )
            else:
                write_tile(
                    z, first, z_ptr, out_ptr, row, peak, other, 1.0, True, zs, os, V, offset,
                    MODE, K, C, VEC, ODD, WIDE,
                )  # fmt: skip


@triton.jit(do_not_specialize=_SIZES, do_not_specialize_on_alignment=UNALIGNED)
def again(
    z_ptr, out_ptr, y_ptr, peak_ptr, other_ptr, grad_ptr, total_ptr,
    n, V, zs, os, offset, ignore, factor, parts,
    EACH: tl.constexpr, COUNTED: tl.constexpr,
    K: tl.constexpr, C: tl.constexpr, VEC: tl.constexpr, ODD: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The gradient from kept statistics. EACH: ``grad_ptr`` has a number for each row, else one for all."""
    pid = tl.program_id(0)
    row = (pid // parts).to(tl.int64)
    part = pid % parts
    z, first = load_tile(z_ptr, row, part, n, zs, V, offset, K, C, VEC, ODD)
    y, kept, right = target_of(y_ptr, row, V, ignore)
    peak, other = tl.load(peak_ptr + row), tl.load(other_ptr + row)
    c = factor_of(total_ptr, y_ptr, n, ignore, factor, COUNTED)
    if EACH:
        c *= tl.load(grad_ptr + row).to(tl.float32)
    else:
        c *= tl.load(grad_ptr).to(tl.float32)
    write_gradient(
        z, first, z_ptr, out_ptr, row, peak, other, c, zs, os, V, offset,
        y, kept, right, K, C, VEC, ODD, WIDE,
    )  # fmt: skip
