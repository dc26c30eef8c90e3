"""Sums over partitions are those of all rows at once, each with the same numbers as rows in memory."""

from __future__ import annotations

import dask
import numpy as np
import pytest
import scipy.sparse

from lastlayer.fitting import partitions
from lastlayer.fitting.dense import DenseRows
from lastlayer.fitting.partitions import Labels, PartitionedRows
from lastlayer.fitting.sparse import SparseRows

CUTS = [slice(0, 70), slice(70, 71), slice(71, 200)]


def rows(sparse, classes, weighted):
    """The same rows in one piece and in three."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 9)) * (rng.random((200, 9)) < 0.4), rng.integers(0, classes, 200)
    x = scipy.sparse.csr_array(x) if sparse else x
    weight = rng.integers(0, 3, 200).astype(float) if weighted else None
    labels = [Labels(y[cut], None if weight is None else weight[cut]) for cut in CUTS]
    parts = PartitionedRows(
        [dask.delayed(x[cut]) for cut in CUTS],
        [dask.delayed(one, traverse=False) for one in labels],
        [70, 1, 129],
        (9, classes),
        dtype=np.float64,
        sparse=sparse,
        smoothing=0.1,
    )
    kind = SparseRows if sparse else DenseRows
    return parts, kind(x, y, classes, weight=weight, smoothing=0.1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kept", [True, False])
def test_sums(sparse, classes, weighted, kept, monkeypatch):
    parts, whole = rows(sparse, classes, weighted)
    monkeypatch.setattr(partitions, "_KEPT", 1 << 24 if kept else 0)
    assert (parts.count, parts.total) == (200, whole.total)
    rng = np.random.default_rng(1)
    p, d = whole.start(), whole.start()
    p[:], d[:] = rng.standard_normal(p.shape), rng.standard_normal(p.shape)
    for ours, theirs in (
        (parts.sums(p).gradient, whole.sums(p).gradient),
        (parts.hessian(p)(d), whole.hessian(p)(d)),
        (parts.diagonal(p), whole.diagonal(p)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)  # probabilities are kept in float32
        for other in (ours, parts.start()):  # in the layout that inner products want
            assert other.flags.c_contiguous == p.flags.c_contiguous
            assert other.flags.f_contiguous == p.flags.f_contiguous
    np.testing.assert_allclose(parts.sums(p).loss, whole.sums(p).loss, rtol=1e-13)
    np.testing.assert_allclose(parts.sums(p).noise, whole.sums(p).noise, rtol=1e-13)
    np.testing.assert_allclose(parts.shares(), whole.shares(), rtol=1e-13)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("count", [50, 200])
def test_samples_are_those_of_rows_in_memory(sparse, count):
    parts, whole = rows(sparse, 3, weighted=True)
    ours = parts.sample(count, np.random.default_rng(2))
    theirs = whole.sample(count, np.random.default_rng(2))
    dense = (lambda x: x.toarray()) if sparse else np.asarray
    np.testing.assert_array_equal(dense(ours.x), dense(theirs.x))
    np.testing.assert_array_equal(ours.targets, theirs.targets)
    np.testing.assert_array_equal(ours.weight, theirs.weight)
