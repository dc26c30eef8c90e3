"""The targets of a tally: names, gaps, labels of no class; and what a tally refuses."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises
from evaluations import rows

import lastlayer as ll

V = 4
NAMES = ["cat", "dog", "emu", "fox"]


def test_names_with_gaps():
    z, _ = rows(5)
    tally = ll.Tally(V, labels=NAMES)
    tally.update(z, ["dog", None, "emu", float("nan"), ""])
    by_index = ll.Tally(V)
    by_index.update(z, [1, -100, 2, -100, -100])
    assert tally.ignored == 3
    assert float(tally.result().log_loss) == float(by_index.result().log_loss)
    numbers = ll.Tally(V, labels=[3, 1, 2, 0])
    numbers.update(z, [1.0, 3, np.nan, "0", 2])
    assert numbers.ignored == 1


def test_a_label_that_the_model_does_not_know():
    z, _ = rows(3)
    with raises(
        ll.TargetError,
        "Tally.update: targets[1] is 'gnu'; expected one of labels ('cat', 'dog', 'emu', 'fox'); "
        "unknown='wrong' counts such rows as wrong",
    ):
        ll.Tally(V, labels=NAMES).update(z, ["cat", "gnu", "dog"])
    tally = ll.Tally(V, labels=NAMES, unknown="wrong")
    tally.update(z, ["cat", "gnu", "dog"])
    known = ll.Tally(V)
    known.update(z[[0, 2]], [0, 1])
    found = tally.result()
    assert (found.n, found.unknown, found.unknown_labels) == (3, 1, ("gnu",))
    assert found.log_loss.value == known.result().log_loss.value
    assert found.accuracy.value == pytest.approx(known.result().accuracy.value * 2 / 3)
    rule = "expected a class in [0, 4) or ignore_index=-100; unknown='wrong' counts such rows as wrong"
    with raises(ll.TargetError, f"Tally.update: targets[0] is 4; {rule}"):
        ll.Tally(V).update(z[:1], [4])


def test_indices_with_gaps_are_floats():
    z, y = rows(4)
    floats = ll.Tally(V)
    floats.update(z, np.where([True, True, False, True], y, np.nan))
    assert floats.ignored == 1
    with raises(
        ll.DtypeError, "Tally.update: targets is of dtype float64; expected integers as class indices"
    ):
        ll.Tally(V).update(z, y + 0.5)


@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("bits", [False, True])
def test_bfloat16(kind, binary, bits):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    from lastlayer.arrays import BFLOAT16

    z, y = rows(50)
    given = {"logits": z, "probabilities": ll.softmax(z), "log-probabilities": ll.log_softmax(z)}[kind]
    given, y = (given[:, 1], y % 2) if binary else (given, y)
    half = given.astype(ml_dtypes.bfloat16)
    options = {"kind": kind, "binary": binary, "classwise": True}
    stored = half.view(np.uint16).view(BFLOAT16) if bits else half
    found, single = (ll.Tally(2 if binary else V, **options) for _ in range(2))
    found.update(stored, y)
    single.update(half.astype(np.float32), y)
    assert found.to_bytes() == single.to_bytes()


# --- what is refused ----------------------------------------------------------------------------------------

WRONG = {
    "classes is 0; expected an int of 1 or more": lambda: ll.Tally(0),
    "kind is 'logit'; expected one of 'logits', 'probabilities', 'log-probabilities'": lambda: ll.Tally(
        2, kind="logit"
    ),
    "labels is of 1 names; expected 2 names, one for each class": lambda: ll.Tally(2, labels=["a"]),
    "labels is with 'a' twice; expected different names": lambda: ll.Tally(2, labels=["a", "a"]),
    "temperature is 0; expected a finite number above 0": lambda: ll.Tally(2, temperature=0),
    "classes is 3; expected 2 with binary=True": lambda: ll.Tally(3, binary=True),
    "other is of bins=10; expected bins=15": lambda: ll.Tally(2) + ll.Tally(2, bins=10),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_options(text):
    with raises(ll.OptionError, f"Tally: {text}"):
        WRONG[text]()


def test_wrong_rows():
    tally = ll.Tally(3)
    with raises(ll.ShapeError, "Tally.update: scores is of shape (2, 4); expected 3 classes on axis -1"):
        tally.update(np.zeros((2, 4)), [0, 1])
    with raises(
        ll.ShapeError,
        "Tally.update: targets is of shape (3,); expected (2,) for class indices or (2, 3) for dense targets",
    ):
        tally.update(np.zeros((2, 3)), [0, 1, 2])
    with raises(
        ll.OptionError,
        "Tally.update: sample_weight[1] is -1.0; expected a weight of 0 or more, at most 2^32",
    ):
        tally.update(np.zeros((2, 3)), [0, 1], sample_weight=[1, -1])
    assert tally.n == 0
    with raises(ll.OptionError, "Tally.from_dict: schema is None; expected 'lastlayer.tally/1'"):
        ll.Tally.from_dict({})


def test_options_that_are_no_option():
    for words, text in (
        ({"labels": "abcd"}, "labels is 'abcd'; expected a sequence of names, one for each class"),
        ({"labels": 4}, "labels is 4; expected a sequence of names, one for each class"),
        (
            {"labels": ["a", None, "b", "c"]},
            "labels[1] is None; expected text or a number: others are missing",
        ),
        ({"axis": 1.0}, "axis is 1.0; expected an int"),
        ({"bins": 10**14}, f"bins is {10**14}; expected an int of 1 or more, at most 1000000"),
    ):
        with raises(ll.OptionError, f"Tally: {text}"):
            ll.Tally(V, **words)
    with raises(ll.OptionError, f"Tally: classes is {10**14}; expected an int of 1 or more, at most {2**31}"):
        ll.Tally(10**14)
    with raises(ll.OptionError, "evaluate: axis is None; expected an int"):
        ll.evaluate(*rows(3), axis=None)


def test_top_k_without_1_and_of_any_kind():
    z, y = rows(50)
    plain = ll.evaluate(z, y, top_k=(1, 3))
    for given in (3, (3,), [3, 3], {3}, np.array([3]), np.int64(3)):
        assert ll.evaluate(z, y, top_k=given).top_k_accuracy == plain.top_k_accuracy
    assert list(ll.evaluate(z, y, top_k=()).top_k_accuracy) == [1]
    assert ll.evaluate(z, y, top_k=()).accuracy == plain.accuracy


def test_labels_of_pandas_that_are_missing():
    pandas = pytest.importorskip("pandas")
    z, _ = rows(3)
    found = ll.evaluate(z, ["cat", pandas.NA, "dog"], labels=NAMES)
    assert (found.n, found.ignored) == (2, 1)


def test_numbers_that_no_int64_holds_are_no_class():
    z, _ = rows(2)
    rule = "expected a class in [0, 4) or ignore_index=-100; unknown='wrong' counts such rows as wrong"
    for targets in (
        np.array([2**64 - 100, 1], np.uint64),  # as an int64 it would be -100
        np.array([np.inf, 1]),
        np.array([1e300, 1]),
    ):
        with raises(ll.TargetError, f"Tally.update: targets[0] is {2**62}; {rule}"):
            ll.Tally(V).update(z, targets)


def test_masked_arrays_are_refused():
    z, y = rows(3)
    for scores, targets, name in (
        (np.ma.masked_array(ll.softmax(z), z > 0), y, "scores"),
        (ll.softmax(z), np.ma.masked_array(y, y > 0), "targets"),
    ):
        remedy = f"{name}.data, with sample_weight=0 in rows to leave out"
        text = f"{name} is a masked array; expected a plain one; {remedy}"
        with raises(ll.DtypeError, f"Tally.update: {text}"):
            ll.Tally(V, kind="probabilities").update(scores, targets)
        with raises(ll.DtypeError, f"evaluate: {text}"):
            ll.evaluate(scores, targets, kind="probabilities")
    with raises(ll.DtypeError, f"Tally.update: {text}"):  # of targets, which the core would count
        ll.Tally(V).update(z, np.ma.masked_array(y, y > 0))


def test_what_update_linear_and_update_stats_refuse():
    z, y = rows(3)
    tally = ll.Tally(V)
    tally.update_linear(z.tolist(), np.eye(V).tolist(), y)
    assert tally.n == 3
    with raises(ll.ShapeError, "Tally.update_linear: weight is of shape (9, 4); expected (4, D)"):
        tally.update_linear(z, np.ones((9, 4)), y)
    for stats, error, text in (
        (z, ll.DtypeError, "stats is a ndarray; expected a RowStats"),
        (
            ll.row_stats(z),
            ll.OptionError,
            "stats is made without targets; expected those of row_stats(logits, targets)",
        ),
        (
            ll.row_stats(np.eye(9)[[8, 8, 8]], y),
            ll.OptionError,
            "stats is of more classes; expected of 4 classes",
        ),
    ):
        with raises(error, f"Tally.update_stats: {text}"):
            tally.update_stats(stats, y)
    with raises(ll.OptionError, "Tally.update_stats: kind is 'probabilities'; expected 'logits'"):
        ll.Tally(V, kind="probabilities").update_stats(ll.row_stats(z, y), y)
    assert tally.n == 3
