"""The fitted temperature: against SciPy's and scikit-learn's, at its bounds, and saved."""

from __future__ import annotations

import json

import backends
import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

N, V = 400, 4


def data(scale=2.0, seed=0):
    r = np.random.default_rng(seed)
    true = r.normal(size=(N, V)) * 1.5
    return scale * true, (true + r.gumbel(size=true.shape)).argmax(1)


@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_it_is_the_minimum(scale):
    optimize = pytest.importorskip("scipy.optimize")
    z, y = data(scale)
    found = ll.fit_temperature(z, y)

    def slope(beta):
        p = ll.softmax(beta * z)
        return ((p * z).sum(1) - z[np.arange(N), y]).mean()

    expected = optimize.brentq(slope, 1e-3, 1e3, xtol=1e-14, rtol=1e-14)
    assert 1 / found.value == pytest.approx(expected, rel=1e-9)
    assert found.steps < 20
    assert found.log_loss_after == pytest.approx(float(ll.cross_entropy(z / found.value, y)), rel=1e-12)
    assert found.log_loss_before == pytest.approx(float(ll.cross_entropy(z, y)), rel=1e-12)


@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_it_is_that_of_a_minimizer(scale):
    """SciPy's, of the loss alone, which is flat there: known to the root of its precision, 1e-8."""
    optimize = pytest.importorskip("scipy.optimize")
    z, y = data(scale)

    def loss(log_t):
        x = z / np.exp(log_t)
        return (np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)) + x.max(1) - x[np.arange(N), y]).mean()

    bounds = np.log([1e-3, 1e3])
    best = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-14})
    assert ll.fit_temperature(z, y).value == pytest.approx(np.exp(best.x), rel=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [(np.float64, 1e-6), (np.float32, 5e-4)])
def test_it_is_that_of_scikit_learn(dtype, error):
    """It minimizes the loss in the dtype of the logits, so of float32 its own beta is off by up to 3e-4.

    Ours is computed in float64 from the same logits: that of float32 is nearer to the minimum.
    """
    calibration, base = pytest.importorskip("sklearn.calibration"), pytest.importorskip("sklearn.base")
    frozen = pytest.importorskip("sklearn.frozen")
    if not hasattr(calibration, "_TemperatureScaling"):
        pytest.skip("this scikit-learn has no temperature scaling")

    class Logits(base.ClassifierMixin, base.BaseEstimator):
        """A classifier whose features are its logits."""

        def fit(self, _, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, logits):
            return logits

        def predict(self, logits):
            return self.classes_[logits.argmax(axis=1)]

    for scale in (0.5, 3.0, 40.0):
        z, y = data(scale)
        z = z.astype(dtype)
        classifier = frozen.FrozenEstimator(Logits().fit(z, y))
        theirs = calibration.CalibratedClassifierCV(classifier, method="temperature").fit(z, y)
        beta = float(theirs.calibrated_classifiers_[0].calibrators[0].beta_)
        found = ll.fit_temperature(z, y)
        assert 1 / found.value == pytest.approx(beta, rel=error)
        exact = z.astype(np.float64)
        assert ll.cross_entropy(exact / found.value, y) <= ll.cross_entropy(exact * beta, y) + 1e-15


def test_derivatives():
    mpmath = pytest.importorskip("mpmath")
    from lastlayer.evaluation.derivatives import falls, moments

    z, q = np.array([[0.5, -1.0, 2.0, -np.inf]]), np.array([[0.25, 0.5, 0.5, 0.0]])
    with mpmath.workdps(40):

        def loss(beta):
            parts = [mpmath.exp(beta * mpmath.mpf(v)) for v in z[0, :3]]
            linear = sum(mpmath.mpf(a) * mpmath.mpf(v) for a, v in zip(q[0, :3], z[0, :3], strict=True))
            return mpmath.mpf(1.25) * mpmath.log(mpmath.fsum(parts)) - beta * linear

        for beta in (0.001, 0.1, 1.0, 7.0, 30.0):
            fall, gap = falls(z, np.array([2]), q)
            mean, variance = moments(fall, beta)
            assert gap[0] - 1.25 * mean[0] == pytest.approx(float(mpmath.diff(loss, beta)), rel=1e-13)
            assert 1.25 * variance[0] == pytest.approx(float(mpmath.diff(loss, beta, 2)), rel=1e-12)


