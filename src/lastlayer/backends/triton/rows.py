"""Rows of scores that are held on chip: their statistics, and results from these. Device code.

A row is (peak, rest): rest is the sum of exp(z - peak) over all classes but one at the peak, so that

    lse = peak + log1p(rest)     loss = (peak - z_y) + log1p(rest)     p = exp(z - peak) / (1 + rest)

have no terms that cancel. On chip `rest` is kept as (other, ties): the sum over classes below the peak,
relative to `elementary.reference`, and the number of classes at the peak.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elementary import INF, divide_pairs, exp_below, exp_beside, log1p_pair, two_sum

__all__ = ["SURE", "exponentials", "inverse", "loss_from", "norm_of", "rest_of", "ties_from"]


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
def loss_from(peak, z_y, norm, norm_low):
    """The loss of an index target, (peak - z_y) + log1p(rest); the latter is a pair."""
    high, low = two_sum(peak - z_y, norm)
    return tl.where(tl.abs(high) < INF, high + (low + norm_low), high)
