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

from .elementary import INF, log1p, reference
from .rows import exponentials, inverse, rest_of
from .sums import NONE, factor_of, finish
from .tile import GRADIENT, LOG_SOFTMAX, LOSS, LSE, SOFTMAX

__all__ = ["few"]

_AUX = ["y_ptr", "rows_ptr", "peak_ptr", "other_ptr", "total_ptr", "result_ptr"]


@triton.jit(do_not_specialize=["n", "ignore"], do_not_specialize_on_alignment=_AUX)
def few(
    z_ptr, out_ptr, y_ptr, rows_ptr, peak_ptr, other_ptr, total_ptr, result_ptr, parts_ptr, counters_ptr,
    n, ignore, factor,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr, COUNTED: tl.constexpr,
    V: tl.constexpr, R: tl.constexpr, C: tl.constexpr, P: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """R rows of V classes. C, P: the powers of two from V and R V on. The rest as in `tile`."""
    LOSSES: tl.constexpr = MODE >= LOSS
    pid = tl.program_id(0)
    first = pid.to(tl.int64) * R
    p = tl.arange(0, P)
    left = (tl.minimum(n - first, R) * V).to(tl.int32)
    if left == R * V:  # a mask that the compiler knows: loads of 16 bytes
        w = tl.load(z_ptr + first * V + p, p < R * V, other=0.0)
    else:
        w = tl.load(z_ptr + first * V + p, p < left, other=0.0)
    i = tl.arange(0, C * R)
    z = tl.gather(w, tl.where(i < V * R, (i % R) * V + i // R, 0), 0).to(tl.float32)
    z = tl.reshape(tl.where(i < V * R, z, -INF), [C, R])
    r = tl.arange(0, R)
    live = r < n - first
    if LOSSES:
        y = tl.load(y_ptr + first + r, live, other=0)
        kept = live & (y != ignore)
        right = (y >= 0) & (y < V)
        y = tl.where(right, y, 0).to(tl.int32)
        at = tl.arange(0, C)[:, None] == y[None, :]
        z_y = tl.max(tl.where(at, z, -INF), 0)
        z_y = tl.where(
            kept & right,
            tl.where(tl.sum(tl.where(at & (z != z), 1.0, 0.0), 0) > 0, float("nan"), z_y),
            float("nan"),
        )
    peak = tl.max(z, 0)
    shift, zero, unit, unit_low = reference(peak, WIDE)
    e = exponentials(z, shift[None, :], zero[None, :], WIDE, MODE >= LSE)
    top = z == peak[None, :]
    other = tl.sum(tl.where(top, 0.0, e), 0)
    ties = tl.sum(tl.where(top, 1.0, 0.0), 0)
    rest = rest_of(peak, other, ties, unit)
    if KEEP:
        tl.store(peak_ptr + first + r, peak, live)
        tl.store(other_ptr + first + r, other + (ties - 1.0) * unit, live)
    if MODE == LSE:
        lse = tl.where(tl.abs(peak) < INF, peak + log1p(rest), peak + other)
        tl.store(rows_ptr + first + r, lse, live)
    if MODE == GRADIENT:
        factor = factor_of(total_ptr, y_ptr, n, ignore, factor, COUNTED)
    if MODE == SOFTMAX or MODE == LOG_SOFTMAX or MODE == GRADIENT:
        if MODE == LOG_SOFTMAX:
            d = (z - peak[None, :]) - log1p(rest)[None, :]
        else:
            c = factor if MODE == GRADIENT else 1.0
            high, low = inverse(c, peak, other, ties, unit, unit_low)
            if MODE == GRADIENT:
                high = tl.where(kept & right, high, tl.where(kept, float("nan"), 0.0))
                low = tl.where(kept & right, low, 0.0)
            if WIDE:
                d = tl.fma(e, high[None, :], e * low[None, :])
            else:
                d = e * high[None, :]
            if MODE == GRADIENT:
                below = (other + (ties - 1.0) * unit) * high  # 1 - p without cancellation
                d = tl.where(
                    at & (kept & right)[None, :], tl.where((z_y == peak)[None, :], -below[None, :], d - c), d
                )
                d = tl.where(kept[None, :], d, 0.0)  # 0 where the scores are NaN, too
        d = tl.reshape(d.to(out_ptr.dtype.element_ty), [C * R])
        d = tl.gather(d, tl.where(p < V * R, (p % V) * R + p // V, 0), 0)
        if left == R * V:
            tl.store(out_ptr + first * V + p, d, p < R * V)
        else:
            tl.store(out_ptr + first * V + p, d, p < left)
    if LOSSES:
        loss = tl.where(kept, (peak - z_y) + log1p(rest), 0.0)
        if REDUCE == NONE:
            tl.store(rows_ptr + first + r, loss, live)
        else:
            losses = tl.sum(loss.to(tl.float64), 0)
            count = tl.sum(tl.where(kept, 1.0, 0.0), 0).to(tl.float64)
            finish(
                losses, count, pid, tl.num_programs(0), result_ptr, parts_ptr, counters_ptr, factor, REDUCE
            )
