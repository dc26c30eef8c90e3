"""Near the largest finite number: a loss that has a value is that value, and no option makes it another."""

from __future__ import annotations

import numpy as np
import pytest

import lastlayer as ll

LARGEST = float(np.finfo(np.float32).max)


def loss(z, t):
    """-<t, log softmax(z)> of each row, in float64, which is far from its largest number here."""
    z, t = z.astype(np.float64), t.astype(np.float64)
    peak = z.max(1, keepdims=True)
    lse = peak + np.log(np.exp(z - peak).sum(1, keepdims=True))
    return (t * (lse - z)).sum(1)


@pytest.mark.parametrize("size", [1e30, 1e36, 1e37, 1e38])
@pytest.mark.parametrize("classes", [3, 7, 65, 130, 1000])
def test_large_logits(backend, classes, size):
    rng = np.random.default_rng(classes)
    z = (rng.uniform(-1, 1, (3, classes)) * size).astype(np.float32)
    y, q = rng.integers(0, classes, 3), rng.random((3, classes))
    q = (q / q.sum(1, keepdims=True)).astype(np.float32)
    smooth = np.eye(classes)[y] * 0.75 + 0.25 / classes
    for targets, options, t in (
        (y, {}, np.eye(classes)[y]),
        (y, {"label_smoothing": 0.25}, smooth),
        (y, {"label_smoothing": 0.25, "class_weight": np.full(classes, 0.5)}, smooth / 2),
        (q, {}, q),
        (q, {"label_smoothing": 0.25}, q * 0.75 + 0.25 / classes),
    ):
        expected = loss(z, t)
        np.testing.assert_allclose(ll.cross_entropy(z, targets, reduction="none", **options), expected, 1e-5)
        stats = ll.row_stats(z, targets, **options)
        np.testing.assert_allclose(stats.nll, expected, 1e-5)


def test_scaled_beyond_float32(backend):
    """The logits divided by the temperature are no numbers of float32; what is made of them may be."""
    z = np.array([[LARGEST, 0, 0], [LARGEST, LARGEST, 0]], np.float32)
    label, confidence = ll.predict(z, temperature=0.5)
    assert label.tolist() == [0, 0]
    assert confidence.tolist() == [1, 0.5]
    stats = ll.row_stats(z, [0, 1], temperature=0.5)
    assert stats.nll.tolist() == [0, np.float32(np.log(2))]
    assert stats.confidence.tolist() == [1, 0.5]
    assert stats.entropy.tolist() == [0, np.float32(np.log(2))]
    assert stats.rank.tolist() == [0, 1]
    assert stats.lse.tolist() == [np.inf, np.inf]  # 6.8e38
    assert ll.softmax(z, temperature=0.5).tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    np.testing.assert_allclose(ll.cross_entropy(z, [0, 1], temperature=0.5), np.log(2) / 2, 1e-6)


def test_a_squared_normaliser_beyond_float32(backend):
    """lse^2 is 1e40; the loss has a value while z_loss lse^2 has one."""
    loss, grad = ll.cross_entropy_grad(np.array([1e20, 0, 0], np.float32), 0, z_loss=1e-4)
    np.testing.assert_allclose(loss, 1e36, 1e-6)
    np.testing.assert_allclose(grad, [2e16, 0, 0], 1e-6)
    assert ll.cross_entropy(np.array([LARGEST, 0, 0], np.float32), 0, z_loss=0.1) == np.inf  # 1e76


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_and_small_weights(backend, dtype):
    """The mean does not change when all weights are multiplied by one number."""
    z = np.array([[1.0, 2.0, 0.0], [0.5, 0.0, 1.5]], dtype)
    w = np.array([0.5, 2.0, 1.0])
    expected = ll.cross_entropy(z.astype(np.float64), [1, 2], class_weight=w, sample_weight=[0.25, 1])
    for factor in (2.0**-80, 2.0**50):
        found = ll.cross_entropy(z, [1, 2], class_weight=w * factor, sample_weight=[0.25, 1])
        np.testing.assert_allclose(found, expected, 1e-6)
