"""exp and log1p for the kernels, and sums and products of float32 numbers without their rounding errors.

Device code: functions of tiles, called by kernels. PyTorch's and CUDA's own functions are not used, since
they are missing in Triton's interpreter and their errors are not ours to choose.

A *pair* is an unevaluated sum (high, low) of two float32 numbers, with |low| <= ULP(high) / 2. Numbers that a
row has once are carried as pairs, so that only the operations on single scores round.

Accuracy, in ULP of float32, against arbitrary precision: `power` 0.6, `exp_below` 1.1, `log1p` 1.2.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = [
    "INF",
    "LOG2E",
    "divide_pairs",
    "exp_below",
    "exp_beside",
    "log1p",
    "log1p_pair",
    "power",
    "power_pair",
    "reference",
    "two_sum",
]

INF = tl.constexpr(float("inf"))

LOG2E = tl.constexpr(1.4426950216293335)  # log2 e rounded to float32
LOG2E_LOW = tl.constexpr(1.92596298909109e-08)  # what rounding took away
LN2 = tl.constexpr(0.6931471824645996)
LN2_LOW = tl.constexpr(-1.904654323148236e-09)
NEAREST = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding and subtracting it rounds to an integer
LEAST = tl.constexpr(150.0)  # exp(-150) is 0 in float32


@triton.jit
def two_sum(a, b):
    """a + b as a pair (Knuth)."""
    high = a + b
    t = high - a
    return high, (a - (high - t)) + (b - t)


@triton.jit
def quotient_of_power(f):
    """(2^f - 1 - f ln 2) / f^2 for |f| <= 1/2: minimax, degree 4; the error of 2^f is 2e-9, relative."""
    q = f * 1.5353361959569156e-4 + 1.3398875016719103e-3
    q = tl.fma(q, f, 9.61843691766262e-3)
    q = tl.fma(q, f, 5.5503323674201965e-2)
    return tl.fma(q, f, 2.4022647738456726e-1)


@triton.jit
def power(f):
    """2^f for |f| <= 1/2."""
    return tl.fma(tl.fma(quotient_of_power(f), f, LN2), f, 1.0)


@triton.jit
def power_pair(f, f_low):
    """2^(f + f_low) as a pair, to a tenth of a ULP: f ln 2 and f^2 q are added before they are rounded."""
    linear = f * LN2
    linear_low = tl.fma(f, LN2_LOW, tl.fma(f, LN2, -linear))
    more = quotient_of_power(f) * f * f
    high, low = two_sum(linear, more)
    one, rest = two_sum(1.0 + 0.0 * f, high)
    return two_sum(one, rest + (low + linear_low + one * f_low * LN2))


@triton.jit
def reference(peak, WIDE: tl.constexpr):
    """What the exponentials of a row are relative to: (shift, zero, unit, unit_low).

    WIDE, for scores with 24 bits: exp(shift) 2^zero, a power of two times a factor that is common to all; so
    z - peak, which would be rounded, is not needed. exp(peak) is unit + unit_low there, near 1. The shift is
    0 unless |peak| > 256, and there the difference to it is exact.
    Otherwise, for scores with at most 11 bits, exp(peak): unit is 1.
    """
    if WIDE:
        shift = tl.where(tl.abs(peak) > 256.0, peak, 0.0)
        near = tl.where(shift == peak, 0.0, peak)  # 0 for infinite peaks, too
        zero = (near * LOG2E + NEAREST) - NEAREST
        f = tl.fma(near, LOG2E, -zero)
        unit, unit_low = power_pair(f, near * LOG2E_LOW)
        return shift, zero, unit, unit_low
    else:
        nothing = tl.where(peak == peak, 0.0, 0.0)  # in the shape of the peaks
        return peak, nothing, nothing + 1.0, nothing


@triton.jit
def exp_below(z, shift, zero):
    """exp(z - shift) / 2^zero for scores z of 24 bits up to the peak; 0 below the range of float32."""
    x = z - shift
    least = (zero - 216.0) * LN2  # exp is 0 there, and 2^n has no overflow in the integer
    x = tl.maximum(x, least, propagate_nan=tl.PropagateNan.ALL)
    n = (x * LOG2E + NEAREST) - NEAREST
    f = tl.fma(x, LOG2E_LOW, tl.fma(x, LOG2E, -n))
    return power(f) * tl.exp2(n - zero)


@triton.jit
def exp_beside(z, peak, CORRECTED: tl.constexpr):
    """exp(z - peak) for scores of at most 11 bits, whose difference is exact, by the hardware's 2^t.

    t = (z - peak) log2 e is rounded; CORRECTED takes the rounding back by one fma and is meant for sums that
    are kept in float32. Without it the error is |z - peak| 4e-8, below the rounding of a 16-bit result.
    """
    x = z - peak
    if CORRECTED:
        x = tl.maximum(x, -LEAST, propagate_nan=tl.PropagateNan.ALL)
        t = x * LOG2E
        e = tl.exp2(t)
        return tl.fma(e, tl.fma(-t, LN2, x), e)
    else:
        return tl.exp2(x * LOG2E)


@triton.jit
def divide_pairs(c, high, low):
    """c / (high + low) as a pair. The second division corrects the first, which need not be exact."""
    q = c / high
    missing = tl.fma(-q, high, c) - q * low
    return q, tl.where(tl.abs(missing) < INF, missing / high, 0.0)


@triton.jit
def log1p(x):
    """log(1 + x) for x >= 0 or NaN."""
    high, low = log1p_pair(x, x * 0.0)
    return high


@triton.jit
def log1p_pair(x, x_low):
    """log(1 + x + x_low) as a pair, for x >= 0 or NaN: 1 + x = 2^k m, and a polynomial of m - 1.

    What rounding takes from 1 + x, and x_low, are added to m. The high part is the result, rounded.
    """
    u = 1.0 + x
    lost = (x - (u - 1.0)) + x_low
    bits = u.to(tl.int32, bitcast=True)
    k = (bits - 0x3F3504F3) >> 23  # so that m is in [sqrt(1/2), sqrt(2))
    m = (bits - (k << 23)).to(tl.float32, bitcast=True)
    f, f_low = two_sum(m - 1.0, lost * ((127 - k) << 23).to(tl.float32, bitcast=True))
    f2 = f * f
    p = tl.fma(f * 0.0 + 7.0376836292e-2, f, -1.1514610310e-1)  # coefficients: Cephes, logf
    p = tl.fma(p, f, 1.1676998740e-1)
    p = tl.fma(p, f, -1.2420140846e-1)
    p = tl.fma(p, f, 1.4249322787e-1)
    p = tl.fma(p, f, -1.6668057665e-1)
    p = tl.fma(p, f, 2.0000714765e-1)
    p = tl.fma(p, f, -2.4999993993e-1)
    p = tl.fma(p, f, 3.3333331174e-1)
    kf = k.to(tl.float32)
    tail = tl.fma(f * f2, p, tl.fma(kf, -2.12194440e-4, -0.5 * f2))
    tail += f_low / (1.0 + f)
    high, low = two_sum(kf * 0.693359375, f)  # the product is exact
    high, low = two_sum(high, low + tail)
    small = x < 1e-6
    high = tl.where(small, tl.fma(-0.5 * x, x, x), high)
    low = tl.where(small, x_low, low)
    fine = (x == x) & (x < INF)
    return tl.where(fine, high, x), tl.where(fine, low, 0.0)  # NaN, inf