@pytest.mark.parametrize("beta", [0.01, 1.0, 20.0])
def test_derivatives_follow_from_the_statistics_of_shards(beta):
    from lastlayer import dispatch, problem
    from lastlayer.evaluation.derivatives import falls, moments
    from lastlayer.row_law import logit_moments
    from lastlayer.row_statistics import joined

    z, y = data()
    z[:, 2] = -np.inf
    parts = []
    for shard in (z[:, :1], z[:, 1:3], z[:, 3:]):
        scores = problem.scores("test", np.ascontiguousarray(shard), temperature=1 / beta)
        backend, fields = dispatch.backend(scores), frozenset({"spread", "moment"})
        parts.append(backend.row_stats(problem.without_targets(scores), fields))
    mean, variance = logit_moments(joined(joined(parts[0], parts[1]), parts[2]), np)
    fall, _ = falls(z, y, None)
    expected = moments(fall, beta)
    np.testing.assert_allclose(mean / beta, expected[0], rtol=1e-12)
    np.testing.assert_allclose(variance / beta**2, expected[1], rtol=1e-11)


def derivatives_of(z, y, beta, skip=False, **options):
    """Those of `fit_temperature`'s pass over the data."""
    from lastlayer.evaluation.derivatives import Loss
    from lastlayer.evaluation.readers.paths import Request, source_of

    facts = {k: options.pop(k) for k in ("sample_weight",) if k in options}
    source = source_of(Request(z, y, None, None, -1, False, facts))
    return Loss(source, {"ignore_index": -100, **options}, skip).derivatives(beta)


def by_numpy(z, y, w, beta):
    z = z.astype(np.float64)
    fall = z.max(1, keepdims=True) - z
    with np.errstate(all="ignore"):
        e = np.exp(-beta * fall)
        p, some = e / e.sum(1, keepdims=True), np.where(e == 0, 0.0, fall)
    mean = (p * some).sum(1)
    variance = (p * (some - mean[:, None]) ** 2).sum(1)
    return w.sum(), (w * (fall[np.arange(len(y)), y] - mean)).sum(), (w * variance).sum()


@pytest.mark.parametrize("backend", backends.BACKENDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_pass_of_statistics_gives_the_derivatives(backend, dtype):
    r = np.random.default_rng(3)
    for classes in (2, 10, 70, 1000):
        z = (3 * r.normal(size=(300, classes))).astype(dtype)
        y, w = z.argmax(1), r.integers(1, 4, 300).astype(float)
        y[::2] = r.integers(0, classes, 150)
        z[::7, 0] = -np.inf
        y[(np.arange(300) % 7 == 0) & (y == 0)] = 1
        with backends.on(backend):
            for beta in (1e-3, 0.3, 1.0, 7.0, 1e3):
                found = derivatives_of(z, y, beta, sample_weight=w)
                expected = by_numpy(z, y, w, beta)
                assert found.weight == expected[0]
                assert found.first == pytest.approx(expected[1], rel=1e-11, abs=1e-10 * expected[0])
                assert found.second == pytest.approx(expected[2], rel=1e-10)
                assert found.differ
                assert not found.all_right


def test_rows_that_statistics_do_not_know():
    """Ignored rows may hold anything; logits near the largest number overflow when they are multiplied."""
    z, y = data()
    kept = np.arange(N) % 3 > 0
    expected = derivatives_of(z[kept], y[kept], 2.5)
    spoilt, ignored = z.copy(), np.where(kept, y, -100)
    spoilt[~kept] = np.nan
    assert derivatives_of(spoilt, ignored, 2.5) == expected
    skipped = z.copy()
    skipped[~kept, 1] = np.inf
    assert derivatives_of(skipped, y, 2.5, skip=True) == expected
    large = np.array([[1e307, 0.0], [3.0, 1.0]])
    found = derivatives_of(large, [0, 1], 100.0)
    assert (found.weight, found.differ, found.all_right) == (2.0, True, False)
    assert found.first == pytest.approx(2.0, rel=1e-12)


def test_whether_logits_differ():
    for z, differ in (
        ([[0.0, -1000.0, 0.0]], True),  # no probability is left of the second
        ([[1.0, 1.0 - 1e-15, 1.0]], True),
        ([[0.0, -np.inf, 0.0]], True),
        ([[7.0, 7.0, 7.0]], False),
    ):
        for beta in (1e-3, 1.0, 1e3):
            assert derivatives_of(np.array(z), [0], beta).differ == differ


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_logits_have_the_exact_minimum(dtype):
    """Also where it is near 1: 1e-9 is far below what sums of float32 would give."""
    optimize = pytest.importorskip("scipy.optimize")
    for scale in (1.0, 2.0, 1.0499):
        z, y = data(scale)
        z = z.astype(dtype)
        exact = z.astype(np.float64)

        def slope(beta, exact=exact, y=y):
            p = ll.softmax(beta * exact)
            return ((p * exact).sum(1) - exact[np.arange(N), y]).mean()

        expected = optimize.brentq(slope, 1e-3, 1e3, xtol=1e-14, rtol=1e-14)
        assert 1 / ll.fit_temperature(z, y).value == pytest.approx(expected, rel=1e-9)


def test_the_interval_is_that_of_the_information():
    z, y = data()
    found = ll.fit_temperature(z, y)
    p = ll.softmax(z / found.value)
    information = ((p * z**2).sum(1) - (p * z).sum(1) ** 2).sum()
    assert found.stderr == pytest.approx(found.value**2 / np.sqrt(information), rel=1e-9)
    assert found.low < found.value < found.high
    inside = 0
    for seed in range(40):
        one = ll.fit_temperature(*data(2.0, seed))
        inside += one.low < 2.0 < one.high
    assert 34 <= inside <= 40  # 95 % of 40: 38


def test_weights_are_repetitions_and_rows_may_be_ignored():
    z, y = data()
    w = np.random.default_rng(1).integers(0, 3, N)
    a = ll.fit_temperature(z, y, sample_weight=w)
    b = ll.fit_temperature(np.repeat(z, w, 0), np.repeat(y, w))
    c = ll.fit_temperature(z[w > 0], np.where(w[w > 0] == 1, y[w > 0], -100))
    d = ll.fit_temperature(z[w == 1], y[w == 1])
    assert a.value == pytest.approx(b.value, rel=1e-10)
    n_eff = w.sum() ** 2 / (w**2).sum()  # the interval is that of so many rows, as in `evaluate`
    assert a.stderr == pytest.approx(b.stderr * np.sqrt(w.sum() / n_eff), rel=1e-9)
    assert c.value == pytest.approx(d.value, rel=1e-10)


def test_dense_targets():
    z, y = data()
    assert ll.fit_temperature(z, np.eye(V)[y]).value == pytest.approx(ll.fit_temperature(z, y).value)


def test_all_right_and_no_information():
    z = np.array([[3.0, 0.0], [0.0, 1.0]])
    with pytest.warns(
        UserWarning, match="smallest temperature, 0.001, which is the bound: every row is right"
    ):
        found = ll.fit_temperature(z, [0, 1])
    assert found.value == 1e-3
    assert "bound" in found.warning
    with pytest.warns(
        UserWarning, match="largest temperature, 1000, which is the bound: the logits say nothing"
    ):
        found = ll.fit_temperature(z, [1, 0])
    assert found.value == pytest.approx(1e3)
    with pytest.warns(UserWarning, match="no rows"):
        assert ll.fit_temperature(z, [-100, -100]).value == 1.0
    assert ll.fit_temperature(np.zeros((4, 3)), [0, 1, 2, 0]).value == 1.0  # any temperature is as good


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e5, 1e150])
def test_all_right_at_any_scale(scale):
    z = np.array([[3.0, 0.0, 1.0], [0.0, 1.0, 1.0]]) * scale
    with pytest.warns(UserWarning, match="smallest temperature"):
        found = ll.fit_temperature(z, [0, 1])
    assert (found.value, found.steps) == (1e-3, 2)


