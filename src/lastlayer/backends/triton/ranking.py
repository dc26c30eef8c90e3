"""The k most probable classes of each row: one read of the scores for the statistics, and k from the cache.

Scores are turned into keys: integers in the order of the scores, with the class below them, so that keys are
distinct and equal scores are ordered by class. The j-th class has the largest key below the key before it.
Rows of at most C classes stay on chip (ONCE). Accuracy: probabilities within 3 ULP of float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF
from .online import NOTHING, finite, scan, shares
from .scores import capped, columns, exponential, limited, neighbours, reference_of

__all__ = ["top_k"]

LOWEST = tl.constexpr(-(2**63))


@triton.jit
def keys(z, col, inside):
    """The keys of scores that are not NaN."""
    bits = (z + 0.0).to(tl.int32, bitcast=True)  # -0 + 0 is 0: the two are equal
    order = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    key = (order.to(tl.int64) << 32) | (0x7FFFFFFF - col).to(tl.int64)
    return tl.where(inside, key, LOWEST)


@triton.jit
def number(key):
    """(score, class) of a key."""
    order = (key >> 32).to(tl.int32)
    bits = order ^ ((order >> 31) & 0x7FFFFFFF)
    return bits.to(tl.float32, bitcast=True), 0x7FFFFFFF - (key & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def top_k(
    x_ptr, classes_ptr, p_ptr, inner, V, k, xo, xi, xs,
    scale, scale_low, per_scale, per_t, per_t_low, cap, cap_low, per_cap, per_cap_low,
    CAPPED: tl.constexpr, ONCE: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr, WIDE: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """Strides as in `statistics`; results are (N, k)."""
    o, i, live, row = neighbours(tl.program_id(0), inner, R, LONG)
    x = x_ptr + o * xo + i * xi
    how = (scale, scale_low, per_scale, per_t, per_t_low, cap, cap_low, per_cap, per_cap_low)
    zero, none = tl.zeros([R], tl.float32), tl.zeros([R], tl.int32)
    found, _, _, _ = scan(
        x, x, x, x, live, zero, zero, none, how, 1.0, 0.0, V, xs, xs, xs,
        CAPPED, False, NOTHING, False, False, False, False, False, R, C, WIDE, LONG,
    )  # fmt: skip
    peak = found[0]
    v, v_low = capped(finite(peak), how, CAPPED)
    shift, exponent, unit, unit_low = reference_of(v, v_low, how, WIDE)
    high, low, _ = shares(zero + 1.0, found[2], unit, unit_low)
    if ONCE:
        col = tl.arange(0, C)[None, :]
        inside = live[:, None] & (col < V)
        z = tl.load(x + columns(col, xs, LONG), inside, other=-INF).to(tl.float32)
        key = keys(limited(z, how, CAPPED), col, inside)
    last = tl.full([R], 2**63 - 1, tl.int64)
    for j in range(k):
        best = tl.full([R], LOWEST, tl.int64)
        if ONCE:
            best = tl.max(tl.where(key < last[:, None], key, LOWEST), 1)
        else:
            for start in range(0, V, C):
                col = (start + tl.arange(0, C))[None, :]
                inside = live[:, None] & (col < V)
                z = tl.load(x + columns(col, xs, LONG), inside, other=-INF).to(tl.float32)
                key = keys(limited(z, how, CAPPED), col, inside)
                best = tl.maximum(best, tl.max(tl.where(key < last[:, None], key, LOWEST), 1))
        last = best
        z_j, class_j = number(best)
        v_j, low_j = capped(z_j, how, CAPPED)
        e = exponential(v_j, low_j, shift, exponent, how, WIDE, CAPPED)
        p = tl.fma(e, high, e * low)
        tl.store(classes_ptr + row * k + j, tl.where(peak == peak, class_j, -1).to(tl.int64), live)
        tl.store(p_ptr + row * k + j, p, live)
