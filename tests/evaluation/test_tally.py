"""A tally: the same bytes for any split and order of the rows, and the odd cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from assertions import raises
from hypothesis import given, settings
from hypothesis import strategies as st

import lastlayer as ll
from lastlayer.evaluation import counters, exact

V = 4


def rows(n, seed=0):
    r = np.random.default_rng(seed)
    z, y = r.normal(size=(n, V)) * 3, r.integers(0, V, n)
    return z.astype(np.float32), y


FACTS = {
    "sample_weight": lambda r, n: r.exponential(size=n),
    "n_bytes": lambda r, n: r.integers(0, 9, n),
    "groups": lambda r, n: np.array(["de", "en", "fr"])[r.integers(0, 3, n)],
    "documents": lambda r, n: r.integers(0, 5, n),
    "positions": lambda r, n: r.integers(0, 7, n),
    "rows": lambda _, n: np.arange(n),
}


@given(
    st.integers(1, 40),
    st.integers(0, 1000),
    st.sets(st.sampled_from(sorted(FACTS))),
    st.lists(st.integers(0, 40), max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_any_split_and_order_gives_the_same_bytes(n, seed, names, cuts):
    r = np.random.default_rng(seed)
    z, y = rows(n, seed)
    y = np.where(r.random(n) < 0.1, -100, y)
    z[r.random(n) < 0.05] = np.nan
    z[r.random(n) < 0.05, 0] = np.inf
    facts = {name: FACTS[name](r, n) for name in names}
    whole = ll.Tally(V, classwise=True)
    whole.update(z, y, **facts)
    order = r.permutation(n)
    parts = []
    for index in np.split(order, sorted(c for c in cuts if c < n)):
        part = ll.Tally(V, classwise=True)
        for some in np.array_split(index, 2):
            part.update(z[some], y[some], **{k: v[some] for k, v in facts.items()})
        parts.append(ll.Tally.from_bytes(part.to_bytes()))
    assert sum(parts[::-1]).to_bytes() == whole.to_bytes()
    assert sum(parts).result().to_json() == whole.result().to_json()


def test_rows_of_a_linear_head_and_of_row_statistics():
    r = np.random.default_rng(1)
    x, w, b = r.normal(size=(50, 8)), r.normal(size=(V, 8)), r.normal(size=V)
    y = r.integers(0, V, 50)
    logits, linear, stats = ll.Tally(V), ll.Tally(V), ll.Tally(V)
    logits.update(x @ w.T + b, y)
    linear.update_linear(x, w, y, bias=b)
    stats.update_stats(ll.row_stats(x @ w.T + b, y), y)
    expected = logits.result().to_dict()
    for tally in (linear, stats):
        found = tally.result()
        assert found.log_loss == pytest.approx(logits.result().log_loss)
        assert found.accuracy == logits.result().accuracy
        assert found.brier == pytest.approx(logits.result().brier)
        assert found.to_dict().keys() == expected.keys()


def test_dense_and_top_k_targets():
    z, y = rows(30)
    q = np.random.default_rng(2).dirichlet(np.ones(V), 30)
    dense, listed = ll.Tally(V), ll.Tally(V)
    dense.update(z, q)
    order = np.argsort(-q, axis=1)
    listed.update(z, (order, np.take_along_axis(q, order, 1)))
    found = dense.result()
    p = ll.softmax(z.astype(np.float64))
    assert float(found.log_loss) == pytest.approx(float(ll.cross_entropy(z, q)), rel=1e-6)
    assert float(found.brier) == pytest.approx(((p - q) ** 2).sum(1).mean())
    assert float(found.accuracy) == (z.argmax(1) == q.argmax(1)).mean()
    assert float(listed.result().log_loss) == pytest.approx(float(found.log_loss))
    one_hot, index = ll.Tally(V), ll.Tally(V)
    one_hot.update(z, np.eye(V, dtype=int)[y])
    index.update(z, y)
    assert float(one_hot.result().log_loss) == pytest.approx(float(index.result().log_loss))


def test_weights_are_repetitions():
    z, y = rows(20)
    w = np.random.default_rng(3).integers(0, 4, 20)
    weighted, repeated = ll.Tally(V), ll.Tally(V)
    weighted.update(z, y, sample_weight=w)
    repeated.update(np.repeat(z, w, 0), np.repeat(y, w))
    a, b = weighted.result(), repeated.result()
    for name in ("log_loss", "accuracy", "brier", "mean_entropy", "mean_reciprocal_rank"):
        assert getattr(a, name).value == pytest.approx(getattr(b, name).value, rel=1e-15)
    for name in ("matthews", "ece", "mce", "ece_equal_mass", "balanced_accuracy", "skill"):
        assert getattr(a, name) == pytest.approx(getattr(b, name))
    assert a.ignored == (w == 0).sum()


# --- labels -------------------------------------------------------------------------------------------------

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


# --- odd cases ----------------------------------------------------------------------------------------------


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


# --- exact sums ---------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=40),
    st.booleans(),
    st.integers(0, 1000),
)
@settings(max_examples=200, deadline=None)
def test_sums_are_exact_in_the_core_and_without_it(values, in_one_place, seed):
    from fractions import Fraction

    x = np.array(values, np.float64)
    places = 2 if in_one_place else np.random.default_rng(seed).integers(0, 4, len(x))
    ours, plain = exact.Sums(4), exact.Sums(4)
    ours.add(x, places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact.core, "BUILT", False)
        plain.add(x, places)
    assert ours.to_dict() == plain.to_dict()
    for k in range(4):
        mine = x[np.isfinite(x) & (np.broadcast_to(places, x.shape) == k)]
        assert ours.total(k) == sum(math.trunc(Fraction(float(v)) * 2**120) for v in mine)


def test_what_the_core_refuses():
    _core = pytest.importorskip("lastlayer._core", reason="the native core is not built")
    x, limbs = np.ones(3), np.zeros((2, 3), np.int64)
    for values, places, place, sums in (
        (x, np.array([0, 1, 2]), 0, limbs),
        (x, np.array([0, -1, 1]), 0, limbs),
        (x, np.array([0, 1]), 0, limbs),
        (x, np.array([0, 1, 1], np.int32), 0, limbs),
        (x, None, 2, limbs),
        (x, None, -1, limbs),
        (x.astype(np.float32), None, 0, limbs),
        (x, None, 0, limbs[:, :2]),
        (x, None, 0, limbs.astype(np.float64)),
        (np.ones(6)[::2], None, 0, limbs),
    ):
        with pytest.raises((ValueError, TypeError, BufferError)):
            _core.add_exactly(values, places, place, sums)
    assert not limbs.any()
    extreme = np.full((1, 3), np.iinfo(np.int64).max)
    _core.add_exactly(np.full(5, 2.0**31), None, 0, extreme)  # no sum of ours, and no fault


def test_bins_are_those_that_the_edges_say():
    r = np.random.default_rng(0)
    for bins in (1, 3, 10, 15, 100):
        edges = np.arange(bins + 1) / bins
        p = np.concatenate([edges, np.nextafter(edges, 2), np.nextafter(edges, -1), r.random(1000)])
        p = p[(p >= 0) & (p <= 1)]
        expected = np.maximum(np.searchsorted(edges, p, "left") - 1, 0)
        np.testing.assert_array_equal(counters.equal_width_bin(p, bins), expected)
    edges = counters.FINE_EDGES
    p = np.concatenate(
        [edges, np.nextafter(edges, 2), np.nextafter(edges, -1), 1 - 2.0 ** -r.uniform(0, 53, 9999)]
    )
    p = p[(p >= 0) & (p <= 1)]
    expected = np.clip(np.searchsorted(edges, p, "left") - 1, 0, len(edges) - 2)
    np.testing.assert_array_equal(counters.fine_bin(p), expected)