def test_one_row():
    with pytest.warns(UserWarning, match="smallest temperature"):
        assert ll.fit_temperature([[0.0, 1.0]], [1]).value == 1e-3
    with pytest.warns(UserWarning, match="largest temperature"):
        assert ll.fit_temperature([[0.0, 1.0]], [0]).value == 1e3
    found = ll.fit_temperature([[0.0, 1.0]], [[0.25, 0.75]])  # 1 / T is the logit of 0.75
    assert 1 / found.value == pytest.approx(np.log(3), rel=1e-12)


def test_rows_without_a_loss():
    z, y = data()
    rest = ll.fit_temperature(np.delete(z, (7, 9), 0), np.delete(y, (7, 9)))
    z[7, 1], z[9, 0] = np.nan, np.inf
    with raises(ll.OptionError, "fit_temperature: scores[7] is not finite; expected finite logits"):
        ll.fit_temperature(z, y)
    with raises(ll.OptionError, "fit_temperature: invalid is 'count'; expected 'error' or 'skip'"):
        ll.fit_temperature(z, y, invalid="count")
    skipped = ll.fit_temperature(z, y, invalid="skip")
    assert (skipped.value, skipped.n) == (rest.value, N - 2)
    ignored = np.where(np.isin(np.arange(N), (7, 9)), -100, y)
    assert ll.fit_temperature(z, ignored).value == rest.value


def test_impossible_classes():
    z, y = data()
    masked = np.concatenate([z, np.full((N, 1), -np.inf)], axis=1)
    assert ll.fit_temperature(masked, y).value == ll.fit_temperature(z, y).value
    y[3] = V
    rule = "a finite logit there: the loss of its row is infinite at every temperature"
    with raises(ll.OptionError, f"fit_temperature: scores[3] is -inf at its target; expected {rule}"):
        ll.fit_temperature(masked, y)


