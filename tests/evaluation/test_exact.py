"""Sums that are exact, and bins that their edges define: what tallies are made of."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lastlayer.evaluation import counters, exact


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=40),
    st.booleans(),
    st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_sums_are_exact_in_the_core_and_without_it(values, in_one_place, seed):
    from fractions import Fraction

    x = np.array(values, np.float64)
    places = 2 if in_one_place else np.random.default_rng(seed).integers(0, 4, len(x))
    ours, plain = exact.Sums(4), exact.Sums(4)
    ours.add(x, places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact.core, "BUILT", False)
        plain.add(x, places)
    assert ours.to_dict() == plain.to_dict()
    for k in range(4):
        mine = x[np.isfinite(x) & (np.broadcast_to(places, x.shape) == k)]
        assert ours.total(k) == sum(math.trunc(Fraction(float(v)) * 2**120) for v in mine)


def test_what_the_core_refuses():
    _core = pytest.importorskip("lastlayer._core", reason="the native core is not built")
    x, limbs = np.ones(3), np.zeros((2, 3), np.int64)
    for values, places, place, sums in (
        (x, np.array([0, 1, 2]), 0, limbs),
        (x, np.array([0, -1, 1]), 0, limbs),
        (x, np.array([0, 1]), 0, limbs),
        (x, np.array([0, 1, 1], np.int32), 0, limbs),
        (x, None, 2, limbs),
        (x, None, -1, limbs),
        (x.astype(np.float32), None, 0, limbs),
        (x, None, 0, limbs[:, :2]),
        (x, None, 0, limbs.astype(np.float64)),
        (np.ones(6)[::2], None, 0, limbs),
    ):
        with pytest.raises((ValueError, TypeError, BufferError)):
            _core.add_exactly(values, places, place, sums)
    assert not limbs.any()
    extreme = np.full((1, 3), np.iinfo(np.int64).max)
    _core.add_exactly(np.full(5, 2.0**31), None, 0, extreme)  # no sum of ours, and no fault


def test_bins_are_those_that_the_edges_say():
    r = np.random.default_rng(0)
    for bins in (1, 3, 10, 15, 100):
        edges = np.arange(bins + 1) / bins
        p = np.concatenate([edges, np.nextafter(edges, 2), np.nextafter(edges, -1), r.random(1000)])
        p = p[(p >= 0) & (p <= 1)]
        expected = np.maximum(np.searchsorted(edges, p, "left") - 1, 0)
        np.testing.assert_array_equal(counters.equal_width_bin(p, bins), expected)
    edges = counters.FINE_EDGES
    p = np.concatenate(
        [edges, np.nextafter(edges, 2), np.nextafter(edges, -1), 1 - 2.0 ** -r.uniform(0, 53, 9999)]
    )
    p = p[(p >= 0) & (p <= 1)]
    expected = np.clip(np.searchsorted(edges, p, "left") - 1, 0, len(edges) - 2)
    np.testing.assert_array_equal(counters.fine_bin(p), expected)


@pytest.mark.parametrize("filled", [0, 3, 600])
def test_counts_in_another_process(filled):
    """Tables that are mostly 0 are sent as their other places; a copy is no view of the original."""
    counts = exact.Counts(1000)
    counts.add(np.arange(filled) * 7 % 1000)
    counts.add(np.array([5]), np.array([0.25]))
    for found in (pickle.loads(pickle.dumps(counts)), copy.deepcopy(counts)):
        assert found.to_dict() == counts.to_dict()
        before = counts.to_dict()
        found.add(np.array([1, 1]))
        assert found.counts[1] == counts.counts[1] + 2
        assert counts.to_dict() == before
    sparse, dense = exact.Counts(1000), exact.Counts(1000)
    sparse.add(np.array([3]))
    dense.add(np.arange(1000))
    assert len(pickle.dumps(sparse)) < len(pickle.dumps(dense)) / 8
