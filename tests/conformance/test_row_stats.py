"""What is known of all rows together, and statistics of shards of the classes and of blocks of the rows."""

from __future__ import annotations

from itertools import pairwise, permutations

import mpmath
import numpy as np
import pytest
from assertions import assert_ulp, raises

import lastlayer as ll
from lastlayer import dispatch
from lastlayer import problem as checks

N, V = 12, 70
CUTS = (0, 5, 6, 70)  # of the classes
READ = ("lse", "nll", "entropy", "confidence", "sum_p2", "mean_nll", "accuracy")
EXACT = ("argmax", "rank", "correct", "counted")
ROWS = {
    "index": {},
    "weights": {"class_weight": np.arange(V) % 3 + 0.5, "sample_weight": np.arange(N) % 4},
    "scaled": {"temperature": 0.7, "softcap": 2.0, "ignore_index": 3},
}


def problem(dtype=np.float64, seed=0):
    """Logits with many ties, an impossible class and a row with a NaN; targets, some of them ignored."""
    rng = np.random.default_rng(seed)
    z = (rng.integers(-4, 5, (N, V)) / 2).astype(dtype)
    z[:, 30] = -np.inf
    z[3, :6] = -np.inf  # all that two of the shards hold
    z[5, 40] = np.nan
    y = rng.integers(0, V, N)
    y[[2, 7]], y[0], y[8] = -100, 3, 5
    return z, np.where(y == 30, 31, y)


def of(options, start, stop):
    """The options of a shard."""
    w = options.get("class_weight")
    return options if w is None else options | {"class_weight": w[start:stop]}


def shards(z, y, options, **more):
    ranges = pairwise(CUTS)
    return [ll.row_stats(z[:, a:b], y, class_offset=a, **of(options, a, b), **more) for a, b in ranges]


def options_of(name, y):
    options = ROWS[name]
    return options, np.where(y == -100, options.get("ignore_index", -100), y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", ROWS)
def test_shards_in_any_order(backend, name, dtype):
    """As of whole rows, ranks and ties too, however the shards come."""
    z, y = problem(dtype)
    options, y = options_of(name, y)
    own = z[np.arange(N), np.maximum(y, 0)]
    whole = ll.row_stats(z, y, **options)
    for order in permutations(shards(z, y, options, target_logits=own)):
        merged = order[0].merge(order[1].merge(order[2]))
        assert merged.classes == ((0, V),)
        for field in EXACT:
            assert getattr(merged, field).tolist() == getattr(whole, field).tolist(), field
        for field in READ:
            found, expected = getattr(merged, field), getattr(whole, field)
            assert found.dtype == expected.dtype
            scale = 1 if field in ("entropy", "nll") else None
            assert_ulp(found, expected, 16, scale=scale, what=field)


def test_shards_know_what_they_lack(backend):
    z, y = problem()
    first, middle, last = shards(z, y, {})
    assert first.classes == ((0, 5),)
    assert first.merge(last).classes == ((0, 5), (6, V))
    elsewhere = (y != -100) & ((y < 0) | (y >= 5))
    assert (np.isnan(first.nll) == elsewhere).all()
    assert np.isnan(first.mean_nll)
    assert np.isnan(first.accuracy)
    merged = middle.merge(last).merge(first)
    assert merged.rank is None
    assert merged.correct.tolist() == ll.row_stats(z, y).correct.tolist()  # by the argmax
    assert first.merge(ll.RowStats.empty((N,))) is first
    assert ll.RowStats.empty((N,)).merge(first) is first


def test_shards_of_listed_and_dense_targets_and_of_none(backend):
    z, _ = problem()
    z[5, 40] = 1.0
    rng = np.random.default_rng(1)
    listed = rng.integers(0, V, (N, 4)), rng.random((N, 4))
    listed[0][listed[0] == 30] = -100
    dense = np.zeros((N, V))
    np.add.at(dense, (np.arange(N)[:, None], listed[0]), np.where(listed[0] >= 0, listed[1], 0))
    s = np.arange(N) % 3
    whole = ll.row_stats(z, dense, sample_weight=s)
    pairs = list(pairwise(CUTS))
    of_dense = [ll.row_stats(z[:, a:b], dense[:, a:b], sample_weight=s, class_offset=a) for a, b in pairs]
    of_listed = [ll.row_stats(z[:, a:b], listed, sample_weight=s, class_offset=a) for a, b in pairs]
    for first, middle, last in (of_dense, of_listed):
        merged = last.merge(first).merge(middle)
        assert_ulp(merged.nll, whole.nll, 16, scale=1)
        assert_ulp(merged.mean_nll, whole.mean_nll, 16)
        assert_ulp(merged.mean_nll, ll.cross_entropy(z, dense, sample_weight=s), 16)
    first, last = (ll.row_stats(z[:, a:b], class_offset=a) for a, b in ((0, 9), (9, V)))
    assert last.merge(first).argmax.tolist() == z.argmax(1).tolist()


@pytest.mark.parametrize("shift", [0, 2])
def test_shards_of_a_linear_head(backend, shift):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(3, 4, 5)), rng.normal(size=(V, 5)), rng.normal(size=V)
    y, s = rng.integers(0, V, (3, 4)), np.arange(12).reshape(3, 4) % 5
    y[0, 0] = y[1, 3] = -100
    options = {"sample_weight": s, "shift": shift, "softcap": 3.0}
    whole = ll.linear_row_stats(x, w, y, bias=b, **options)
    parts = [
        ll.linear_row_stats(x, w[a:c], y, bias=b[a:c], class_offset=a, **options) for a, c in pairwise(CUTS)
    ]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert merged.rank is None
    for field in ("argmax", "correct", "counted"):
        assert getattr(merged, field).tolist() == getattr(whole, field).tolist()
    for field in READ:
        assert_ulp(getattr(merged, field), getattr(whole, field), 64, scale=1, what=field)


