"""McNemar's exact test. In: how many rows are right in one model alone, and in the other alone. Out: p-value.

If the models are equally good, each of these rows is equally likely to be right in either one: the counts
have a binomial distribution with probability 1/2.
"""

from __future__ import annotations

from math import atanh, exp, log1p, pi, sqrt

import numpy as np

__all__ = ["exact_test"]

_EXACT = 1000  # rows up to which the binomial coefficients are added as integers


def exact_test(only_a: int, only_b: int) -> float:
    """The two-sided p-value ``min(1, 2 sum_{k <= m} C(n, k) / 2^n)`` of ``n = only_a + only_b``.

    ``m`` is the smaller count. Without such rows the p-value is 1.
    """
    n, m = only_a + only_b, min(only_a, only_b)
    if 2 * m >= n - 1:  # the middle of the distribution: half of it or more is on either side
        return 1.0
    if n <= _EXACT:
        term = total = 1
        for k in range(m):
            term = term * (n - k) // (k + 1)
            total += term
        return 2 * total / (1 << n)
    return min(1.0, 2 * _probability(n, m) * _sum_of_ratios(n, m))


def _probability(n: int, m: int) -> float:
    """``C(n, m) / 2^n`` for a large n.

    Stirling's series for each factorial; the rest is the deviance, which loses no digits near the middle::

        log = -n/2 (log(1 - d^2) + 2 d atanh d) + log(n / (2 pi m (n - m))) / 2 + s(n) - s(m) - s(n - m)
        d = 1 - 2 m / n          s(k) = log k! - (k log k - k + log(2 pi k) / 2)
    """
    if m < 16:  # below 10^-250
        return 0.0
    d = (n - 2 * m) / n
    deviance = n / 2 * (log1p(-d * d) + 2 * d * atanh(d))
    scale = sqrt(n / (2 * pi * m) / (n - m))
    return exp(_stirling(n) - _stirling(m) - _stirling(n - m) - deviance) * scale


def _stirling(k: int) -> float:
    """The error of Stirling's formula for ``log k!``, for k of 16 or more: below 10^-16 after these terms."""
    x = 1 / (k * k)
    return (1 / 12 - x * (1 / 360 - x * (1 / 1260 - x * (1 / 1680 - x / 1188)))) / k


def _sum_of_ratios(n: int, m: int) -> float:
    """``sum_{k <= m} C(n, k) / C(n, m)``, largest terms first; what is left out is below 10^-20 of it."""
    k = np.arange(m, max(0, m - 8 * int(sqrt(n)) - 64), -1, dtype=np.float64)
    return 1.0 + float(np.cumprod(k / (n - k + 1)).sum())
