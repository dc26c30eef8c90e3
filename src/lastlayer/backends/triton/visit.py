"""Results of the scores' shape, from the statistics of rows: one read of the scores, one write.

    softmax             p = exp(z - peak) / (1 + rest)
    log-softmax         (z - peak) - log1p(rest)
    d lse               grad p dz/dx
    d loss              F ((c p_j - t_j) dz/dx)      F = grad s / total      c = mass + 2 z_loss lse

With any option and any class axis. At the peak, where p > 1/2, c p - t is (c - t) - c rest / (1 + rest),
which has no terms that cancel. The statistics come from `statistics`, or (FRESH) from a first pass by the
same program. The classes that index and top-k targets name are written once more, after all others; their
scores are read before anything is written, so the result may lie where the scores lie. With statistics at
hand several programs share a row.

Accuracy, measured in ULP of float32 at the larger of F c p and the result: 3; gradients with a softcap 4.8.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, log1p
from .online import DENSE, EACH, NOTHING, finite, scan, shares
from .rows import GRADIENT, LOG_SOFTMAX, LSE, SOFTMAX
from .scores import (
    FACTOR,
    capped,
    columns,
    exponential,
    left_over,
    limited,
    neighbours,
    places,
    reference_of,
    slope,
)
from .statistics import ABSENT, INDEX, tempered
from .sums import MEAN

__all__ = ["visit"]


@triton.jit
def visit(
    x_ptr, out_ptr, q_ptr, mask_ptr, y_ptr, p_ptr, left_ptr, w_ptr, s_ptr, grad_ptr, kept_ptr, total_ptr,
    n, inner, V, K, span, xo, xi, xs, oo, oi, os, qo, qi, qs, mo, mi, ms, ss, gs,
    scale, scale_low, per_scale, per_t, per_t_low, cap, cap_low, per_cap, per_cap_low,
    on, off, left_share, ignore, z_loss, factor,
    MODE: tl.constexpr, REDUCE: tl.constexpr, FRESH: tl.constexpr,
    CAPPED: tl.constexpr, MASKED: tl.constexpr, PLACED: tl.constexpr, T: tl.constexpr,
    LEFT: tl.constexpr, WEIGHTED: tl.constexpr, SAMPLED: tl.constexpr, IGNORED: tl.constexpr,
    Z_LOSS: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr, KP: tl.constexpr, WIDE: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """A program writes R rows, ``span`` classes of them. Strides as in `statistics`; o: ``out``."""
    spans = tl.cdiv(V, span)
    tile = tl.program_id(0) // spans
    first = (tl.program_id(0) % spans) * span
    end = tl.minimum(first + span, V)
    o, i, live, row = neighbours(tile, inner, R, LONG)
    x = x_ptr + o * xo + i * xi
    out = out_ptr + o * oo + i * oi
    q = q_ptr + o * qo + i * qi
    mask = mask_ptr + o * mo + i * mi
    how = (scale, scale_low, per_scale, per_t, per_t_low, cap, cap_low, per_cap, per_cap_low)
    zero = tl.zeros([R], tl.float32)
    if FRESH:
        found, _, _, _ = scan(
            x, q, mask, w_ptr, live, zero, zero, tl.zeros([R], tl.int32),
            how, on, off, V, xs, qs, ms,
            CAPPED, MASKED, NOTHING, False, False, False, False, False, R, C, WIDE, LONG,
        )  # fmt: skip
        peak, other = found[0], found[2]
    else:
        peak = tl.load(kept_ptr + row, live, other=0.0)
        other = tl.load(kept_ptr + n + row, live, other=0.0)
    active = other != -1.0
    other = tl.where(active, other, 0.0)
    v_peak, v_low = capped(finite(peak), how, CAPPED)
    shift, exponent, unit, unit_low = reference_of(v_peak, v_low, how, WIDE)
    v_peak = tl.where(tl.abs(peak) < INF, v_peak, peak)
    rest = tl.div_rn(other, unit)
    norm = log1p(rest)
    # where p > 1/2 at the peak
    sure = tl.where(rest < 1.0, peak, float("nan"))

    # F and c of each row
    c, f = zero + 1.0, zero + 1.0
    if MODE == LSE or MODE == GRADIENT:
        f = tl.load(grad_ptr + row * gs, live, other=0.0).to(tl.float32)
    if MODE == GRADIENT:
        if REDUCE == MEAN:
            total = tl.load(total_ptr)
            f = tl.where(total == 0.0, 0.0, tl.div_rn(f, tl.where(total == 0.0, 1.0, total)))
            active = active & (zero + total != 0.0)
        else:
            f *= factor
            active = active & (zero + factor != 0.0)
        if SAMPLED:
            f *= tl.load(s_ptr + row * ss, live, other=0.0).to(tl.float32)
        c = tl.load(kept_ptr + 2 * n + row, live, other=0.0)
        if Z_LOSS:
            z_peak = tempered(v_peak, v_low, how)
            c += 2.0 * z_loss * tl.where(tl.abs(z_peak) == INF, z_peak, z_peak + norm)
    if MODE == LSE or MODE == GRADIENT:
        f *= how[FACTOR]

    high, low, lost = shares(f * c, other, unit, unit_low)
    share = zero + off
    if LEFT:
        share += left_share * left_over(left_ptr, row, live)

    if PLACED != ABSENT:
        place, at, weights, _, _ = places(
            y_ptr, p_ptr, w_ptr, row, live, V, K, on, ignore, PLACED == INDEX, IGNORED, WEIGHTED, KP
        )
        here = live[:, None] & (at != 0.0) & (place >= first) & (place < end)
        x_at = tl.load(x + columns(place, xs, LONG), here, other=0.0).to(tl.float32)
        if PLACED == INDEX:
            t_at = at
        else:  # a class may be named more than once
            same = (place[:, :, None] == place[:, None, :]).to(tl.float32)
            t_at = tl.sum(same * at[:, None, :], 2)
        if T == EACH:
            t_at += share[:, None] * weights
        x_at = limited(x_at, how, CAPPED)
        v_at, low_at = capped(x_at, how, CAPPED)
        e_at = exponential(v_at, low_at, shift[:, None], exponent[:, None], how, WIDE, CAPPED)
        d_at = tl.fma(e_at, high[:, None], e_at * low[:, None]) - f[:, None] * t_at
        d_at = tl.where(x_at == sure[:, None], f[:, None] * (c[:, None] - t_at) - lost[:, None], d_at)
        if CAPPED:
            d_at *= slope(x_at, how, CAPPED)
        d_at = tl.where(active[:, None], d_at, 0.0)
    tl.debug_barrier()  # in place: all have read before anyone writes

    for start in range(first, end, C):
        col = (start + tl.arange(0, C))[None, :]
        inside = live[:, None] & (col < end)
        v = tl.load(x + columns(col, xs, LONG), inside, other=-INF).to(tl.float32)
        v = limited(v, how, CAPPED)
        z = v
        allowed = inside
        if MASKED:
            allowed = tl.load(mask + columns(col, ms, LONG), inside, other=0) != 0
            z = tl.where(allowed, z, -INF)
        if MODE == LOG_SOFTMAX:
            d = (z - peak[:, None]) * how[FACTOR] - norm[:, None]
            if MASKED:
                d = tl.where(allowed, d, -INF)
        else:
            s, s_low = capped(z, how, CAPPED)
            e = exponential(s, s_low, shift[:, None], exponent[:, None], how, WIDE, CAPPED)
            d = tl.fma(e, high[:, None], e * low[:, None])
            if MODE == GRADIENT:
                if T != NOTHING:
                    if T == DENSE:
                        t = on * tl.load(q + columns(col, qs, LONG), inside, other=0).to(tl.float32) + off
                    else:
                        t = share[:, None] + tl.zeros([R, C], tl.float32)
                    if WEIGHTED:
                        t *= tl.load(w_ptr + col, col < V, other=0.0).to(tl.float32)
                    full = f[:, None] * (c[:, None] - t) - lost[:, None]
                    d = tl.where(z == sure[:, None], full, d - f[:, None] * t)
            if MODE != SOFTMAX and CAPPED:
                d *= slope(v, how, CAPPED)
            if MODE == GRADIENT:
                d = tl.where(active[:, None], d, 0.0)
            if MASKED:
                d = tl.where(allowed, d, 0.0)
        tl.store(out + columns(col, os, LONG), d.to(out_ptr.dtype.element_ty), inside)
    if PLACED != ABSENT:
        tl.debug_barrier()
        tl.store(out + columns(place, os, LONG), d_at.to(out_ptr.dtype.element_ty), here)
