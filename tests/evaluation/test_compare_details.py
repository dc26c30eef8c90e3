"""Details of a comparison: temperatures, divergences, rows without weight or label, tallies that grow."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import lastlayer as ll
from lastlayer.evaluation.divergence import BINS, bin_of, divergence, quantile

N, V = 120, 4
R = np.random.default_rng(3)
A, B, Y = R.normal(size=(N, V)) * 2, R.normal(size=(N, V)) * 2, R.integers(0, V, N)


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def test_the_divergence_is_that_of_the_logits_divided_by_their_temperatures():
    p, q = softmax(A / 2.5), softmax(B / 0.5)
    expected = (p * np.log(p / q)).sum(axis=1).mean()
    found = ll.compare(A, B, Y, temperature=(2.5, 0.5)).kl.value
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [1e-8, 1e-6, 1e-4, 1e-2, 1.0])
def test_divergences_of_every_size_keep_their_digits(size):
    mpmath.mp.dps = 50
    a = A[:20]
    b = a + R.normal(size=a.shape) * size
    found = divergence(a, b, ("logits", "logits"), (1.0, 1.0))
    for x, y, value in zip(a, b, found, strict=True):
        e, f = ([mpmath.exp(mpmath.mpf(float(z))) for z in row] for row in (x, y))
        terms = (u / sum(e) * mpmath.log((u / sum(e)) / (v / sum(f))) for u, v in zip(e, f, strict=True))
        # The logarithms are rounded to some 1e-16, which their small differences have as an error.
        assert value == pytest.approx(float(sum(terms)), rel=max(1e-12, 1e-13 / size), abs=0)


def test_invalid_probabilities_make_the_divergence_nan():
    p = softmax(A[:3])
    q = p.copy()
    q[1, 0] = np.inf
    found = ll.compare(p, q, Y[:3], kind="probabilities")
    assert found.invalid_b == 1
    assert np.isnan(found.kl.value)
    assert found.kl_quantiles[1.0].value == 0.0  # of the rows that have one


def test_a_divergence_on_an_edge_is_in_the_bin_below():
    for value in (2.0**-60, 2.0**-3, 1.0, 2.0**20):
        weights = np.zeros(BINS)
        weights[bin_of(np.array([value]))] = 1
        found = quantile(weights, 0.5)
        assert found.low < value == found.high
    assert bin_of(np.array([0.0, np.inf])).tolist() == [0, BINS - 1]


def test_rows_of_weight_0_are_ignored():
    w = np.arange(N) % 3 * 1.0
    found, kept = ll.compare(A, B, Y, sample_weight=w), w > 0
    expected = ll.compare(A[kept], B[kept], Y[kept], sample_weight=w[kept])
    assert found.numbers() == expected.numbers() | {"ignored": N // 3}


def test_unknown_labels_with_documents():
    y, documents = np.where(np.arange(N) % 5 == 0, 9, Y), np.arange(N) // 4
    found = ll.compare(A, B, y, documents=documents, unknown="wrong")
    known = y < V
    p, q = (softmax(z[known])[np.arange(known.sum()), y[known]] for z in (A, B))
    x, of = np.log(p) - np.log(q), documents[known]
    sums = np.bincount(of, x - x.mean())
    error = np.sqrt(30 / 29 * (sums**2).sum()) / len(x)
    assert found.log_loss.difference[:2] == pytest.approx([x.mean(), error], rel=1e-11)
    right = [z[known].argmax(axis=1) == y[known] for z in (A, B)]
    assert found.accuracy.b.value == pytest.approx(right[1].sum() / N, rel=1e-15)


def test_a_saved_tally_goes_on():
    y, facts = (
        np.where(np.arange(N) % 5 == 0, 9, Y),
        {"documents": np.arange(N) // 4, "groups": np.arange(N) % 2},
    )
    whole, part = (ll.PairedTally(V, unknown="wrong") for _ in range(2))
    whole.update(A, B, y, **facts)
    for rows in (slice(0, 50), slice(50, N)):
        part = ll.PairedTally.from_bytes(part.to_bytes())
        part.update(A[rows], B[rows], y[rows], **{k: v[rows] for k, v in facts.items()})
    assert part.to_bytes() == whole.to_bytes()


def test_a_comparison_stays_when_its_tally_grows():
    tally = ll.PairedTally(V)
    tally.update(A, B, Y)
    found = ll.Comparison.of(tally)
    before = found.to_bytes()
    tally.update(A, B, Y)
    assert found.to_bytes() == before
    assert (found + found).n == 2 * N
