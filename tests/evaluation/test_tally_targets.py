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