def test_batches_are_read_for_each_step():
    z, y = data()
    expected = ll.fit_temperature(z, y)
    batches = [(z[:100], y[:100]), (z[100:], y[100:])]
    assert ll.fit_temperature(batches) == expected
    rule = "data that is read several times: a list of batches, a DataLoader, arrays, files"
    text = f"fit_temperature: scores is a list_iterator, which is read once; expected {rule}"
    with raises(ll.DtypeError, text):
        ll.fit_temperature(iter(batches))


def test_files_and_their_kind(tmp_path):
    z, y = data()
    np.savez(tmp_path / "a.npz", logits=z[:250], targets=y[:250])
    np.savez(tmp_path / "b.npz", logits=z[250:], targets=y[250:])
    assert ll.fit_temperature(str(tmp_path / "*.npz")) == ll.fit_temperature(z, y)
    save_file = pytest.importorskip("safetensors.numpy").save_file
    p = {"scores": ll.softmax(z), "targets": y}
    save_file(p, tmp_path / "p.safetensors", {"lastlayer.kind": "probabilities"})
    text = (
        "fit_temperature: scores is probabilities, as the data says; expected logits; pass their logarithms"
    )
    with raises(ll.OptionError, text):
        ll.fit_temperature(tmp_path / "p.safetensors")


def test_errors_name_fit_temperature(tmp_path):
    """Also those of the readers and the options, which are `evaluate`'s else."""
    z, y = data()
    rule = "expected a file, folder or pattern of .npy, .npz, .safetensors, .parquet, .csv"
    with raises(ll.OptionError, f"fit_temperature: scores is 'nowhere'; {rule}"):
        ll.fit_temperature("nowhere")
    with raises(
        ll.OptionError, "fit_temperature: targets is None; expected the targets of scores, or their file"
    ):
        ll.fit_temperature(z)
    with raises(
        ll.ShapeError,
        "fit_temperature: targets is of length 399; expected 400 as scores has on its first axis",
    ):
        ll.fit_temperature(z, y[1:])
    with raises(
        ll.OptionError, "fit_temperature: labels is of 1 names; expected 4 names, one for each class"
    ):
        ll.fit_temperature(z, y, labels=["a"])
    with raises(
        ll.DtypeError,
        "fit_temperature: batch[1] is a int; expected (scores, targets), or a dict with these names",
    ):
        ll.fit_temperature([(z, y), 3])
    found = "fit_temperature: progress is a int; expected True, None or a function of (rows, total, bytes)"
    with raises(ll.DtypeError, found):
        ll.fit_temperature(z, y, progress=3)
    path = tmp_path / "nowhere" / "t.json"
    rule = "expected a file that can be written (No such file or directory)"
    with raises(ll.OptionError, f"Temperature.save: path is '{path}'; {rule}"):
        ll.fit_temperature(z, y).save(path)


def test_errors_of_the_data_are_not_renamed():
    """An error of a user's loop names what the loop called."""

    class Loader:
        def __iter__(self):
            yield data()
            yield ll.softmax("no numbers"), [0]

    with pytest.raises(ll.DtypeError, match=r"^softmax: "):
        ll.fit_temperature(Loader())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes(dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    z, y = data()
    stored = z.astype(dtype)
    expected = ll.fit_temperature(stored.astype(np.float64), y)
    found = ll.fit_temperature(stored, y)
    assert (found.value, found.stderr) == (expected.value, expected.stderr)
    # the losses of 16-bit logits are float32
    assert found.log_loss_after == pytest.approx(expected.log_loss_after, rel=1e-6)


def test_two_classes_as_one_logit():
    r = np.random.default_rng(0)
    x = r.normal(size=N) * 4
    y = (r.random(N) < 1 / (1 + np.exp(-x / 2))).astype(int)
    found = ll.fit_temperature(x, y, binary=True)
    assert found.value == pytest.approx(ll.fit_temperature(np.stack([0 * x, x], 1), y).value, rel=1e-12)


def test_it_is_used_and_saved(tmp_path):
    z, y = data()
    found = ll.fit_temperature(z.astype(np.float32), y)
    tally = ll.Tally(V, temperature=found)
    tally.update(z.astype(np.float32), y)
    assert tally.result().log_loss.value == found.log_loss_after
    assert float(ll.cross_entropy(z, y, temperature=found)) == pytest.approx(found.log_loss_after, rel=1e-6)
    found.save(tmp_path / "t.json")
    assert ll.Temperature.load(tmp_path / "t.json") == found
    assert json.loads((tmp_path / "t.json").read_text())["schema"] == "lastlayer.temperature/1"
    (tmp_path / "t.json").write_text("{}")
    with raises(ll.OptionError, "Temperature.from_dict: schema is None; expected 'lastlayer.temperature/1'"):
        ll.Temperature.load(tmp_path / "t.json")
