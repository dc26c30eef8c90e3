"""The statistics of rows of any length in one pass, block by block of classes. Device code.

A row is (peak, rest) as in `rows`; on the way rest is (high + low, ties): the sum of the exponentials below
the peak as a pair, relative to `elementary.reference` of the peak, and the number of classes at the peak.
Where a block has a higher peak, what was summed is first made relative to it (a power of two unless |peak| >
256, so nothing is rounded):

    sum exp(z - peak)            times exp(old - new)
    sum t (peak - z)             plus (new - old) sum t
    sum exp(z - peak) (peak - z) times exp(old - new), after adding (new - old) sum exp(z - peak)

NaN scores are counted, and left out of every sum; the caller makes the row NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, divide_pairs, two_sum
from .scores import capped, columns, exponential, limited, reference_of

__all__ = ["DENSE", "EACH", "NOTHING", "add", "finite", "scan", "shares", "value"]

# What every class contributes to the targets: nothing; one number, but for weights; a dense target's number.
NOTHING, EACH, DENSE = (tl.constexpr(i) for i in range(3))


@triton.jit
def finite(peak):
    """The peak; 0 where it is not finite."""
    return tl.where(tl.abs(peak) < INF, peak, 0.0)


@triton.jit
def add(high, low, x):
    """A pair, not normalized, plus a number."""
    total, lost = two_sum(high, x)
    return total, low + lost


@triton.jit
def shares(c, other, unit, unit_low):
    """(high, low, lost): c / the sum of the exponentials as a pair, and c (1 - p) of the class at the peak.

    ``other``: the exponentials of all classes but one at the peak, whose own is the pair ``unit``.
    """
    total, low = two_sum(other, unit)
    lost = c * tl.div_rn(other, total)
    high, low = divide_pairs(c, total, low + unit_low)
    return high, low, lost


@triton.jit
def value(high, low):
    """The number of a pair, which may be infinite."""
    return tl.where(tl.abs(high) < INF, high + low, high)


@triton.jit
def scan(
    x, q, mask, w_ptr, live, share, x_y, y, how, on, off, V, xs, qs, ms,
    CAPPED: tl.constexpr, MASKED: tl.constexpr,
    T: tl.constexpr, WEIGHTED: tl.constexpr,
    ARGMAX: tl.constexpr, SPREAD: tl.constexpr, RANK: tl.constexpr, CHECKED: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr, WIDE: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """``x``, ``q``, ``mask``: (R, 1) pointers to class 0. ``share``: t / s of each class where T is EACH.

    Scores, the peak, and ``x_y``, that of the target, are x as `limited`; gap and spread are in units of v.

    Returns (peak, rest, other, argmax, spread, square, rank), (gap, mass), counts of classes (possible,
    infinite or NaN, of q other than 0 and 1), and the sum of q; ``other`` is rest exp(peak), relative.
    """
    peak = tl.full([R], -INF, tl.float32)
    zero = tl.zeros([R], tl.float32)
    shift, exponent, unit, v, v_low = zero, zero, zero + 1.0, zero, zero
    high, low, ties, spread, square, gap, gap_low, mass, mass_low, whole = (
        zero, zero, zero, zero, zero, zero, zero, zero, zero, zero
    )  # fmt: skip
    none = tl.zeros([R], tl.int32)
    top, rank, unknown, possible, infinite, some, strange = none, none, none, none, none, none, none
    for start in range(0, V, C):
        col = (start + tl.arange(0, C))[None, :]
        inside = live[:, None] & (col < V)
        z = limited(tl.load(x + columns(col, xs, LONG), inside, other=-INF).to(tl.float32), how, CAPPED)
        if MASKED:
            allowed = tl.load(mask + columns(col, ms, LONG), inside, other=0) != 0
            possible += tl.sum(allowed.to(tl.int32), 1)
            z = tl.where(allowed, z, -INF)
        else:
            z = tl.where(inside, z, -INF)
        unknown += tl.sum((z != z).to(tl.int32), 1)
        known = tl.where(z == z, z, -INF)
        if ARGMAX:
            here, at = tl.max(known, 1, return_indices=True)
            top = tl.where(here > peak, start + at.to(tl.int32), top)
        else:
            here = tl.max(known, 1)
        new = tl.maximum(peak, here)
        grew = new > peak
        again = grew & (peak > -INF)  # there are sums relative to a lower peak
        new_v, new_low = capped(finite(new), how, CAPPED)
        moved = tl.where(again, (new_v - v) + (new_low - v_low), 0.0)
        moved = tl.where(new < INF, moved, tl.where(again, INF, 0.0))
        new_shift, new_exponent, new_unit, _ = reference_of(new_v, new_low, how, WIDE)
        factor = exponential(shift, 0.0 * shift, new_shift, new_exponent - exponent, how, WIDE, CAPPED)
        factor = tl.where(again, factor, tl.where(grew, 0.0, 1.0))
        if SPREAD:
            spread = factor * (spread + moved * (high + ties * unit))
            square = factor * factor * (square + tl.where(grew, ties * unit * unit, 0.0))
        high = tl.where(grew, (high + ties * unit) * factor, high)
        low *= factor
        ties = tl.where(grew, 0.0, ties)
        peak, shift, exponent, unit, v, v_low = new, new_shift, new_exponent, new_unit, new_v, new_low
        s, s_low = capped(z, how, CAPPED)
        e = exponential(s, s_low, shift[:, None], exponent[:, None], how, WIDE, CAPPED)
        e = tl.where(z < peak[:, None], e, 0.0)
        high, low = add(high, low, tl.sum(e, 1))
        ties += tl.sum(tl.where((z == peak[:, None]) & (z > -INF), 1.0, 0.0), 1)
        difference = tl.where(tl.abs(peak) < INF, v, peak)[:, None] - s
        if CAPPED:
            difference += v_low[:, None] - s_low
        difference = tl.where(z == -INF, INF, difference)
        if SPREAD:
            spread += tl.sum(tl.where(e > 0.0, e * difference, 0.0), 1)
            square += tl.sum(e * e, 1)
        if RANK:
            before = (z > x_y[:, None]) | ((z == x_y[:, None]) & (col < y[:, None]))
            rank += tl.sum((inside & before).to(tl.int32), 1)
        if CHECKED:
            infinite += tl.sum((inside & ((tl.abs(z) < INF) == 0)).to(tl.int32), 1)
        if T != NOTHING:
            if T == DENSE:
                given = tl.load(q + columns(col, qs, LONG), inside, other=0).to(tl.float32)
                t = on * given + off
                whole += tl.sum(given, 1)
                strange += tl.sum(((given != 0.0) & (given != 1.0)).to(tl.int32), 1)
            else:
                t = share[:, None] + tl.zeros([R, C], tl.float32)
            if WEIGHTED:
                t *= tl.load(w_ptr + col, col < V, other=0.0).to(tl.float32)
            t = tl.where(inside, t, 0.0)
            some += tl.sum((t != 0.0).to(tl.int32), 1)
            gap, gap_low = add(gap, gap_low, tl.where(mass == 0.0, 0.0, (mass + mass_low) * moved))
            gap, gap_low = add(gap, gap_low, tl.sum(tl.where(t == 0.0, 0.0, t * difference), 1))
            mass, mass_low = add(mass, mass_low, tl.sum(t, 1))
    rest = tl.div_rn(high + low, unit) + (ties - 1.0)
    rest = tl.where((tl.abs(peak) < INF) & (unknown == 0), rest, float("nan"))
    other = tl.where(rest == rest, (high + low) + (ties - 1.0) * unit, float("nan"))
    peak = tl.where(unknown > 0, float("nan"), peak)
    top = tl.where(unknown > 0, -1, top)
    spread = tl.where(rest == rest, tl.div_rn(spread, unit), float("nan"))
    square = tl.where(rest == rest, tl.div_rn(square, unit * unit) + (ties - 1.0), float("nan"))
    one = ((peak == INF) & (ties == 1.0)) | ((peak == -INF) & (ties + V == 1.0))  # the only class at the peak
    square = tl.where(one, 0.0, square)
    gap = tl.where((some > 0) & ((unknown > 0) | (peak == -INF)), float("nan"), value(gap, gap_low))
    found = peak, rest, other, top, spread, square, rank
    return found, (gap, value(mass, mass_low)), (possible, infinite, strange), whole
