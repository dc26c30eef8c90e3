"""Odd rows and numbers in a tally, each counted by hand or by NumPy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from evaluations import rows

import lastlayer as ll

V = 4


def test_invalid_rows_are_wrong_and_make_the_loss_nan():
    z, y = rows(6)
    z[2, 1] = np.nan
    z[4, 0] = np.inf
    count, skip, rest = ll.Tally(V), ll.Tally(V, invalid="skip"), ll.Tally(V)
    count.update(z, y)
    skip.update(z, y)
    rest.update(z[[0, 1, 3, 5]], y[[0, 1, 3, 5]])
    found = count.result()
    assert (found.n, found.invalid) == (6, 2)
    assert math.isnan(found.log_loss.value)
    assert "log_loss" in found.undefined
    assert found.accuracy.value == pytest.approx(rest.result().accuracy.value * 4 / 6)
    assert (skip.n, skip.invalid) == (4, 2)
    assert skip.result().log_loss == rest.result().log_loss


def test_nothing_was_added():
    found = ll.Tally(V).result()
    assert found.n == 0
    assert math.isnan(found.log_loss.value)
    assert "accuracy" in found.undefined
    json.loads(found.to_json())


def test_a_probability_of_0_gives_an_infinite_loss():
    tally = ll.Tally(2, kind="probabilities")
    tally.update([[0.0, 1.0], [1.0, 0.0]], [0, 0])
    found = tally.result()
    assert found.log_loss.value == math.inf
    assert found.brier.value == 1.0
    assert found.to_dict()["log_loss"]["value"] == "inf"


def test_confidence_of_exactly_0_and_1_and_at_an_edge():
    tally = ll.Tally(2, kind="probabilities", bins=4)
    tally.update([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0], [0.0, 0.0]], [0, 0, 0, 0])
    assert tally.result().calibration.weight.tolist() == [1, 1, 1, 1]  # (0), (0.5), (0.75), (1)


def test_ties_at_the_kth_place_go_to_the_lowest_class():
    tally = ll.Tally(3, top_k=(1, 2))
    tally.update(np.zeros((3, 3)), [0, 1, 2])
    found = tally.result()
    assert {k: v.value for k, v in found.top_k_accuracy.items()} == {1: 1 / 3, 2: 2 / 3}


def test_one_class_alone_and_a_class_without_rows():
    tally = ll.Tally(3)
    tally.update([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]], [0, 0])
    found = tally.result()
    assert found.balanced_accuracy == 0.5
    assert found.by_class.recall[0] == 0.5
    assert np.isnan(found.by_class.recall[1:]).all()
    assert {"recall[1]", "recall[2]", "precision[1]", "matthews"} <= set(found.undefined)
    assert found.baseline == 0.0


def test_documents_make_the_error_larger():
    r = np.random.default_rng(5)
    effect = np.repeat(r.normal(size=20), 30)
    z = np.stack([effect, np.zeros(600)], axis=1)
    alone, clustered = ll.Tally(2), ll.Tally(2)
    alone.update(z, np.zeros(600, int))
    clustered.update(z, np.zeros(600, int), documents=np.repeat(np.arange(20), 30))
    a, b = alone.result().log_loss, clustered.result().log_loss
    assert a.value == b.value
    assert b.stderr > 3 * a.stderr
    means = ll.cross_entropy(z, np.zeros(600, int), reduction="none").reshape(20, 30).mean(1)
    assert b.stderr == pytest.approx(means.std(ddof=1) / np.sqrt(20))
    assert clustered.result().document_perplexity == pytest.approx(np.exp(means).mean())


def test_bits_per_byte_and_positions():
    z, y = rows(12)
    tally = ll.Tally(V)
    tally.update(z.reshape(3, 4, V), y.reshape(3, 4), n_bytes=np.full((3, 4), 3))
    losses = ll.cross_entropy(z.astype(float), y, reduction="none").reshape(3, 4)
    found = tally.result()
    assert found.bits_per_byte.value == pytest.approx(losses.sum() / np.log(2) / 36)
    np.testing.assert_allclose(found.loss_by_position, losses.mean(0))


def test_groups_and_the_hardest_rows():
    z, y = rows(60)
    group = np.where(np.arange(60) % 3 == 0, "a", "b")
    tally = ll.Tally(V)
    tally.update(z, y, groups=group, rows=np.arange(100, 160))
    losses = ll.cross_entropy(z.astype(float), y, reduction="none")
    found = tally.result()
    assert found.loss_by_group["a"].value == pytest.approx(losses[group == "a"].mean())
    assert found.accuracy_by_group["b"].value == (z.argmax(1) == y)[group == "b"].mean()
    assert [row for row, *_ in found.hardest] == (100 + np.argsort(-losses)[:20]).tolist()


def test_more_classes_than_the_table_has_room_for():
    v, r = 2000, np.random.default_rng(0)
    z, y = r.normal(size=(50, v)), r.integers(0, v, 50)
    tally = ll.Tally(v)
    tally.update(z, y)
    pairs = sorted(zip(y.tolist(), z.argmax(1).tolist(), strict=True))
    assert [(t, p) for t, p, _ in tally.result().confusion] == pairs


def test_temperature_divides_the_logits():
    z, y = rows(20)
    warm, cold = ll.Tally(V, temperature=2.0), ll.Tally(V)
    warm.update(z, y)
    cold.update(z.astype(float) / 2, y)
    assert warm.result().log_loss.value == pytest.approx(cold.result().log_loss.value)


@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
def test_binary_scores(kind):
    r = np.random.default_rng(1)
    x, y = r.normal(size=30), r.integers(0, 2, 30)
    p = 1 / (1 + np.exp(-x))
    given = {"logits": x, "probabilities": p, "log-probabilities": np.log(p)}[kind]
    one, two = ll.Tally(2, kind=kind, binary=True), ll.Tally(2)
    one.update(given[:, None], y)
    two.update(np.stack([np.zeros(30), x], 1), y)
    for name in ("log_loss", "accuracy", "brier"):
        assert getattr(one.result(), name).value == pytest.approx(getattr(two.result(), name).value)