def test_blocks_of_rows(backend):
    z, y = problem()
    s = np.arange(N) % 3
    whole = ll.row_stats(z, y, sample_weight=s)
    blocks = [ll.row_stats(z[a:b], y[a:b], sample_weight=s[a:b]) for a, b in ((0, 4), (4, 4), (4, N))]
    for joined in (ll.RowStats.concat(blocks), ll.RowStats.concat(iter(blocks))):
        for field in (*READ, *EXACT):
            expected = getattr(whole, field)
            assert np.array_equal(getattr(joined, field), expected, equal_nan=True), field
    halves = [
        ll.RowStats.concat(
            [ll.row_stats(z[r, c], y[r], class_offset=c.start) for r in (slice(0, 7), slice(7, N))]
        )
        for c in (slice(0, 9), slice(9, V))
    ]
    assert_ulp(halves[1].merge(halves[0]).lse, whole.lse, 4, scale=whole.peak)


MEANS = {
    "index": (None, {}),
    "weighted": (
        None,
        {"class_weight": np.arange(V) % 5, "sample_weight": np.arange(N) % 4, "ignore_index": 3},
    ),
    "smoothed": (None, {"label_smoothing": 0.1, "class_weight": np.arange(V) % 5 / 7, "temperature": 0.5}),
    "dense": ("dense", {"sample_weight": np.arange(N) / 5, "class_weight": np.arange(V) % 5}),
    "listed": ("listed", {"sample_weight": np.arange(N) / 5, "label_smoothing": 0.1}),
    "nothing": (None, {"sample_weight": 0.0}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", MEANS)
def test_the_mean_is_that_of_the_loss(backend, name, dtype):
    z, y = problem(dtype)
    z[5, 40] = 1.0
    kind, options = MEANS[name]
    rng = np.random.default_rng(2)
    targets = np.where(y == -100, options.get("ignore_index", -100), y)
    if kind == "dense":
        targets = rng.dirichlet(np.ones(V), N) * (np.arange(V) != 30)
    elif kind == "listed":
        targets = rng.integers(31, V, (N, 3)), rng.random((N, 3))
        z[:, 30] = 0.0
    elif "label_smoothing" in options:
        z[:, 30] = 0.0
    z[3] = np.linspace(0, 1, V)
    stats = ll.row_stats(z, targets, **options)
    loss = ll.cross_entropy(z, targets, **options)
    assert stats.mean_nll.dtype == loss.dtype
    assert_ulp(stats.mean_nll, loss, 2)
    s = np.broadcast_to(options.get("sample_weight", 1.0), (N,))
    ignored = np.zeros(N, bool) if kind else targets == options.get("ignore_index", -100)
    assert stats.counted.tolist() == ((s > 0) & ~ignored).tolist()
    if kind is None:
        right = (z.argmax(1) == targets) & ~ignored
        s = np.where(ignored, 0, s)
        with np.errstate(invalid="ignore"):
            assert_ulp(stats.accuracy, (s * right).sum() / s.sum(), 1, dtype)


def test_the_means_of_a_linear_head(backend):
    rng = np.random.default_rng(0)
    x, w, y = rng.normal(size=(2, 6, 5)), rng.normal(size=(V, 5)), rng.integers(0, V, (2, 6))
    y[0, 2], s = -100, np.arange(12).reshape(2, 6) % 4
    options = {"class_weight": np.arange(V) % 5, "sample_weight": s, "label_smoothing": 0.1, "shift": 1}
    loss = ll.linear_cross_entropy(x, w, y, **options)
    stats = ll.linear_row_stats(x, w, y, **options)
    with_loss, other = ll.linear_cross_entropy(x, w, y, **options, z_loss=0.1, return_stats=True)
    assert with_loss > loss
    for found in (stats, other):  # without the z-loss
        assert_ulp(found.mean_nll, loss, 8)
    counted = np.zeros((2, 6), bool)
    counted[:, :-1] = (s[:, 1:] > 0) & (y[:, 1:] != -100)
    assert stats.counted.tolist() == other.counted.tolist() == counted.tolist()
    later = np.where(counted, np.roll(s, -1, 1), 0)
    assert_ulp(stats.accuracy, (later * stats.correct).sum() / later.sum(), 2)


def test_statistics_keep_nothing_of_their_inputs():
    z, q = np.zeros((3, 4)), np.full((3, 4), 0.25)
    s = np.ones(3)
    stats = ll.row_stats(z, q, sample_weight=s)
    s[:] = 0
    assert stats.counted.all()


Z = np.zeros((4, 3))
WHOLE = ll.row_stats(Z, [0, 1, 2, 0])
LEFT, RIGHT = (ll.row_stats(Z, [0, 1, 2, 0], class_offset=i) for i in (0, 3))
JOIN = "to join blocks of rows write RowStats.concat([a, b])"
WRONG = {
    "blocks of rows": (
        lambda: WHOLE.merge(WHOLE),
        ll.OptionError,
        f"merge: the statistics are of whole rows; expected shards, made with class_offset=; {JOIN}",
    ),
    "a shard and whole rows": (
        lambda: LEFT.merge(WHOLE),
        ll.OptionError,
        f"merge: other is of whole rows; expected shards, made with class_offset=; {JOIN}",
    ),
    "the same classes": (
        lambda: LEFT.merge(ll.row_stats(Z, class_offset=2)),
        ll.OptionError,
        f"merge: the ranges of classes are [0, 3), [2, 5); expected ranges that do not overlap; {JOIN}",
    ),
    "other rows": (
        lambda: LEFT.merge(ll.row_stats(Z[1:], [0, 1, 2], class_offset=3)),
        ll.ShapeError,
        f"merge: other is of rows of shape (3,); expected (4,), shards of the same rows; {JOIN}",
    ),
    "other rows of none": (
        lambda: ll.RowStats.empty((2,)).merge(LEFT),
        ll.ShapeError,
        f"merge: other is of rows of shape (4,); expected (2,), shards of the same rows; {JOIN}",
    ),
    "other dtypes": (
        lambda: LEFT.merge(ll.row_stats(Z.astype("f4"), [0, 1, 2, 0], class_offset=3)),
        ll.DtypeError,
        "merge: one of them has results of float64, another of float32; expected one dtype",
    ),
    "other targets": (
        lambda: LEFT.merge(ll.row_stats(Z, Z, class_offset=3)),
        ll.DtypeError,
        "merge: one of them has index targets and the other has not; expected targets of one kind",
    ),
    "no statistics": (lambda: LEFT.merge(3), ll.DtypeError, "merge: other is a int; expected RowStats"),
    "nothing": (
        lambda: ll.RowStats.concat([]),
        ll.ShapeError,
        "concat: parts is empty; expected at least one RowStats",
    ),
    "no blocks": (
        lambda: ll.RowStats.concat([3]),
        ll.DtypeError,
        "concat: parts[0] is a int; expected RowStats",
    ),
    "a single row": (
        lambda: ll.RowStats.concat([ll.row_stats(Z[0])]),
        ll.ShapeError,
        "concat: parts[0] is of a single row; expected at least one row axis",
    ),
    "other axes": (
        lambda: ll.RowStats.concat([WHOLE, ll.row_stats(Z[None], [[0, 1, 2, 0]])]),
        ll.ShapeError,
        "concat: parts[1] is of rows of shape (1, 4); expected (n,)",
    ),
    "other classes": (
        lambda: ll.RowStats.concat([LEFT, RIGHT]),
        ll.OptionError,
        "concat: parts[1] is of other classes than parts[0]; expected the same classes",
    ),
    "with and without targets": (
        lambda: ll.RowStats.concat([WHOLE, ll.row_stats(Z)]),
        ll.DtypeError,
        "concat: parts[1] has other fields than parts[0]; expected targets of one kind, or none",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together(name):
    call, error, text = WRONG[name]
    with raises(error, f"RowStats.{text}"):
        call()


COUNT = "it depends on how many classes all shards have"
OPTIONS = {
    "a negative target": (
        {"targets": [0, 1, -1, -100]},
        ll.TargetError,
        "targets[2] is -1; expected a class of 0 or more or ignore_index=-100",
    ),
    "a negative index": (
        {"targets": (np.array([[0], [1], [-3], [2]]), np.ones((4, 1)))},
        ll.TargetError,
        "targets[0][2, 0] is -3; expected a class of 0 or more or ignore_index=-100",
    ),
    "an offset of none": (
        {"class_offset": "a"},
        ll.OptionError,
        "class_offset is 'a'; expected an int of 0 or more",
    ),
    "below 0": ({"class_offset": -1}, ll.OptionError, "class_offset is -1; expected an int of 0 or more"),
    "smoothing": (
        {"label_smoothing": 0.1},
        ll.OptionError,
        f"label_smoothing is 0.1; expected 0 with class_offset: {COUNT}",
    ),
    "a rest": (
        {"targets": (np.zeros((4, 1), int), np.ones((4, 1)), 0.5)},
        ll.OptionError,
        f"targets[2] is not 0; expected no rest with class_offset: {COUNT}",
    ),
    "no shard": (
        {"class_offset": None, "target_logits": [0.0] * 4},
        ll.OptionError,
        "target_logits is given; expected None without class_offset",
    ),
    "dense targets": (
        {"targets": Z, "target_logits": [0.0] * 4},
        ll.OptionError,
        "target_logits is given; expected None without index targets",
    ),
    "too few": (
        {"target_logits": [0.0] * 3},
        ll.ShapeError,
        "target_logits is of shape (3,); expected (4,), one logit for each row",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_a_shard_cannot_be_told(backend, name):
    given, error, text = OPTIONS[name]
    with raises(error, f"row_stats: {text}"):
        ll.row_stats(Z, **{"targets": [0, 1, 2, 9], "class_offset": 0, **given})


def test_a_target_beyond_int64_is_of_another_shard(backend):
    y = np.array([2**64 - 1, 2**63, 1, 2], np.uint64)
    stats = ll.row_stats(Z, y, class_offset=1)
    assert stats.target.tolist() == [-1, -1, 1, 2]


def test_results_beyond_float32_raise_no_warning(backend):
    z = np.array([[0.0, 3e38], [-3e38, 3e38]], np.float32)
    assert ll.row_stats(z, [0, 0]).nll.tolist() == [np.float32(3e38), np.inf]


# --- the second moment, which only internal callers ask for -------------------------------------------------


def moment_of(z, fields=("moment",), **options):
    scores = checks.scores("row_stats", z, **options)
    found = dispatch.backend(scores).row_stats(checks.without_targets(scores), frozenset(fields))
    return found.moment


def true_moment(z, temperature=1.0):
    """sum_j exp(z_j - peak) (peak - z_j)^2 of each row, in mpmath."""
    found = []
    with mpmath.workdps(50):
        for row in z.astype(np.float64):
            if not np.isfinite(row.max()):
                found.append(np.nan)
                continue
            falls = [(mpmath.mpf(row.max()) - mpmath.mpf(v)) / temperature for v in row if v > -np.inf]
            found.append(float(mpmath.fsum(mpmath.exp(-f) * f * f for f in falls)))
    return np.array(found)


@pytest.mark.parametrize("classes", [1, 2, 3, 10, 16, 17, 64, 65, 100, 1000])
def test_the_second_moment(backend, classes):
    """As accurate as its terms: exponential, difference and two products."""
    rng = np.random.default_rng(classes)
    for scale in (1e-3, 1, 20):
        z = (rng.normal(size=(6, classes)) * scale).astype(np.float32)
        z[1], z[2, 0], z[3, -1] = z[1, 0], -np.inf, 10_000
        for dtype in (np.float32, np.float64):
            some = z.astype(dtype)
            for fields in (("moment",), ("moment", "spread", "square", "argmax")):
                unit = 2.0**-24 if dtype == np.float32 and backend != "reference" else 2.0**-53
                found, truth = moment_of(some, fields), true_moment(some)
                np.testing.assert_allclose(found, truth, rtol=MOMENT_BOUND * unit, atol=1e-37)
        # scaled float32 logits are computed in double
        z[3] = 0.5
        truth = true_moment(z, 0.7)
        np.testing.assert_allclose(moment_of(z, temperature=0.7), truth, rtol=1e-13, atol=1e-290)


MOMENT_BOUND = 4  # units of roundoff


def test_the_second_moment_of_odd_rows_and_layouts(backend):
    z = np.random.default_rng(0).normal(size=(20, 33)).astype(np.float32)
    expected = moment_of(z)
    columns = np.ascontiguousarray(z.T)
    np.testing.assert_allclose(moment_of(columns, axis=0), expected, rtol=1e-6)
    np.testing.assert_array_equal(moment_of(z[::-1])[::-1], expected)
    z[2], z[5, 3], z[7, 4] = -np.inf, np.nan, np.inf
    found = moment_of(z)
    assert np.isnan(found[[5, 7]]).all()
    kept = np.delete(np.arange(20), [2, 5, 7])
    np.testing.assert_array_equal(found[kept], expected[kept])


def test_the_second_moment_is_absent_unless_asked_for(backend):
    assert ll.row_stats(np.zeros((2, 3)), [0, 1]).moment is None
