"""Scores of a tile with temperature and softcap; and where a tile's rows and targets lie. Device code.

    z = v / temperature          v = softcap tanh(x / softcap)          dv/dx = 1 - tanh^2(x / softcap)

z is never a float32 number: exp would enlarge its rounding error, and it may be infinite there. Scores are
compared as x, since z increases with x; v is a pair; the temperature is a factor in the reduction of an
exponential's argument. ``how`` holds the numbers that this needs. With a softcap x is limited to where tanh
is 1 in float64, so that v is finite.

A tile is (R, C): R rows that are neighbours, C classes. Rows are numbered outer * inner in row-major order,
so that three strides reach every score of tensors with any class axis. Offsets are 64-bit numbers where they
must be.
"""

from __future__ import annotations

import triton
import triton.language as tl

from lastlayer import problem

from .elementary import INF, NEAREST, exp_beside, power, power_pair, reference, two_sum

__all__ = [
    "capped",
    "columns",
    "exponential",
    "left_over",
    "limited",
    "neighbours",
    "places",
    "reference_of",
    "slope",
]


ROUNDED = tl.constexpr(problem.ROUNDED)
SATURATED = tl.constexpr(19.0625)  # tanh is 1 in float64 from here on
FAR = tl.constexpr(369.0)  # as in `elementary.reference`, 256 log2 e

# The places of the numbers in ``how``: log2 e / temperature (a pair), its inverse, 1 / temperature (a pair),
# softcap (a pair), 1 / softcap (a pair).
SCALE, SCALE_LOW, PER_SCALE, FACTOR, FACTOR_LOW, CAP, CAP_LOW, PER_CAP, PER_CAP_LOW = (
    tl.constexpr(i) for i in range(9)
)


