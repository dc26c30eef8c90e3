"""The classifier fits what its objective says: as scikit-learn's, and as float64 by hand."""

from __future__ import annotations

import itertools
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse
from assertions import raises
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale
from threadpoolctl import threadpool_limits
from training_cases import made, objective

import lastlayer as ll
from lastlayer.fitting import lbfgs
from lastlayer.sklearn import SoftmaxClassifier


def minimum(x, y, **options):
    """scikit-learn's classifier at the minimum of its objective."""
    weight = options.pop("sample_weight", None)
    model = LogisticRegression(tol=1e-10, max_iter=10_000, solver="newton-cg", **options)
    with threadpool_limits(1):  # small products: several threads only wait for each other
        return model.fit(x, y, weight)


@pytest.mark.parametrize("load", [load_digits, load_iris, load_wine, load_breast_cancer])
@pytest.mark.parametrize(
    "options", [{}, {"C": 0.01, "fit_intercept": False}, {"class_weight": "balanced", "C": 0.5}]
)
def test_it_agrees_with_scikit_learn(load, options):
    x, y = load(return_X_y=True)
    x, y = scale(x), np.array([f"class {i}" for i in y])
    ours, theirs = SoftmaxClassifier(tol=1e-8, random_state=0, **options).fit(x, y), minimum(x, y, **options)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=2e-3)
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape
    assert ours.classes_.tolist() == theirs.classes_.tolist()
    assert ours.score(x, y) == theirs.score(x, y)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_loss_and_norm_are_those_of_the_objective(classes, dtype, form):
    x, y = made(0, 1500, 20, classes, dtype)
    x[np.abs(x) < 0.5] = 0
    if dtype == np.float16 and form is not np.asarray:
        dtype, x = np.float64, x.astype(np.float64)  # SciPy has no float16
    weight = np.random.default_rng(1).random(1500)
    model = SoftmaxClassifier(C=0.5, tol=1e-6).fit(form(x), y, weight)
    penalty = 1 / (0.5 * weight.sum())
    loss, norm = objective(x, y, model.coef_, model.intercept_, penalty, weight)
    assert norm <= 1.001e-6
    assert model.gradient_norm_ <= 1e-6
    assert model.loss_ == pytest.approx(loss, rel=1e-6)
    assert model.coef_.dtype == model.intercept_.dtype == np.float64
    wide = np.float64 if dtype == np.float64 else np.float32
    assert model.predict_proba(form(x[:3])).dtype == model.decision_function(form(x[:3])).dtype == wide


