"""The same bits on every run, from many threads at once, and after a fork."""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from assertions import assert_same_bits

import lastlayer as ll

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 130)).astype(np.float32)
Y = RNG.integers(0, 130, 600)


def everything(_=None):
    return ll.softmax(X), ll.logsumexp(X), *ll.cross_entropy_grad(X, Y, label_smoothing=0.1)


def digests():
    return [hashlib.sha256(a.tobytes()).hexdigest() for a in everything()]


def in_child(queue):
    queue.put(digests())


def test_same_bits_again_and_from_many_threads(backend):
    first = everything()
    with ThreadPoolExecutor(8) as pool:
        for results in [everything(), *pool.map(everything, range(16))]:
            for a, b in zip(results, first, strict=True):
                assert_same_bits(a, b)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_after_a_fork(backend):
    first = digests()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # newer Pythons dislike forks beside threads: that is the point
        child = context.Process(target=in_child, args=(queue,))
        child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == first


@pytest.mark.slow
def test_more_elements_than_32_bits_can_count(backend):
    """Needs about 9 GB."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    if backend == "reference":
        pytest.skip("float64 copies of this would need 64 GB")
    rows, classes = 33000, 65536
    x = np.zeros((rows, classes), bfloat16)
    x[-1, -1] = 16
    y = np.zeros(rows, np.int64)
    y[-1] = classes - 1
    losses = ll.cross_entropy(x, y, reduction="none")
    assert abs(losses[0] - np.log(classes)) < 1e-5
    assert abs(losses[-1] - np.log1p((classes - 1) * np.exp(-16.0))) < 1e-6
    ll.softmax(x, out=x)
    assert x[-1, -1] > 0.99
    assert x[0, 0] == np.asarray(1 / classes, bfloat16)