@triton.jit
def neighbours(tile, inner, R: tl.constexpr, LONG: tl.constexpr):
    """(o, i, live, row) of a tile: rows o inner + i, of which those that exist are live; i is (R, 1)."""
    blocks = tl.cdiv(inner, R)
    o = tl.cast(tile // blocks, tl.int64)
    i = (tile % blocks) * R + tl.arange(0, R)
    live = i < inner
    row = o * inner + i
    i = i[:, None]
    if LONG:
        i = i.to(tl.int64)
    return o, i, live, row


@triton.jit
def limited(x, how, CAPPED: tl.constexpr):
    """x in float32, as scores are compared."""
    if CAPPED:
        most = how[CAP] * SATURATED
        x = tl.minimum(x, most, propagate_nan=tl.PropagateNan.ALL)
        x = tl.maximum(x, -most, propagate_nan=tl.PropagateNan.ALL)
    return x


@triton.jit
def power_of(u, u_low):
    """exp(-2 (|u| + u_low)) as a pair; |u| is at most SATURATED."""
    a = tl.abs(u) * -2.8853900432586670  # -2 log2 e, a pair with the number below
    n = (a + NEAREST) - NEAREST
    f = a - n
    a_low = tl.fma(tl.abs(u), -2.8853900432586670, -a)
    f_low = a_low + (tl.abs(u) * -3.85192599817818e-08 + u_low * -2.8853900432586670)
    high, low = power_pair(f, f_low)
    exponent = tl.exp2(n)
    return high * exponent, low * exponent


@triton.jit
def capped(x, how, CAPPED: tl.constexpr):
    """v as a pair, from x that is limited."""
    if CAPPED:
        u = x * how[PER_CAP]
        u_low = tl.fma(x, how[PER_CAP], -u) + x * how[PER_CAP_LOW]
        e, e_low = power_of(u, tl.where(u < 0.0, -u_low, u_low))
        above, above_low = two_sum(1.0 + 0.0 * e, -e)
        below, below_low = two_sum(1.0 + 0.0 * e, e)
        r = above / below
        missing = tl.fma(-r, below, above) + ((above_low - e_low) - r * (below_low + e_low))
        r_low = missing / below
        far = r * how[CAP]
        far_low = tl.fma(r, how[CAP], -far) + (r * how[CAP_LOW] + r_low * how[CAP])
        u2 = u * u
        p = tl.fma(u2, -7.79212279109071e-3, 2.1751266820238185e-2)  # minimax for (tanh(u) / u - 1) / u^2
        p = tl.fma(p, u2, -5.39628481015187e-2)
        p = tl.fma(p, u2, 1.3333324623872045e-1)
        p = tl.fma(p, u2, -3.3333333310782093e-1)
        less = x * (u2 * p)
        near, near_low = two_sum(x, less)
        small = tl.abs(u) < 0.36
        far = tl.where(u < 0.0, -far, far)
        far_low = tl.where(u < 0.0, -far_low, far_low)
        out = x == -INF  # masked
        v, v_low = tl.where(small, near, far), tl.where(small, near_low, far_low)
        return tl.where(out, x, v), tl.where(out, 0.0, v_low)
    else:
        return x, tl.zeros_like(x)


@triton.jit
def slope(x, how, CAPPED: tl.constexpr):
    """dv/dx, from x that is limited."""
    if CAPPED:
        u = x * how[PER_CAP]
        u_low = tl.fma(x, how[PER_CAP], -u) + x * how[PER_CAP_LOW]
        e, _ = power_of(u, tl.where(u < 0.0, -u_low, u_low))
        return tl.div_rn(4.0 * e, tl.fma(e, 2.0 + e, 1.0))
    else:
        return x * 0.0 + 1.0


@triton.jit
def reference_of(v, v_low, how, WIDE: tl.constexpr):
    """`elementary.reference` of z at the peak, whose v is a finite pair; the shift is relative to v."""
    if WIDE:
        shift = tl.where(tl.abs(v * how[SCALE]) > FAR, v, 0.0)
        near = v - shift
        zero = (near * how[SCALE] + NEAREST) - NEAREST
        f = tl.fma(near, how[SCALE], -zero)
        unit, unit_low = power_pair(f, near * how[SCALE_LOW] + v_low * how[SCALE])
        return shift, zero, unit, unit_low
    else:
        return reference(v, False)


@triton.jit
def exponential(v, v_low, shift, zero, how, WIDE: tl.constexpr, CAPPED: tl.constexpr):
    """exp(z - shift / temperature) / 2^zero; see `elementary.exp_below` and `exp_beside`."""
    if WIDE:
        a = v - shift
        least = (zero - 216.0) * how[PER_SCALE]  # exp is 0 there
        a = tl.maximum(a, least, propagate_nan=tl.PropagateNan.ALL)
        n = (a * how[SCALE] + NEAREST) - NEAREST
        f = tl.fma(a, how[SCALE_LOW], tl.fma(a, how[SCALE], -n))
        if CAPPED:
            f = tl.fma(v_low, how[SCALE], f)
        return power(f) * tl.exp2(n - zero)
    else:
        return exp_beside(v, shift, True)


@triton.jit
def columns(col, stride, LONG: tl.constexpr):
    """Offsets of classes from the first; LONG: they need 64 bits."""
    if LONG:
        return col.to(tl.int64) * stride
    else:
        return col * stride


@triton.jit
def places(
    y_ptr, p_ptr, w_ptr, row, live, V, K, on, ignore,
    INDEX: tl.constexpr, IGNORED: tl.constexpr, WEIGHTED: tl.constexpr, KP: tl.constexpr,
):  # fmt: skip
    """The classes that targets name: (place, at, weight, ignored, wrong), each (R, KP).

    ``at`` is the part of t / s that belongs to the class ``place``; it is 0 where nothing is named.
    ``ignored`` and ``wrong``: entries that are ignore_index, and that are out of range; their place is 0.
    """
    k = tl.arange(0, KP)[None, :]
    inside = live[:, None] & (k < K)
    y = tl.load(y_ptr + row[:, None] * K + k, inside, other=0).to(tl.int64)
    if IGNORED:
        ignored = (y == ignore) & inside
    else:
        ignored = inside & (y != y)
    wrong = ((y < 0) | (y >= V)) & inside & (ignored == 0)
    place = tl.where(ignored | wrong, 0, y).to(tl.int32)
    weight = tl.where(inside, 1.0, 0.0)
    if WEIGHTED:
        weight = tl.load(w_ptr + place, inside, other=0.0).to(tl.float32)
    at = on * weight
    if not INDEX:
        p = tl.load(p_ptr + row[:, None] * K + k, inside, other=0.0).to(tl.float32)
        at = tl.where(ignored, 0.0, at * p)
    return place, at, weight, ignored, wrong


@triton.jit
def left_over(left_ptr, row, live):
    """The probability that top-k targets leave for all classes; a rounding error below 0 counts as 0."""
    left = tl.load(left_ptr + row, live, other=0.0).to(tl.float32)
    return tl.where((left < 0.0) & (left >= -ROUNDED), 0.0, left)
