"""The derivative of softmax and log-softmax, from their output y: two reads, one write.

    softmax         dx = y (g - sum_j g_j y_j) / temperature
    log-softmax     dx = (g - exp(y) sum_j g_j) / temperature          g = 0 where masked

Any class axis and strides. A program takes R rows. Rows of at most C classes stay on chip (ONCE); longer ones
are read again, from the cache where they still are. Accuracy: the sum is a pair of float32; products round
once each, as in `composed`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import exp_below
from .online import add, value
from .scores import columns, neighbours

__all__ = ["backward"]


@triton.jit
def terms(g, y, mask, col, gs, ys, ms, inside, LOG: tl.constexpr, MASKED: tl.constexpr, LONG: tl.constexpr):
    """(g, p, what is summed) of a tile."""
    g = tl.load(g + columns(col, gs, LONG), inside, other=0.0).to(tl.float32)
    p = tl.load(y + columns(col, ys, LONG), inside, other=0.0).to(tl.float32)
    if LOG:
        if MASKED:
            g = tl.where(tl.load(mask + columns(col, ms, LONG), inside, other=0) != 0, g, 0.0)
        return g, exp_below(p, 0.0, 0.0), g
    else:
        return g, p, g * p


@triton.jit
def derivative(g, p, total, temperature, LOG: tl.constexpr, TEMPERED: tl.constexpr):
    """dx of a tile."""
    if LOG:
        d = g - p * total[:, None]
    else:
        d = p * (g - total[:, None])
    if TEMPERED:
        d = tl.div_rn(d, temperature)
    return d


@triton.jit
def backward(
    g_ptr, y_ptr, out_ptr, mask_ptr, inner, V, go, gi, gs, yo, yi, ys, oo, oi, os, mo, mi, ms, temperature,
    LOG: tl.constexpr, MASKED: tl.constexpr, TEMPERED: tl.constexpr, ONCE: tl.constexpr,
    R: tl.constexpr, C: tl.constexpr, LONG: tl.constexpr,
):  # fmt: skip
    """Strides: of neighbours (i), of groups of ``inner`` rows (o), of classes (s); of g, y, out and mask."""
    o, i, live, _row = neighbours(tl.program_id(0), inner, R, LONG)
    live = live[:, None]
    g = g_ptr + o * go + i * gi
    y = y_ptr + o * yo + i * yi
    out = out_ptr + o * oo + i * oi
    mask = mask_ptr + o * mo + i * mi
    if ONCE:
        col = tl.arange(0, C)[None, :]
        inside = live & (col < V)
        given, p, term = terms(g, y, mask, col, gs, ys, ms, inside, LOG, MASKED, LONG)
        d = derivative(given, p, tl.sum(term, 1), temperature, LOG, TEMPERED)
        tl.store(out + columns(col, os, LONG), d.to(out_ptr.dtype.element_ty), inside)
    else:
        high, low = tl.zeros([R], tl.float32), tl.zeros([R], tl.float32)
        for start in range(0, V, C):
            col = (start + tl.arange(0, C))[None, :]
            inside = live & (col < V)
            _, _, term = terms(g, y, mask, col, gs, ys, ms, inside, LOG, MASKED, LONG)
            high, low = add(high, low, tl.sum(term, 1))
        total = value(high, low)
        for start in range(0, V, C):
            col = (start + tl.arange(0, C))[None, :]
            inside = live & (col < V)
            given, p, _ = terms(g, y, mask, col, gs, ys, ms, inside, LOG, MASKED, LONG)
            d = derivative(given, p, total, temperature, LOG, TEMPERED)
            tl.store(out + columns(col, os, LONG), d.to(out_ptr.dtype.element_ty), inside)
