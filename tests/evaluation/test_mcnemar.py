"""McNemar's exact test: equal to statsmodels', and to integers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lastlayer.evaluation.mcnemar import exact_test

SMALL = [(0, 0), (0, 1), (1, 1), (3, 2), (5, 12), (0, 40), (450, 550), (500, 500), (501, 500), (480, 521)]
LARGE = [(900, 1200), (10, 3000), (5000, 5200), (50_000, 50_900), (499_000, 501_500), (300, 1000), (0, 1001)]


@pytest.mark.parametrize(("only_a", "only_b"), SMALL + LARGE)
def test_equal_to_statsmodels(only_a, only_b):
    contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
    for pair in ((only_a, only_b), (only_b, only_a)):
        table = [[7, pair[0]], [pair[1], 9]]
        expected = float(contingency.mcnemar(table, exact=True).pvalue)
        assert exact_test(*pair) == pytest.approx(expected, rel=1e-12, abs=1e-250)


def test_equal_to_integers_on_both_sides_of_the_change_of_method():
    r = np.random.default_rng(0)
    for n in (2, 999, 1000, 1001, 1002, 4000):
        for m in {0, n // 2, n // 2 - 1, *r.integers(0, n // 2, 5).tolist()}:
            exact = min(1, 2 * sum(math.comb(n, k) for k in range(m + 1)) / (1 << n))
            assert exact_test(m, n - m) == pytest.approx(exact, rel=1e-12, abs=1e-250)
