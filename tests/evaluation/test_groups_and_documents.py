"""Groups, documents, bytes of text and weights: numbers by NumPy and scikit-learn, and odd keys."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises
from evaluations import rows

import lastlayer as ll

V, N = 5, 200
R = np.random.default_rng(0)
Z = R.normal(size=(N, V)) * 2
Y = (Z + R.gumbel(size=Z.shape)).argmax(axis=1)
GROUP, DOCUMENT = R.integers(0, 3, N), np.arange(N) // 10
WEIGHT = R.random(N) * 3
LOSS = np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(N), Y]
RIGHT = Z.argmax(axis=1) == Y


def test_intervals_of_groups_are_those_of_their_rows_alone():
    for weights in (None, WEIGHT, np.full(N, 1e-3), np.full(N, 1e3)):
        whole = ll.evaluate(Z, Y, groups=GROUP, sample_weight=weights)
        for key in range(3):
            some = key == GROUP
            alone = ll.evaluate(Z[some], Y[some], sample_weight=None if weights is None else weights[some])
            assert list(whole.loss_by_group[key]) == pytest.approx(list(alone.log_loss), rel=1e-12)
            assert list(whole.accuracy_by_group[key]) == pytest.approx(list(alone.accuracy), rel=1e-12)


def test_clustered_intervals_by_their_formula():
    found = ll.evaluate(Z, Y, documents=DOCUMENT, sample_weight=WEIGHT)
    w, documents = WEIGHT.sum(), 20
    for estimate, x in ((found.log_loss, LOSS), (found.accuracy, RIGHT)):
        mean = (WEIGHT * x).sum() / w
        sums = np.bincount(DOCUMENT, WEIGHT * (x - mean))
        error = np.sqrt(documents / (documents - 1) * (sums**2).sum()) / w
        assert [estimate.value, estimate.stderr] == pytest.approx([mean, error], rel=1e-12)
    p, n, z = found.accuracy.value, 0.0, 1.959963984540054
    n = p * (1 - p) / found.accuracy.stderr**2  # Wilson's interval with as many trials
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    bounds = [(middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)]
    assert [found.accuracy.low, found.accuracy.high] == pytest.approx(bounds, rel=1e-12)


def test_a_clustered_proportion_stays_between_0_and_1():
    worst, best = Z.argmin(axis=1), Z.argmax(axis=1)
    found = ll.evaluate(Z, np.where(DOCUMENT < 4, worst, best), documents=DOCUMENT // 4).accuracy
    assert 0 < found.low < found.value == 0.8 < found.high < 1
    found = ll.evaluate(Z, best, documents=DOCUMENT // 4).accuracy  # 5 of 5 documents, all right
    assert (found.value, found.stderr, found.high) == (1.0, 0.0, 1.0)
    assert found.low == pytest.approx(1 / (1 + 1.959963984540054**2 / 5))


def test_documents_of_some_rows_change_no_mean():
    tally, plain = ll.Tally(V), ll.evaluate(Z, Y)
    tally.update(Z[:50], Y[:50], documents=DOCUMENT[:50])
    tally.update(Z[50:], Y[50:])
    found = tally.result()
    assert (found.log_loss, found.accuracy) == (plain.log_loss, plain.accuracy)
    assert np.isnan(found.document_perplexity)
    assert found.notes == ("documents: some rows have none; the intervals are those of independent rows",)


def test_bits_per_byte_with_weights_and_gaps():
    n_bytes = R.integers(1, 9, N)
    for w in (None, WEIGHT, np.full(N, 2.0)):
        y = np.where(np.arange(N) % 7 == 0, -100, Y)
        found = ll.evaluate(Z, y, n_bytes=n_bytes, sample_weight=w).bits_per_byte
        u = np.where(y < 0, 0.0, 1.0 if w is None else w)
        expected = (u * LOSS).sum() / np.log(2) / (u * n_bytes).sum()
        assert found.value == pytest.approx(expected, rel=1e-12)
    tally = ll.Tally(V)
    tally.update(Z[:50], Y[:50], n_bytes=n_bytes[:50])
    tally.update(Z[50:], Y[50:])
    assert np.isnan(tally.result().bits_per_byte.value)
    assert tally.result().notes == ("bits_per_byte: some rows have no n_bytes",)


def test_matthews_of_unknown_labels_and_invalid_rows():
    metrics = pytest.importorskip("sklearn.metrics")
    y, z = np.where(np.arange(N) < 40, 99, Y), Z.copy()
    z[20:60, 1] = np.nan
    predicted = np.where(np.isnan(z).any(axis=1), -1, Z.argmax(axis=1))
    for w in (None, WEIGHT):
        found = ll.evaluate(z, y, unknown="wrong", sample_weight=w)
        expected = metrics.matthews_corrcoef(y, predicted, sample_weight=w)
        assert found.matthews == pytest.approx(expected, rel=1e-12)


def test_keys_that_are_no_plain_names():
    pandas = pytest.importorskip("pandas")
    z, y = rows(4)
    for given, keys in (
        (["a", None, "a", "b"], ["", "a", "b"]),
        (np.array(["a", 1, None, pandas.NA], object), ["", "1", "a"]),
        (np.array([b"x", b"x", b"y", b"y"]), ["x", "y"]),
        (np.array(["2020-01-02"] * 4, "M8[D]"), ["2020-01-02"]),
        ([True, False, True, True], [False, True]),
    ):
        tally = ll.Tally(4)
        tally.update(z, y, groups=given, documents=given)
        assert list(tally.result().loss_by_group) == keys
        assert ll.Tally.from_bytes(tally.to_bytes()).to_bytes() == tally.to_bytes()
    tally = ll.Tally(4)
    for given, found, rule in (
        ([0.5, np.nan, 1, 2], "groups[1] is missing", "a value in each row"),
        ([0.5, np.inf, 1, 2], "groups is infinite somewhere", "names or finite numbers"),
        ([1j, 1, 2, 3], "groups is of dtype complex128", "names or finite numbers"),
    ):
        with raises(ll.DtypeError, f"Tally.update: {found}; expected {rule}"):
            tally.update(z, y, groups=given)
    assert tally.to_bytes() == ll.Tally(4).to_bytes()  # nothing was counted


def test_positions_that_no_table_holds():
    z, y = rows(3)
    with raises(
        ll.OptionError,
        "Tally.update: positions is as large as 1000000000000; expected positions below 16777216",
    ):
        ll.Tally(4).update(z, y, positions=[0, 10**12, 1])


def test_very_small_weights():
    some = ll.evaluate(Z, Y, sample_weight=np.where(np.arange(N) < 100, 1.0, 1e-200))
    assert some.log_loss.value == pytest.approx(LOSS[:100].mean(), rel=1e-12)
    text = (
        "Tally.result: sample_weight is 7.88861e-31 in the mean; expected 2^-48 or more: "
        "sums are exact to 2^-120; multiply them by one number"
    )
    with raises(ll.OptionError, text):
        ll.evaluate(Z, Y, sample_weight=np.full(N, 2.0**-100))
    one = ll.evaluate(Z, Y, groups=np.arange(N) == 0, sample_weight=np.where(np.arange(N) == 0, 1e-30, 1.0))
    assert np.isnan(one.loss_by_group[True].stderr)  # its square vanishes
    with raises(ll.DtypeError, "Tally.update: sample_weight is of dtype <U1; expected numbers"):
        ll.Tally(V).update(Z, Y, sample_weight=["a"] * N)


def test_a_class_alone_has_a_baseline_of_plus_0():
    found = ll.evaluate(Z, np.zeros(N, int))
    assert str(found.baseline) == "0.0"
    assert "skill" in found.undefined


def test_evaluations_are_compared_by_their_numbers():
    a, b = ll.evaluate(Z, Y), ll.evaluate(Z[::-1], Y[::-1])
    assert a != b  # of `hardest`, the rows
    assert a == ll.evaluate(Z, Y)
    assert a != 3
    assert repr(a) == str(a)


def test_an_estimate_is_compared_and_computed_with_as_a_number():
    found = ll.evaluate(Z, Y).accuracy
    p = found.value
    assert found > 0.1
    assert found >= p
    assert found < 1
    assert found <= p
    assert (round(found, 3), 100 * found, found * 100) == (round(p, 3), 100 * p, 100 * p)
    assert (found - 0.5, 1 - found, found + 1, 1 + found, found / 2) == (p - 0.5, 1 - p, p + 1, 1 + p, p / 2)
    assert found.low < found < found.high
    assert sorted([ll.evaluate(Z, 4 - Y).accuracy, found])[1] is found


def test_losses_whose_squares_are_infinite():
    z = Z.copy()
    z[3] *= 1e300
    z[3, Y[3]] = -1e300
    for words in ({}, {"sample_weight": WEIGHT}, {"documents": DOCUMENT}, {"groups": GROUP}):
        found = ll.evaluate(z, Y, **words)
        assert found.log_loss.value > 1e290
        assert not np.isfinite(found.log_loss.stderr)
        assert found.accuracy.stderr < 0.1
    assert not np.isfinite(found.loss_by_group[int(GROUP[3])].stderr)
