"""Evaluations of Dask on the threads of this process: the bytes and findings of arrays in memory."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from assertions import raises

import lastlayer as ll
from lastlayer.errors import DtypeError, OptionError, ShapeError, TargetError

N, V = 1001, 5


def made(seed, shape=(N,)):
    """Logits and labels, some of them ignored."""
    r = np.random.default_rng(seed)
    z, y = r.normal(size=(*shape, V)).astype(np.float32) * 3, r.integers(0, V, shape)
    y[r.random(shape) < 0.05] = -100
    return z, y


def divided(x, parts, axis=0):
    chunks = [-1] * x.ndim
    chunks[axis] = -(-x.shape[axis] // parts)
    return da.from_array(x, chunks=tuple(chunks))


def unknown(x, parts):
    """Chunks of lengths that nobody knows, as those of a DataFrame are."""
    found = divided(x, parts)
    return da.concatenate([block[block.sum(axis=-1) > -np.inf] for block in found.blocks])


def seen(scores, targets=None, **options):
    """The bytes of the tally, and the findings."""
    found = []
    result = ll.evaluate(scores, targets, counted=found.append, **options)
    return found[0].to_bytes(), result.findings


@pytest.fixture(autouse=True)
def scheduler():
    with dask.config.set(scheduler="threads"):
        yield


@pytest.mark.parametrize("parts", [1, 2, 7])
@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
def test_any_number_of_partitions_gives_the_bytes_of_one_pass(parts, kind):
    z, y = made(0)
    scores = {"logits": z, "probabilities": ll.softmax(z), "log-probabilities": ll.log_softmax(z)}[kind]
    scores[[500, 800]], y[[500, 800]] = np.nan, 1
    scores[900] = scores[17]  # equal losses: the first row is the harder one
    options = {"kind": kind, "classwise": True, "top_k": (1, 2)}
    expected = seen(scores, y, **options)
    assert {one.code for one in expected[1]} == {"nan-scores"}
    for targets in (y, y.tolist(), divided(y, 3), divided(y, parts)):
        assert seen(divided(scores, parts), targets, **options) == expected


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_chunks_of_unknown_lengths(parts):
    z, y = made(1)
    z[[600, 700], 2], y[[600, 700]] = np.inf, 1  # findings name the row, as the hardest rows do
    expected = seen(z, y)
    assert seen(unknown(z, parts), y) == expected
    y_parts = da.from_array(y, chunks=-(-N // parts))
    assert seen(unknown(z, parts), y_parts) == expected


def test_chunks_along_the_classes_are_merged():
    z, y = made(2)
    assert seen(da.from_array(z, chunks=(300, 2)), y) == seen(z, y)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_rows_of_several_axes(axis):
    z, y = made(3, (50, 12))
    z[30, 4, 1] = np.nan
    z = np.moveaxis(z, -1, axis)
    expected = seen(z, y, axis=axis)
    rows = int(axis == 0)
    for x in (divided(z, 7, rows), da.from_array(z, chunks=3)):
        assert seen(x, y, axis=axis) == expected
        assert seen(x, da.from_array(y, chunks=(20, 5)), axis=axis) == expected


def test_weights_groups_documents_and_bytes():
    z, y = made(4)
    r = np.random.default_rng(5)
    facts = {
        "sample_weight": r.integers(0, 3, N) / 7,
        "groups": np.array(["left", "right", "other"])[r.integers(0, 3, N)],
        "documents": np.arange(N) // 30,
        "n_bytes": r.integers(1, 9, N),
    }
    expected = seen(z, y, **facts)
    assert seen(divided(z, 7), y, **facts) == expected
    assert seen(divided(z, 7), y, **{name: divided(v, 4) for name, v in facts.items()}) == expected


def test_dense_and_top_k_targets():
    z, _ = made(6)
    q = ll.softmax(np.random.default_rng(7).normal(size=(N, V)))
    assert seen(divided(z, 7), q) == seen(divided(z, 7), divided(q, 3)) == seen(z, q)
    indices = np.argsort(-q, axis=1)[:, :2]
    p = np.take_along_axis(q, indices, 1)
    for rest in (1 - p.sum(axis=1), np.asarray(0.0)):
        p_rest = (p, rest) if rest.ndim else (p / p.sum(axis=1, keepdims=True), rest)
        parts = tuple(divided(one, 3) if one.ndim else one for one in (indices, *p_rest))
        assert seen(divided(z, 7), parts) == seen(z, (indices, *p_rest))


def test_binary_scores_and_names():
    z, _ = made(8)
    y = (z[:, 0] > 0).astype(int)
    assert seen(divided(z[:, 0], 7), y, binary=True) == seen(z[:, 0], y, binary=True)
    names = ["a", "b", "c", "d", "e"]
    y = np.array(names)[np.random.default_rng(9).integers(0, V, N)]
    assert seen(divided(z, 7), y, labels=names) == seen(z, y, labels=names)


def test_no_rows():
    assert seen(da.zeros((0, V)), np.zeros(0, int)) == seen(np.zeros((0, V)), np.zeros(0, int))


@pytest.mark.parametrize("seed", range(3))
def test_findings_are_those_of_one_pass(seed):
    """Mistakes of all kinds, each first seen in another partition."""
    z, y = made(10 + seed)
    p = ll.softmax(z.astype(np.float64))
    scores, kind = [
        (np.where(np.arange(N)[:, None] == 400, np.inf, z), "logits"),
        (np.where(np.arange(N)[:, None] > 700, p * 1.5, p), "probabilities"),
        (np.where(np.arange(N)[:, None] > 300, np.abs(z), np.log(p)), "log-probabilities"),
    ][seed]
    expected = seen(scores, y, kind=kind)[1]
    assert expected
    for parts in (2, 7):
        assert seen(divided(scores, parts), y, kind=kind)[1] == expected


@pytest.mark.parametrize("scores", ["same", "probabilities"])
def test_findings_of_all_rows(scores):
    """Scores that are the same in each row, or probabilities called logits: each partition has to be so."""
    z, y = made(13)
    z = np.repeat(z[:1], N, axis=0) if scores == "same" else ll.softmax(z)
    for odd in (None, 900):
        z = z.copy()
        if odd is not None:
            z[odd] = -3.0
        expected = seen(z, y)[1]
        codes = {one.code for one in expected}
        found = "constant-scores" if scores == "same" else "probabilities-as-logits"
        assert (found in codes) == (odd is None)
        assert seen(divided(z, 7), y)[1] == expected


def test_findings_of_dense_targets():
    z, _ = made(14)
    q = ll.softmax(z)
    q[820] *= 3
    expected = seen(z, q)
    assert {one.code for one in expected[1]} == {"soft-targets-sum"}
    assert seen(divided(z, 7), q) == expected


def message(scores, targets, **options):
    with pytest.raises(ll.LastlayerError) as caught:
        ll.evaluate(scores, targets, **options)
    return type(caught.value), str(caught.value)


def test_errors_name_the_row_among_all():
    z, y = made(15)
    wrong = y.copy()
    wrong[[555, 999]] = V
    weight = np.ones(N)
    weight[777] = -1
    for targets, options in ((wrong, {}), (y, {"sample_weight": weight}), (y.astype(float) + 0.5, {})):
        expected = message(z, targets, **options)
        for parts in (1, 2, 7):
            assert message(divided(z, parts), targets, **options) == expected
            assert message(unknown(z, parts), targets, **options) == expected
    assert "targets[555]" in message(divided(z, 7), wrong)[1]


def test_errors_of_the_call():
    z, y = made(16)
    x = divided(z, 7)
    for scores in (z, x):
        text = "evaluate: targets is of length 1000; expected 1001 as scores has on its first axis"
        with raises(ShapeError, text):
            ll.evaluate(scores, y[:-1])
        with raises(OptionError, "evaluate: targets is None; expected the targets of scores, or their file"):
            ll.evaluate(scores)
        with raises(OptionError, "evaluate: bins is 0; expected an int of 1 or more"):
            ll.evaluate(scores, y, bins=0)
    with raises(
        OptionError,
        "evaluate: checkpoint is 'run.json'; expected None with Dask, whose tasks are run again where a "
        "worker is lost",
    ):
        ll.evaluate(x, y, checkpoint="run.json")
    other = unknown(np.stack([y, y], axis=1), 3)[:, 0]
    with raises(
        ShapeError,
        "evaluate: targets is in 3 partitions of unknown lengths; expected the 7 partitions of scores; "
        "call compute_chunk_sizes() of both first",
    ):
        ll.evaluate(x, other)


@pytest.mark.parametrize("scheduler_of_dask", ["threads", "sync"])
def test_what_is_not_read_after_an_error(scheduler_of_dask):
    """The first error stops the work."""
    z, y = made(17)
    y[3] = V
    read = []

    def load(block, block_info=None):
        read.append(block_info[0]["chunk-location"][0])
        return block

    x = da.from_array(z, chunks=(10, -1)).map_blocks(load, meta=z[:0])
    with (
        raises(
            TargetError,
            "evaluate: targets[3] is 5; expected a class in [0, 5) or ignore_index=-100; "
            "unknown='wrong' counts such rows as wrong",
        ),
        dask.config.set(scheduler=scheduler_of_dask),
    ):
        ll.evaluate(x, y)
    assert max(read) < 20


def test_progress_over_partitions():
    z, y = made(18)
    steps = []
    ll.evaluate(divided(z, 7), y, progress=lambda *step: steps.append(step))
    assert len(steps) == 7
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)
    assert steps[-1] == (N, N, z.nbytes)
    with raises(
        DtypeError, "evaluate: progress is a str; expected True, None or a function of (rows, total, bytes)"
    ):
        ll.evaluate(divided(z, 7), y, progress="yes")


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_findings_of_another_class_axis(parts):
    """Probabilities and dense targets with the classes on the first axis, called rows."""
    r = np.random.default_rng(19)
    p, q = (ll.softmax(r.normal(size=(40, 12))).T for _ in range(2))  # (12, 40), in Fortran's order
    y = r.integers(0, 40, 12)
    expected = seen(p, y, kind="probabilities")
    assert "class-axis" in {one.code for one in expected[1]}
    assert seen(divided(p, parts), y, kind="probabilities") == expected
    assert seen(unknown(p, parts), y, kind="probabilities") == expected
    z = r.normal(size=(12, 40))
    expected = seen(z, q)
    assert "class-axis" in {one.code for one in expected[1]}
    assert seen(divided(z, parts), divided(q, 3)) == expected


@pytest.mark.parametrize("dense", [False, True])
def test_temperatures(dense):
    z, _ = made(20)
    w = np.random.default_rng(21).random(N)
    z[300, 1] = -np.inf  # a class that is impossible
    if dense:
        z = np.where(np.isfinite(z), z, -30.0)
    targets = ll.softmax(z / 2 + made(22)[0]) if dense else (z + made(22)[0]).argmax(axis=1)
    expected = ll.fit_temperature(z, targets, sample_weight=w)
    for parts in (1, 2, 7):
        assert ll.fit_temperature(divided(z, parts), targets, sample_weight=w) == expected
        weight = divided(w, 3)
        assert ll.fit_temperature(divided(z, parts), divided(targets, 2), sample_weight=weight) == expected


def test_temperatures_of_a_linear_head():
    r = np.random.default_rng(23)
    x, weight, bias = r.normal(size=(N, 4)), r.normal(size=(V, 4)), r.normal(size=V)
    y = (x @ weight.T + bias + 3 * r.gumbel(size=(N, V))).argmax(axis=1)
    expected = ll.fit_temperature(x, y, weight=weight, bias=bias)
    found = ll.fit_temperature(divided(x, 7), y, weight=weight, bias=bias)
    # a matrix product of other rows may round in another way
    np.testing.assert_allclose(float(found), float(expected), rtol=1e-9)
    assert found.steps == expected.steps


def test_errors_of_temperatures():
    z, y = made(24)
    z[800, 2] = np.inf
    y[800] = 1
    for x in (z, divided(z, 7), unknown(z, 7)):
        with raises(OptionError, "fit_temperature: scores[800] is not finite; expected finite logits"):
            ll.fit_temperature(x, y)
    y[333] = V
    for x in (z, divided(z, 7)):
        with pytest.raises(TargetError, match=r"fit_temperature: targets\[333\] is 5; expected a class"):
            ll.fit_temperature(x, y)
