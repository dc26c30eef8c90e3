"""Rows that the core counts in one pass: the bytes of a tally are those of the NumPy way, for any rows."""

from __future__ import annotations

import itertools
import signal
import sys
import threading

import backends
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lastlayer as ll
from lastlayer.backends.core import native
from lastlayer.evaluation import counters, fast, rows, tally

_core = pytest.importorskip("lastlayer._core", reason="the native core is not built")


def by_numpy(z, y, classes, monkeypatch, rows=None, weights=None, **options):
    """The tally of the same rows, counted by NumPy."""
    with monkeypatch.context() as patch:
        patch.setattr(tally.fast, "count", lambda *_: None)
        found = ll.Tally(classes, **options)
        found.update(z, y, rows=rows, sample_weight=weights)
    return found


def by_core(z, y, classes, rows=None, weights=None, **options):
    """A tally that fails where rows that NumPy need not see are not counted by the core."""
    found = ll.Tally(classes, **options)
    left = fast.count(found, np.asarray(z), np.shape(z)[:1], y, rows, weights)
    assert left is not None
    if len(left):
        rows, weights = (None if some is None else some[left] for some in (rows, weights))
        found.update(np.asarray(z)[left], y[left], rows=rows, sample_weight=weights)
    return found, left


def some(n, classes, seed, dtype=np.float32, scale=3.0, odd=0.0):
    """Rows of logits and targets; a share of them is ignored, or has NaN, infinities or equal scores."""
    r = np.random.default_rng(seed)
    z, y = (r.normal(size=(n, classes)) * scale).astype(dtype), r.integers(0, classes, n)
    if odd:
        y[r.random(n) < odd] = -100
        z[r.random(n) < odd, 0] = np.nan
        z[r.random(n) < odd, -1] = np.inf
        z[r.random(n) < odd] = -np.inf
        z[r.random(n) < odd, 0] = -np.inf
        z[r.random(n) < odd] = 0
    return z, y


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 17, 64, 65, 128, 129, 1000, 1001, 1700])
def test_the_bytes_are_those_of_numpy(classes, isa, monkeypatch):
    n = max(40, min(3000, 90_000 // classes))
    with backends.on(f"native:{isa}"):
        for seed, dtype in enumerate((np.float32, np.float64, np.float16)):
            for scale, odd in ((0.1, 0.0), (3, 0.05), (40, 0.05)):
                z, y = some(n, classes, seed, dtype, scale, odd)
                numbers = np.random.default_rng(seed).permutation(n) % (n // 2)
                found, _ = by_core(z, y, classes, numbers, top_k=(1, 3, 70))
                expected = by_numpy(z, y, classes, monkeypatch, numbers, top_k=(1, 3, 70))
                assert found.to_bytes() == expected.to_bytes()


@pytest.mark.parametrize("isa", native.isas())
@pytest.mark.parametrize("classes", [1, 2, 10, 64, 121, 300, 1700])
def test_the_bytes_of_weighted_rows(classes, isa, monkeypatch):
    n = max(40, min(1500, 60_000 // classes))
    r = np.random.default_rng(classes)
    some_weights = (
        np.full(n, 1.0),
        r.integers(0, 3, n).astype(float),
        r.random(n) * 10.0 ** r.integers(-100, 4, n),  # some are too heavy, some products vanish
        r.choice([0.0, 1e-150, 0.1, 16.0, np.nextafter(16, 17), 2.0**32], n),
    )
    with backends.on(f"native:{isa}"):
        for k, w in enumerate(some_weights):
            z, y = some(n, classes, k, (np.float32, np.float64)[k % 2], 3, 0.05)
            numbers = r.permutation(n) % (n // 2)
            found, left = by_core(z, y, classes, numbers, w, top_k=(1, 3, 70))
            expected = by_numpy(z, y, classes, monkeypatch, numbers, w, top_k=(1, 3, 70))
            assert found.to_bytes() == expected.to_bytes()
            assert set(np.flatnonzero((w > 16) & (y >= 0))) <= set(left.tolist())
            whole = ll.Tally(classes, top_k=(1, 3, 70))
            for part in (slice(n // 3, n), slice(0, n // 3)):
                whole.update(z[part], y[part], rows=numbers[part], sample_weight=w[part])
            assert whole.to_bytes() == expected.to_bytes()


def test_weighted_rows_beside_others(monkeypatch):
    """Also where all weights are 0, and on any number of threads."""
    z, y = some(40_000, 10, 1, odd=0.01)
    w, before, found = np.random.default_rng(0).random(len(y)), _core.get_num_threads(), set()
    for threads in (1, 2, 5):
        _core.set_num_threads(threads)
        both = ll.Tally(10)
        both.update(z, y, sample_weight=w)
        both.update(z[:100], y[:100])
        both.update(z[:9], y[:9], sample_weight=np.zeros(9))
        found.add(both.to_bytes())
    _core.set_num_threads(before)
    expected = by_numpy(z, y, 10, monkeypatch, weights=w)
    expected.update(z[:100], y[:100])
    expected += by_numpy(z[:9], y[:9], 10, monkeypatch, weights=np.zeros(9))
    assert found == {expected.to_bytes()}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_rows_and_split(data):
    classes = data.draw(st.integers(1, 40))
    n = data.draw(st.integers(0, 60))
    numbers = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 3e38, -3e38, 1e-40, 40.0, 3000.0]),
        st.floats(-30, 30, width=32),
    )
    z = np.array(data.draw(st.lists(numbers, min_size=n * classes, max_size=n * classes)), np.float32)
    y = np.array(data.draw(st.lists(st.integers(-1, classes - 1), min_size=n, max_size=n)), np.int64)
    z = z.reshape(n, classes)
    cut = data.draw(st.integers(0, n))
    whole, parts = ll.Tally(classes, ignore_index=-1), ll.Tally(classes, ignore_index=-1)
    whole.update(z, y)
    parts.update(z[cut:], y[cut:])
    parts.update(z[:cut], y[:cut])
    with pytest.MonkeyPatch.context() as patch:
        expected = by_numpy(z, y, classes, patch, ignore_index=-1)
    assert whole.to_bytes() == parts.to_bytes() == expected.to_bytes()


def test_any_number_of_threads():
    z, y = some(40_000, 10, 1, odd=0.01)
    before, found = _core.get_num_threads(), set()
    for threads in (1, 2, 3, 8):
        _core.set_num_threads(threads)
        found.add(by_core(z, y, 10, np.arange(len(y)))[0].to_bytes())
    _core.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGALRM")
def test_an_interrupted_call_adds_nothing():
    z, y = np.zeros((6_000_000, 4), np.float32), np.zeros(6_000_000, np.int64)
    counts = ll.Tally(4)

    def ring(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        with pytest.raises(TimeoutError):
            counts.update(z, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert counts.to_bytes() == ll.Tally(4).to_bytes()


def test_a_row_does_not_depend_on_the_rows_beside_it():
    """Rows whose peak is far from 0 are summed in another way: they alone, also of 17 to 64 classes."""
    z, y = some(64, 20, 3)
    alone = ll.row_stats(z, y)
    z[::16] += 1000
    beside = ll.row_stats(z, y)
    near = np.arange(64) % 16 != 0
    for name in ("rest", "spread", "square", "gap"):
        np.testing.assert_array_equal(getattr(alone, name)[near], getattr(beside, name)[near])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_indices_of_any_dtype(dtype, monkeypatch):
    z, y = some(300, 5, 2)
    found, _ = by_core(z, y.astype(dtype), 5)
    assert found.to_bytes() == by_numpy(z, y, 5, monkeypatch).to_bytes()


def test_layouts_and_temperature(monkeypatch):
    z, y = some(300, 5, 2)
    expected = by_numpy(z, y, 5, monkeypatch, temperature=1.7)
    misaligned = np.frombuffer(b"0" + z.tobytes(), np.uint8)[1:].view(np.float32).reshape(z.shape)
    for same in (z.T.copy().T, np.repeat(z, 2, 0)[::2], z[::-1].copy()[::-1], misaligned):
        assert by_core(same, y, 5, temperature=1.7)[0].to_bytes() == expected.to_bytes()
    halves = np.repeat(y, 2)[::2]
    assert by_core(z, halves, 5, temperature=1.7)[0].to_bytes() == expected.to_bytes()


def test_rows_left_to_numpy():
    z, y = some(10, 4, 0)
    z[1], z[3, 0], z[5, 0] = -np.inf, np.nan, np.inf
    z[7], z[8] = [0, 0, 0, 5000], [0, 0, 0, 4000]
    y[[7, 8]] = 0
    _, left = by_core(z, y, 4)
    assert left.tolist() == [1, 3, 5, 7]


def test_what_else_is_left_to_numpy():
    z, y = some(10, 4, 0)
    shape = (10,)
    for options in ({"kind": "probabilities"}, {"classwise": True}, {"labels": list("abcd")}):
        assert fast.count(ll.Tally(4, **options), z, shape, y, None) is None
    counts = ll.Tally(4)
    for scores, targets in (
        (z.astype(int), y),
        (z.astype(">f4"), y),
        (z, y.astype(float)),
        (z, y.astype(">i8")),
        (z, np.eye(4)[y]),
        (z, y + 1),
        (z, y[:5]),
    ):
        assert fast.count(counts, scores, shape, targets, None) is None
    with backends.on("reference"):
        assert fast.count(counts, z, shape, y, None) is None
    assert counts.to_bytes() == ll.Tally(4).to_bytes()


def test_the_numbers_of_a_row():
    """The core's against NumPy's: exp and log1p may differ in their last bit."""
    r = np.random.default_rng(0)
    rest = np.concatenate([[0.0], 10.0 ** r.uniform(-20, 6, 999)])
    given = {
        "peak": r.normal(size=1000),
        "rest": rest,
        "gap": np.where(r.random(1000) < 0.5, 0, r.exponential(size=1000) * 5),
        "mass": np.ones(1000),
        "spread": rest * r.exponential(size=1000),
        "square": np.minimum(rest, rest**2) * r.random(1000),
    }
    found, expected = rows._metrics_of_core(given), rows.row_metrics(**given)
    for name in ("loss", "confidence", "entropy"):
        np.testing.assert_allclose(found[name], expected[name], rtol=4e-16)
    np.testing.assert_allclose(found["brier"], expected["brier"], rtol=0, atol=1e-15)
    given["peak"][:3] = np.inf, -np.inf, np.nan
    assert all(np.isnan(x[:3]).all() for x in rows._metrics_of_core(given).values())


# --- the binding's checks -----------------------------------------------------------------------------------


def tables_of(classes, metrics=7, bins=3):
    def counts(*shape):
        return np.zeros(shape, np.int64)

    fine = len(counters.FINE_EDGES) - 1
    return {
        "top_k": np.array([1, 5]),
        "edges": np.arange(bins + 1) / bins,
        "fine_edges": counters.FINE_EDGES,
        "rank_starts": np.arange(classes), "ranks": counts(classes),
        "sums": counts(metrics, 3), "squares": counts(metrics, 3),
        "support": counts(classes), "predicted": counts(classes), "correct": counts(classes),
        "class_loss": counts(classes, 3), "confusion": counts(classes * classes),
        "bin_rows": counts(bins), "bin_hits": counts(bins), "bin_confidence": counts(bins, 3),
        "fine_rows": counts(fine), "fine_hits": counts(fine), "fine_confidence": counts(fine, 3),
    }  # fmt: skip


def call(z, y, tables, numbers=None):
    return _core.tally(z, False, y, None, 1.0, tables, numbers, -np.inf)


def test_wrong_arrays_are_refused():
    z, y = some(6, 4, 0)
    assert call(z, y, tables_of(4))[0] == 6
    readonly = np.zeros(4, np.int64)
    readonly.flags.writeable = False
    for name, value in (
        ("support", None),
        ("support", np.zeros(3, np.int64)),
        ("support", np.zeros(4)),
        ("support", np.zeros(8, np.int64)[::2]),
        ("support", readonly),
        ("sums", np.zeros((6, 3), np.int64)),
        ("squares", np.zeros((7, 2), np.int64)),
        ("top_k", np.array([1, 2, 3])),
        ("top_k", np.array([1.0, 2.0])),
        ("edges", np.zeros(0)),
        ("edges", np.zeros(1)),
        ("edges", np.zeros(5)),
        ("fine_edges", np.zeros(10)),
        ("rank_starts", None),
        ("rank_starts", np.zeros(0, np.int64)),
        ("rank_starts", np.arange(5)),
        ("rank_starts", np.arange(4.0)),
        ("ranks", None),
        ("ranks", np.zeros(3, np.int64)),
        ("ranks", np.zeros(4)),
        ("fine_rows", np.zeros(10, np.int64)),
        ("confusion", np.zeros(15, np.int64)),
        ("class_loss", np.zeros(11, np.int64)),
        ("argmax", np.zeros(6, np.int64)),  # of few classes it is not noted
    ):
        tables = tables_of(4)
        tables.pop(name, None)
        if value is not None:
            tables[name] = value
        with pytest.raises((ValueError, TypeError, BufferError)):
            call(z, y, tables)
        assert not tables["correct"].any()
    for scores, targets, numbers in (
        (z[0], y, None),
        (z.astype(int), y, None),
        (z[:, :0], y, None),
        (z, y[:5], None),
        (z, y.astype(float), None),
        (z, np.repeat(y, 2)[::2], None),
        (z, y, np.arange(5)),
        (z, y, np.arange(6.0)),
    ):
        with pytest.raises((ValueError, TypeError, BufferError)):
            call(scores, targets, tables_of(max(1, scores.shape[-1])), numbers)
    for name in ("peak", "square"):
        stats = {k: np.zeros(3) for k in ("peak", "rest", "gap", "mass", "spread", "square")}
        into = {k: np.zeros(3) for k in ("loss", "brier", "confidence", "entropy")}
        stats[name] = np.zeros(2)
        with pytest.raises(ValueError):
            _core.row_metrics(stats, into)


def test_wrong_weights_and_their_tables_are_refused():
    z, y = some(6, 4, 0)
    names = (
        "support", "predicted", "correct", "confusion", "bin_rows", "bin_hits", "fine_rows", "fine_hits",
        "ranks",
    )  # fmt: skip

    def tables_of_sums():
        tables = tables_of(4)
        tables |= {name: np.zeros((tables[name].size, 3), np.int64) for name in names}
        del tables["sums"], tables["squares"]
        more = {name: np.zeros((7, 3), np.int64) for name in ("wx", "w2x", "w2x2")}
        return tables | more | {"weight": np.zeros((4, 3), np.int64)}

    def call(weights, tables):
        return _core.tally(z, False, y, None, 1.0, tables, None, np.inf, weights)

    w = np.full(6, 0.5)
    tables = tables_of_sums()
    assert call(w, tables)[0] == 6
    assert tables["weight"][:, 0].tolist() == [3 << 20, (3 << 20) // 2] * 2
    for wrong in (w[:5], w.astype(np.float32), np.repeat(w, 2)[::2], np.ones(6, np.int64)):
        with pytest.raises(ValueError):
            call(wrong, tables_of_sums())
    for name in (*names, "wx", "w2x", "w2x2", "weight"):
        for value in (None, np.zeros(4, np.int64), tables_of(4).get(name)):
            tables = tables_of_sums()
            tables.pop(name)
            if value is not None:
                tables[name] = value
            elif name == "confusion":  # which is optional
                continue
            with pytest.raises(ValueError):
                call(w, tables)
            assert not tables["class_loss"].any()
    misaligned = np.frombuffer(b"0" + w.tobytes(), np.uint8)[1:].view(np.float64)
    assert call(misaligned, tables_of_sums())[0] == 6
    odd = np.array([0.0, 17.0, np.nan, -1.0, np.inf, 1.0])  # what another thread may write meanwhile
    n, ignored, left, _ = call(odd, tables_of_sums())
    assert (n, ignored, np.frombuffer(left, np.int64).tolist()) == (1, 1, [1, 2, 3, 4])


def test_targets_out_of_range_and_edges_out_of_order_touch_nothing_else():
    z, y = some(500, 4, 0)
    y[::3], y[1::3] = 1 << 40, -(1 << 40)
    n, ignored, _, _ = call(z, y, tables_of(4))
    assert n + ignored == 500
    assert ignored >= 333
    tables = tables_of(4)
    tables["edges"] = np.array([np.nan, np.inf, -np.inf, 0])
    tables["fine_edges"] = -counters.FINE_EDGES
    tables["top_k"] = np.array([-5, 1 << 60])
    assert call(z, np.zeros(500, np.int64), tables)[0] == 500
    tables["rank_starts"] = np.array([1 << 62, -5, 7, -(1 << 62)])
    assert call(z, np.full(500, 3), tables)[0] == 500
    assert tables["bin_rows"].sum() == tables["fine_rows"].sum() == tables["ranks"].sum() == 1000


def test_targets_that_change_meanwhile_are_read_once():
    """Another thread writes the targets, also out of range: each row counts for one class or is ignored."""
    z, _ = some(300_000, 3, 0)
    y, stop = np.zeros(len(z), np.int64), threading.Event()

    def write():
        for value in itertools.cycle((0, 2, 3, -1, 1 << 62)):
            y[...] = value
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            tables = tables_of(3)
            n, ignored, left, _ = call(z, y, tables)
            assert n + ignored == len(z)
            assert not left
            for name in ("support", "predicted", "confusion", "ranks", "bin_rows", "fine_rows"):
                assert tables[name].sum() == n
    finally:
        stop.set()
        writer.join()


def test_tables_that_share_memory_stay_within_it():
    z, y = some(500, 4, 0)
    tables, alone = tables_of(4), tables_of(4)
    call(z, y, alone)
    tables["predicted"] = tables["correct"] = tables["support"]
    assert call(z, y, tables)[0] == 500
    total = alone["support"] + alone["predicted"] + alone["correct"]
    np.testing.assert_array_equal(tables["support"], total)
    memory = z.copy()  # the scores are read before the tables are written
    tables["confusion"] = memory.view(np.int64).reshape(-1)[:16]
    assert call(memory, y, tables)[0] == 500
