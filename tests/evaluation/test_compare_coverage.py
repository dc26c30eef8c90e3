"""Simulations: how often the 95 % intervals of differences cover the truth, with and without documents."""

from __future__ import annotations

import numpy as np
import pytest

import lastlayer as ll
from lastlayer.evaluation.paired import metrics_of, paired
from lastlayer.evaluation.rows import of_scores

V = 3
NAMES = ("log_loss", "accuracy", "brier")


def population(documents, length, r):
    """Logits of both models and labels of documents, in some of which b is better and in others worse."""
    n = documents * length
    a = r.normal(size=(n, V)) * 1.5
    y = (1.2 * a + r.gumbel(size=a.shape)).argmax(axis=1)
    favour = np.repeat(r.normal(size=documents), length)
    b = a + r.normal(size=(n, V)) * 0.7 + favour[:, None] * np.eye(V)[y]
    return a, b, y


def test_independent_rows():
    """4000 samples of 250 rows, each a group: the standard error of a share is 0.3 %."""
    r = np.random.default_rng(0)
    a, b, y = population(20_000, 1, r)
    truth = ll.compare(a, b, y)
    chosen = r.integers(0, len(y), (4000, 250))
    group = np.broadcast_to(np.arange(len(chosen))[:, None], chosen.shape)
    found = ll.compare(a[chosen], b[chosen], y[chosen], groups=group).by_group
    for name in NAMES:
        value = getattr(truth, name).difference.value
        covered = np.mean([getattr(f, name).low <= value <= getattr(f, name).high for f in found.values()])
        assert 0.94 <= covered <= 0.96, name


class Sums:
    """What a tally of some documents of weight 1 a row has summed, from the sums of each document."""

    def __init__(self, metrics, chosen, length):
        some = metrics[chosen]
        self.rows, self.x, self.x2 = length * len(chosen), some.sum(axis=1), (some**2).sum(axis=1)
        self.documents = [np.full(len(chosen), float(length))] * 2 + list(self.x.T)

    def of(self, metric, known):  # noqa: ARG002 - all labels are known
        x, x2 = self.x[:, metric].sum(), self.x2[:, metric].sum()
        return self.rows, self.rows, x, x, x2


def test_rows_of_documents():
    """5000 samples of 100 documents of 5 rows: the standard error of a share is 0.3 %.

    Their intervals are those of `compare`, which is slower: of the first 20 samples both are computed.
    """
    r = np.random.default_rng(1)
    a, b, y = (x.reshape(4000, 5, *x.shape[1:]) for x in population(4000, 5, r))
    truth = ll.compare(a, b, y)
    flat = y.reshape(-1)
    rows = [of_scores(z.reshape(-1, V), flat, "logits", 1.0) for z in (a, b)]
    metrics = np.stack(metrics_of(*rows, np.zeros(len(flat))), axis=1).reshape(4000, 5, -1)
    of = np.broadcast_to(np.arange(100)[:, None], (100, 5))
    covered = {(name, kind): 0 for name in NAMES for kind in ("documents", "rows")}
    for sample in range(5000):
        chosen = r.integers(0, len(y), 100)
        sums = Sums(metrics, chosen, 5)
        found = {
            (name, kind): paired(name, sums, documents).difference
            for name in NAMES
            for kind, documents in (("documents", sums.documents), ("rows", None))
        }
        for (name, kind), e in found.items():
            covered[name, kind] += e.low <= getattr(truth, name).difference.value <= e.high
        if sample < 20:
            for kind, words in (("documents", {"documents": of}), ("rows", {})):
                expected = ll.compare(a[chosen], b[chosen], y[chosen], **words)
                for name in NAMES:
                    e = getattr(expected, name).difference
                    assert list(found[name, kind]) == pytest.approx(list(e), rel=1e-9)
    for name in NAMES:
        assert 0.94 <= covered[name, "documents"] / 5000 <= 0.96, (name, covered)
        assert covered[name, "rows"] / 5000 < 0.9, (name, covered)
