"""Rows of scores that are held on chip: their statistics, and results from these. Device code.

A row is (peak, rest): rest is the sum of exp(z - peak) over all classes but one at the peak, so that

    lse = peak + log1p(rest)     loss = (peak - z_y) + log1p(rest)     p = exp(z - peak) / (1 + rest)

have no terms that cancel. On chip rest is kept as ``other``, the same sum relative to `elementary.reference`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, divide_pairs, exp_below, exp_beside, log1p_pair, two_sum
from .sums import NONE

__all__ = [
    "GRADIENT",
    "LOG_SOFTMAX",
    "LOSS",
    "LSE",
    "SOFTMAX",
    "SURE",
    "UNALIGNED",
    "at_target",
    "exponentials",
    "gradient_rows",
    "inverse",
    "loss_from",
    "lse_from",
    "norm_of",
    "rest_of",
    "row_results",
    "target_rows",
    "without_peak",
]

# What a kernel computes: of the size of the scores, a number a row, or both.
SOFTMAX, LOG_SOFTMAX, LSE, LOSS, GRADIENT = (tl.constexpr(i) for i in range(5))

# The arguments of kernels that may start anywhere: numbers of rows, and single numbers.
UNALIGNED = ["y_ptr", "rows_ptr", "peak_ptr", "other_ptr", "total_ptr", "result_ptr", "grad_ptr"]

# From so many times the peak's exponential on, a sum of exponentials from which that is taken away is as good
# as one to which it was not added.
SURE = tl.constexpr(8.0)


@triton.jit
def exponentials(z, shift, zero, WIDE: tl.constexpr, CORRECTED: tl.constexpr):
    """The exponentials of scores, relative to a row's `reference`."""
    if WIDE:
        return exp_below(z, shift, zero)
    else:
        return exp_beside(z, shift, CORRECTED)


@triton.jit
def ties_from(total, other, unit):
    """The number of classes at the peak, from the sum of all exponentials and of those below the peak.

    It is rounded to an integer; so the errors of the sums, far below 1, do not matter.
    """
    ties = tl.floor((total - other) / unit + 0.5)
    return tl.where(ties == ties, tl.maximum(ties, 1.0), 1.0)


@triton.jit
def without_peak(below, total, unit):
    """The sum over all classes but one at the peak, from that over the classes below it and that over all."""
    return below + (ties_from(total, below, unit) - 1.0) * unit


@triton.jit
def rest_of(peak, other, ties, unit):
    """rest, relative to exp(peak); NaN where probabilities are not defined."""
    rest = tl.div_rn(other, unit) + (ties - 1.0)
    return tl.where(tl.abs(peak) < INF, rest, float("nan"))


@triton.jit
def norm_of(peak, other, unit, unit_low):
    """log1p(rest) as a pair; ``other``: the sum without one class at the peak. NaN where not defined."""
    rest, rest_low = divide_pairs(other, unit, unit_low)
    return log1p_pair(tl.where(tl.abs(peak) < INF, rest, float("nan")), rest_low)


@triton.jit
def inverse(c, peak, other, ties, unit, unit_low):
    """c / sum of the exponentials, as a pair: multiplied by an exponential it is c p."""
    high, low = two_sum(other, ties * unit)
    high, low = divide_pairs(c, high, low + ties * unit_low)
    good = tl.abs(peak) < INF
    return tl.where(good, high, float("nan")), tl.where(good, low, float("nan"))


@triton.jit
def at_target(z_y, peak, shift, zero, other, high, low, c, WIDE: tl.constexpr, CORRECTED: tl.constexpr):
    """c (p - 1) of the target's class, whose score is z_y; without cancellation at the peak."""
    e = exponentials(z_y, shift, zero, WIDE, CORRECTED)
    return tl.where(z_y == peak, -other * high, tl.fma(e, high, e * low) - c)


@triton.jit
def loss_from(peak, z_y, norm, norm_low):
    """The loss of an index target, (peak - z_y) + log1p(rest); the latter is a pair."""
    high, low = two_sum(peak - z_y, norm)
    return tl.where(tl.abs(high) < INF, high + (low + norm_low), high)


@triton.jit
def lse_from(peak, other, norm, norm_low):
    """peak + log1p(rest); infinite where the peak is; NaN if a score is."""
    return tl.where(tl.abs(peak) < INF, loss_from(peak, 0.0, norm, norm_low), peak + other)


@triton.jit
def target_rows(z_ptr, y_ptr, first, r, live, zs, V, ignore):
    """(class, score, whether it is not ignored, whether the class is in range) of rows first + r."""
    y = tl.load(y_ptr + first + r, live, other=0)
    kept = live & (y != ignore)
    right = (y >= 0) & (y < V)
    y = tl.where(right, y, 0).to(tl.int32)
    z_y = tl.load(z_ptr + first * zs + (r * zs + y), kept & right, other=float("nan")).to(tl.float32)
    return y, z_y, kept, right


@triton.jit
def row_results(
    rows_ptr, peak_ptr, other_ptr, row, live, peak, other, norm, norm_low, z_y, kept,
    MODE: tl.constexpr, REDUCE: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """The loss of rows; stores what is wanted: (peak, other), lse, the loss where it is not added up."""
    if KEEP:
        tl.store(peak_ptr + row, peak, live)
        tl.store(other_ptr + row, other, live)
    if MODE == LSE:
        tl.store(rows_ptr + row, lse_from(peak, other, norm, norm_low), live)
    loss = peak
    if MODE >= LOSS:
        loss = tl.where(kept, loss_from(peak, z_y, norm, norm_low), 0.0)
        if REDUCE == NONE:
            tl.store(rows_ptr + row, loss, live)
    return loss


@triton.jit
def gradient_rows(z_y, peak, shift, zero, other, unit, unit_low, c, kept, right, WIDE: tl.constexpr):
    """(high, low, target): c p is exponential * (high + low), and the target's entry is ``target``.

    A wrong target makes a row NaN, an ignored one makes it 0.
    """
    high, low = inverse(c, peak, other, 1.0, unit, unit_low)
    target = at_target(z_y, peak, shift, zero, other, high, low, c, WIDE, True)
    good = kept & right
    return tl.where(good, high, tl.where(kept, float("nan"), 0.0)), tl.where(good, low, 0.0), target
