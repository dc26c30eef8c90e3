"""The numbers of an evaluation against scikit-learn's, in float64."""

from __future__ import annotations

import numpy as np
import pytest

import lastlayer as ll

metrics = pytest.importorskip("sklearn.metrics")

N, V = 2000, 7


@pytest.fixture(params=["without weights", "with weights"], scope="module")
def case(request):
    r = np.random.default_rng(0)
    z, y = r.normal(size=(N, V)) * 2, r.integers(0, V, N)
    z[np.arange(N), y] += 1.5
    w = r.exponential(size=N) if request.param == "with weights" else None
    tally = ll.Tally(V, top_k=(1, 2, 3))
    tally.update(z, y, sample_weight=w)
    return z, y, ll.softmax(z), w, tally.result()


def same(found, expected):
    found = found.value if isinstance(found, ll.Estimate) else found
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_means(case):
    z, y, p, w, found = case
    same(found.log_loss, metrics.log_loss(y, p, sample_weight=w))
    same(found.accuracy, metrics.accuracy_score(y, z.argmax(1), sample_weight=w))
    same(found.balanced_accuracy, metrics.balanced_accuracy_score(y, z.argmax(1), sample_weight=w))
    for k in (2, 3):
        same(found.top_k_accuracy[k], metrics.top_k_accuracy_score(y, z, k=k, sample_weight=w))
    same(found.matthews, metrics.matthews_corrcoef(y, z.argmax(1), sample_weight=w))
    same(found.brier, np.average(((p - np.eye(V)[y]) ** 2).sum(1), weights=w))
    rank = (z > z[np.arange(N), y][:, None]).sum(1)
    same(found.mean_reciprocal_rank, np.average(1 / (1 + rank), weights=w))


def test_tables(case):
    z, y, _, w, found = case
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, z.argmax(1), sample_weight=w)
    same(found.by_class.precision, precision)
    same(found.by_class.recall, recall)
    same(found.by_class.f1, f1)
    same(found.by_class.support, support)
    same(found.confusion, metrics.confusion_matrix(y, z.argmax(1), sample_weight=w))
    same(found.by_class.macro_f1, metrics.f1_score(y, z.argmax(1), average="macro", sample_weight=w))


def test_calibration(case):
    """The bins by hand: i / 15 < c <= (i + 1) / 15, each a weighted mean."""
    _, y, p, w, found = case
    right, confidence = p.argmax(1) == y, p.max(1)
    w = np.ones(N) if w is None else w
    weights, accuracies, means = [], [], []
    for low in range(15):
        inside = (low / 15 < confidence) & (confidence <= (low + 1) / 15)
        weights.append(w[inside].sum())
        if inside.any():
            accuracies.append(np.average(right[inside], weights=w[inside]))
            means.append(np.average(confidence[inside], weights=w[inside]))
    there, accuracy, mean = np.array(weights) > 0, np.array(accuracies), np.array(means)
    same(found.calibration.weight, weights)
    same(found.calibration.accuracy[there], accuracy)
    same(found.calibration.confidence[there], mean)
    assert np.isnan(found.calibration.accuracy[~there]).all()
    gaps = abs(accuracy - mean)
    same(found.ece, (np.array(weights)[there] / w.sum() * gaps).sum())
    same(found.mce, gaps.max())
    same(found.reliability - found.resolution + found.uncertainty, _binned_brier(found, w))


def test_calibration_is_that_of_scikit_learn():
    """Its `calibration_curve` has no weights: whole ones are rows that are repeated."""
    calibration = pytest.importorskip("sklearn.calibration")
    r = np.random.default_rng(1)
    z, y, w = r.normal(size=(N, V)) * 2, r.integers(0, V, N), r.integers(0, 4, N)
    tally = ll.Tally(V)
    tally.update(z, y, sample_weight=w)
    found, p = tally.result(), np.repeat(ll.softmax(z), w, axis=0)
    accuracy, mean = calibration.calibration_curve(p.argmax(1) == np.repeat(y, w), p.max(1), n_bins=15)
    there = found.calibration.weight > 0
    same(found.calibration.accuracy[there], accuracy)
    same(found.calibration.confidence[there], mean)
    share = found.calibration.weight[there] / w.sum()
    same(found.ece, (share * abs(accuracy - mean)).sum())
    same(found.mce, abs(accuracy - mean).max())


def _binned_brier(found, w):
    """The Brier score of "the prediction is right" with each confidence replaced by its bin's mean."""
    c, total = found.calibration, 0.0
    for weight, confidence, accuracy in zip(c.weight, c.confidence, c.accuracy, strict=True):
        if weight:
            total += weight * (accuracy * (1 - confidence) ** 2 + (1 - accuracy) * confidence**2)
    return total / w.sum()


def test_errors(case):
    z, y, _, w, found = case
    losses = ll.cross_entropy(z, y, reduction="none")
    if w is None:
        same(found.log_loss.stderr, losses.std(ddof=1) / np.sqrt(N))
    else:
        effective, mean = w.sum() ** 2 / (w**2).sum(), np.average(losses, weights=w)
        variance = (w**2 * (losses - mean) ** 2).sum() / w.sum() ** 2 * effective / (effective - 1)
        same(found.log_loss.stderr, np.sqrt(variance))


def test_wilson_interval():
    scipy_stats = pytest.importorskip("scipy.stats")
    tally = ll.Tally(2)
    tally.update(np.array([[1.0, 0.0]] * 10), [0] * 7 + [1] * 3)
    expected = scipy_stats.binomtest(7, 10).proportion_ci(0.95, method="wilson")
    same(tally.result().accuracy[2:], [expected.low, expected.high])