def test_a_float16_file_is_read_block_by_block(tmp_path):
    x, y = made(2, 60_000, 64, 4, np.float16)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    model = SoftmaxClassifier(max_memory=4 << 20).fit(mapped, y)
    labels = model.predict(mapped)
    top, probabilities = model.predict_top_k(mapped, 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes  # in float32 X alone would have twice as much
    wide = x.astype(np.float64)
    assert objective(wide, y, model.coef_, model.intercept_, 1 / len(y))[1] <= 1.001e-4
    assert (labels == model.predict(wide)).mean() > 0.9999
    assert (top[:, 0] == labels).all()
    np.testing.assert_allclose(probabilities, np.sort(model.predict_proba(wide))[:, :-3:-1], atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("size", [(60, 5), (4000, 30)])
@pytest.mark.parametrize("soft", [False, True])
def test_a_weight_counts_as_repeated_rows(classes, size, soft):
    x, y = made(3, *size, classes)
    weight = np.random.default_rng(4).integers(0, 4, len(y))
    if soft:
        y = np.random.default_rng(5).dirichlet(np.ones(classes), len(y))
    a = SoftmaxClassifier(tol=1e-9, class_weight="balanced", random_state=0).fit(x, y, weight)
    rows = np.repeat(np.arange(len(y)), weight)
    b = SoftmaxClassifier(tol=1e-9, class_weight="balanced", random_state=0).fit(x[rows], y[rows])
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-6)
    np.testing.assert_allclose(a.intercept_, b.intercept_, atol=1e-6)
    assert a.n_iter_ == pytest.approx(b.n_iter_, rel=0.1, abs=1)


def test_class_weights_are_those_of_scikit_learn():
    x, y = made(6, 500, 4, 3)
    names = np.array(["ant", "bee", "cat"])[y]
    weight = np.random.default_rng(7).random(500)
    for class_weight in ("balanced", {"ant": 3.0, "bee": 0.5, "cat": 1.0}):
        ours = SoftmaxClassifier(class_weight=class_weight).fit(x, names, weight)
        theirs = minimum(x, names, class_weight=class_weight, sample_weight=weight)
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_as_targets(classes, class_weight):
    x, y = made(8, 400, 6, classes)
    one_hot = np.eye(classes)[y]
    labels = SoftmaxClassifier(class_weight=class_weight).fit(x, y + 10)
    soft = SoftmaxClassifier(class_weight=class_weight).fit(x, one_hot.astype(np.float32))
    np.testing.assert_allclose(soft.coef_, labels.coef_, atol=1e-7)
    assert soft.classes_.tolist() == list(range(classes))
    smooth = SoftmaxClassifier(label_smoothing=0.1).fit(x, y)
    spread = SoftmaxClassifier().fit(x, 0.9 * one_hot + 0.1 / classes)
    np.testing.assert_allclose(smooth.coef_, spread.coef_, atol=1e-7)
    _, norm = objective(x, 0.9 * one_hot + 0.1 / classes, spread.coef_, spread.intercept_, 1 / 400)
    assert norm < 1e-9


def test_a_class_weight_counts_a_row_of_probabilities_as_rows_of_each_class():
    x, _ = made(9, 200, 3, 3)
    q = np.random.default_rng(10).dirichlet(np.ones(3), 200)
    factors = {0: 2.0, 1: 1.0, 2: 0.25}
    soft = SoftmaxClassifier(class_weight=factors).fit(x, q)
    rows = SoftmaxClassifier(class_weight=factors).fit(
        np.repeat(x, 3, axis=0), np.tile(range(3), 200), q.ravel()
    )
    np.testing.assert_allclose(soft.coef_, rows.coef_, atol=1e-7)


def test_badly_scaled_columns():
    x, y = made(11, 3000, 9, 3)
    factors = 10.0 ** np.linspace(-4, 4, 9)
    model = SoftmaxClassifier(C=np.inf, tol=1e-7).fit(x * factors, y)
    plain = SoftmaxClassifier(C=np.inf, tol=1e-10).fit(x, y)
    np.testing.assert_allclose(model.predict_proba(x * factors), plain.predict_proba(x), atol=1e-3)
    assert objective(x * factors, y, model.coef_, model.intercept_, 0.0)[1] <= 1.001e-7


def test_constant_columns_few_rows_and_many_features():
    x, y = made(12, 30, 200, 3)
    x[:, :3] = [0.0, 1.0, 7.0]
    model, theirs = SoftmaxClassifier().fit(x, y), minimum(x, y)
    np.testing.assert_allclose(model.predict_proba(x), theirs.predict_proba(x), atol=1e-5)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-5)
    one_each = SoftmaxClassifier().fit(x[:4], ["a", "b", "c", "d"])
    assert one_each.predict(x[:4]).tolist() == ["a", "b", "c", "d"]
    flat = SoftmaxClassifier().fit(np.ones((6, 2)), [0, 0, 0, 1, 1, 2])
    np.testing.assert_allclose(flat.predict_proba(np.ones((1, 2))), [[1 / 2, 1 / 3, 1 / 6]], atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shape", [(200, 5), (20, 60)])
def test_separable_classes_without_a_penalty(classes, shape):
    x, _ = made(13, *shape, classes)
    y = np.argmax(x @ np.random.default_rng(14).standard_normal((shape[1], classes)), axis=1)
    for targets in (y, np.eye(classes)[y]):
        with pytest.warns(ConvergenceWarning, match="separates the classes, and C is inf.* a finite C"):
            model = SoftmaxClassifier(C=np.inf).fit(x, targets)
        assert np.isfinite(model.coef_).all()
        assert (model.predict(x) == y).all()
        assert np.isfinite(model.predict_log_proba(x)).all()


def test_no_penalty_where_classes_overlap_gives_no_warning():
    x, y = made(15, 500, 3, 3)
    model = SoftmaxClassifier(C=np.inf).fit(x, y)
    np.testing.assert_allclose(model.coef_, minimum(x, y, C=np.inf).coef_, atol=2e-3)


def test_a_fit_that_stops_early_says_so():
    x, y = made(16, 500, 5, 3)
    with pytest.warns(ConvergenceWarning) as caught:
        model = SoftmaxClassifier(max_iter=1, C=np.inf).fit(x, y)
    text = str(caught[0].message)
    assert model.n_iter_ == 1
    assert f"after 1 iterations with a gradient norm of {model.gradient_norm_:.3g}, above tol=0.0001" in text
    assert "max_iter" in text
    assert "StandardScaler" in text
    assert "finite C" in text
    assert caught[0].filename == __file__


def test_a_class_without_weight_is_never_predicted():
    x, y = made(17, 300, 4, 3)
    model = SoftmaxClassifier(C=0.1).fit(x, y, np.where(y == 2, 0.0, 1.0))
    two = SoftmaxClassifier(C=0.2).fit(x[y < 2], y[y < 2])  # |w|^2 of one logit is twice that of two
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(x)[:, 2].max() < 1e-6
    np.testing.assert_array_equal(model.predict(x), two.predict(x))


def test_many_classes_are_predicted_without_their_logits():
    x, _ = made(18, 300, 8, 2, np.float32)
    model = SoftmaxClassifier()
    rng = np.random.default_rng(19)
    model.classes_, model.n_features_in_ = np.arange(5000) * 2, 8
    model.coef_, model.intercept_ = rng.standard_normal((5000, 8)), rng.standard_normal(5000)
    z = x.astype(np.float64) @ model.coef_.T + model.intercept_
    tracemalloc.start()
    labels, (top, p) = model.predict(x), model.predict_top_k(x, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < z.nbytes / 2
    order = np.argsort(-z, axis=1)[:, :3]
    np.testing.assert_array_equal(labels, 2 * order[:, 0])
    np.testing.assert_array_equal(top, 2 * order)
    np.testing.assert_allclose(p, np.take_along_axis(ll.softmax(z), order, 1), rtol=1e-4)
    np.testing.assert_array_equal(model.predict_top_k(scipy.sparse.csr_array(x), 3)[0], top)
    with raises(
        ll.OptionError,
        "SoftmaxClassifier.predict_top_k: k is 5001; expected 1 <= k <= 5000, the number of classes",
    ):
        model.predict_top_k(x, 5001)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_calibration(classes, form):
    x, y = made(20, 900, 5, classes)
    names = np.array(["ant", "bee", "cat"])[y]
    model = SoftmaxClassifier(C=1e4).fit(form(x[:60]), names[:60])
    before, classes_before = model.decision_function(x[60:]), model.predict(x[60:])
    assert model.calibrate(form(x[60:]), names[60:]) is model
    z = np.stack([0 * before, before], axis=1) if classes == 2 else before
    expected = ll.fit_temperature(z, y[60:])
    t = model.temperature_
    assert t.value == pytest.approx(expected.value, rel=1e-6)
    assert t.value > 1.1
    np.testing.assert_array_equal(model.decision_function(x[60:]), before)
    np.testing.assert_array_equal(model.predict(x[60:]), classes_before)
    np.testing.assert_allclose(model.predict_proba(x[60:]), ll.softmax(z / t.value), rtol=1e-9)
    np.testing.assert_allclose(model.predict_log_proba(x[60:]), ll.log_softmax(z / t.value), rtol=1e-9)
    assert model.predict_top_k(x[60:], 1)[1][0, 0] == pytest.approx(model.predict_proba(x[60:61]).max())
    with raises(
        ll.TargetError,
        "SoftmaxClassifier.calibrate: y[1] is 'dog'; expected a class of the fitted classifier",
    ):
        model.calibrate(x[:2], ["ant", "dog"])
    assert not hasattr(model.fit(x, y), "temperature_")


def test_a_line_for_each_step(capsys):
    x, y = made(21, 300, 4, 3)
    model = SoftmaxClassifier(verbose=1).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    last = f"step {model.n_iter_}: loss {model.loss_:.8g}, gradient norm {model.gradient_norm_:.2e}"
    assert lines[-1] == f"[SoftmaxClassifier] {last}"
    assert len(lines) == model.n_iter_ + 1


def test_newtons_method_goes_on_where_lbfgs_gets_no_further(monkeypatch):
    steps = lbfgs.points
    monkeypatch.setattr(lbfgs, "points", lambda *a, **options: itertools.islice(steps(*a, **options), 2))
    x, y = made(24, 3000, 10, 3)
    model = SoftmaxClassifier(tol=1e-8).fit(x, y)
    assert objective(x, y, model.coef_, model.intercept_, 1 / 3000)[1] <= 1.001e-8
    assert model.n_iter_ > 1


def test_the_same_seed_gives_the_same_weights():
    x, y = made(22, 30_000, 10, 3)
    a, b, c = (SoftmaxClassifier(random_state=seed).fit(x, y).coef_ for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(a, c, atol=1e-2)


def test_no_warning_of_any_kind_on_plain_data():
    x, y = made(23, 3000, 12, 5, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SoftmaxClassifier().fit(x, y).predict_proba(x)


LABELS = {
    "integers": np.array([3, -2, 3, 0, -2, 0]),
    "far apart": np.array([10**15, -5, 10**15, 0, -5, 0]),
    "bytes": np.array([200, 3, 200, 7, 3, 7], np.uint8),
    "64 bits": np.array([2**63 + 1, 3, 2**63 + 1, 7, 3, 7], np.uint64),
    "truth": np.array([True, False, True, False, False, True]),
    "floats": np.array([1.0, -2.0, 1.0, 0.0, -2.0, 0.0]),
    "words": np.array(["bee", "ant", "bee", "cat", "ant", "cat"]),
    "objects": np.array(["bee", "ant", "bee", "cat", "ant", "cat"], object),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_of_any_kind(case):
    y = LABELS[case]
    x = np.eye(6)
    model = SoftmaxClassifier(C=100).fit(x, y)
    assert model.classes_.dtype == y.dtype
    assert model.classes_.tolist() == sorted(set(y.tolist()))
    assert model.predict(x).tolist() == y.tolist()
