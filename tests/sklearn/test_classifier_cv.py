"""The search for C: its scores are those of scikit-learn's classifier in each fold, fitted from the start."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import sklearn
from assertions import raises
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, log_loss
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits
from training_cases import made

import lastlayer as ll
from lastlayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV

CS = [0.01, 0.1, 1.0, 10.0]


@parametrize_with_checks([SoftmaxClassifierCV(), SoftmaxClassifierCV(Cs=3, cv=3, scoring="accuracy")])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("scoring", [None, "accuracy"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_those_of_scikit_learn(classes, form, scoring, weighted):
    x, y = made(0, 400, 8, classes)
    names = np.array(["ant", "bee", "cat"])[y]
    weight = np.random.default_rng(1).integers(0, 3, 400).astype(float) if weighted else None
    balance = {"ant": 2.0, "bee": 0.5} if weighted else None
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    model = SoftmaxClassifierCV(CS, folds, scoring, tol=1e-8, class_weight=balance).fit(
        form(x), names, weight
    )
    expected = np.empty((3, len(CS)))
    for i, (train, test) in enumerate(folds.split(x, names)):
        s = [None if weight is None else weight[rows] for rows in (train, test)]
        for j, c in enumerate(CS):
            peer = LogisticRegression(C=c, tol=1e-10, solver="newton-cg", class_weight=balance)
            with threadpool_limits(1):
                peer.fit(x[train], names[train], s[0])
            if scoring:
                expected[i, j] = get_scorer(scoring)(peer, x[test], names[test], sample_weight=s[1])
            else:
                expected[i, j] = -log_loss(names[test], peer.predict_proba(x[test]), sample_weight=s[1])
    np.testing.assert_allclose(model.scores_, expected, atol=1e-6)
    assert CS[expected.mean(axis=0).argmax()] == model.C_
    assert model.Cs_.tolist() == CS
    plain = SoftmaxClassifier(C=model.C_, class_weight=balance).fit(form(x), names, weight)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-8)
    assert model.loss_ == pytest.approx(plain.loss_, rel=1e-12)
    assert model.predict(form(x)).tolist() == plain.predict(x).tolist()
    s = weight if weighted else np.ones(400)
    if scoring:
        assert model.score(x, names, s) == plain.score(x, names, s)
    else:
        assert model.score(x, names, s) == pytest.approx(
            -log_loss(names, plain.predict_proba(x), sample_weight=s)
        )


def test_probabilities_as_targets():
    x, y = made(2, 300, 5, 3)
    soft = SoftmaxClassifierCV(CS, KFold(4), tol=1e-8).fit(x, np.eye(3)[y])
    labels = SoftmaxClassifierCV(CS, KFold(4), tol=1e-8).fit(x, y)
    np.testing.assert_allclose(soft.scores_, labels.scores_, atol=1e-7)
    assert soft.C_ == labels.C_
    assert soft.score(x, np.eye(3)[y]) == pytest.approx(labels.score(x, y), abs=1e-9)


def test_no_fold_copies_the_features(tmp_path):
    x, y = made(3, 20_000, 256, 3, np.float16)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    SoftmaxClassifierCV([0.01, 1.0], 3, max_memory=1 << 20).fit(mapped, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes * 2 / 3  # as much as the rows of a fold alone


def test_a_class_that_folds_lack():
    x, y = made(4, 60, 3, 2)
    y = np.append(y[:-1], 2)
    with pytest.warns(UserWarning, match="least populated class"):
        model = SoftmaxClassifierCV(CS, 3).fit(x, y)
    assert np.isfinite(model.scores_).all()
    assert model.classes_.tolist() == [0, 1, 2]


def test_groups_are_routed_to_the_splitter_and_weights_to_the_scorer():
    x, y = made(5, 90, 3, 3)
    groups = np.repeat(range(9), 10)
    weight = np.random.default_rng(6).integers(1, 3, 90)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = get_scorer("neg_log_loss").set_score_request(sample_weight=True)
        model = SoftmaxClassifierCV(CS, GroupKFold(3), scorer, tol=1e-9).set_fit_request(sample_weight=True)
        model.fit(x, y, sample_weight=weight, groups=groups)
    folds = list(GroupKFold(3).split(x, y, groups))
    expected = SoftmaxClassifierCV(CS, folds, tol=1e-9).fit(x, y, weight)
    np.testing.assert_allclose(model.scores_, expected.scores_, atol=1e-7)
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        model.fit(x, y, groups=groups)


def test_a_line_for_each_c_and_each_step(capsys):
    x, y = made(7, 200, 4, 3)
    model = SoftmaxClassifierCV([1.0, 0.1], 2, verbose=1).fit(x, y)
    means = model.scores_.mean(axis=0)
    assert capsys.readouterr().out.splitlines() == [
        f"[SoftmaxClassifierCV] C = 0.1: score {means[0]:.6g}",
        f"[SoftmaxClassifierCV] C = 1: score {means[1]:.6g}",
    ]
    SoftmaxClassifierCV([1.0, 0.1], 2, verbose=2).fit(x, y)
    assert capsys.readouterr().out.count("gradient norm") > 5


def test_fits_that_stop_early_give_one_warning():
    x, y = made(8, 300, 4, 3)
    with pytest.warns(ConvergenceWarning) as caught:
        SoftmaxClassifierCV([1.0, 10.0], 3, max_iter=1, tol=1e-9).fit(x, y)
    texts = [str(w.message) for w in caught]
    assert texts[0].startswith("SoftmaxClassifierCV: 6 of 6 fits of folds stopped above tol=1e-09")
    assert "max_iter" in texts[0]
    assert len(texts) == 2  # and one of the fit to all rows
    assert {w.filename for w in caught} == {__file__}


def test_a_warm_start_begins_every_fold_at_the_last_weights(capsys):
    x, y = made(9, 5000, 20, 3)
    model = SoftmaxClassifierCV([1.0], 3, warm_start=True, verbose=2, random_state=0).fit(x, y)
    cold = capsys.readouterr().out.count("step")
    model.fit(x, y)
    assert capsys.readouterr().out.count("step") < cold


def test_the_path_is_plotted():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    x, y = made(10, 200, 4, 3)
    model = SoftmaxClassifierCV(4, 3).fit(x, y)
    display = model.plot_path()
    assert len(display.lines_) == 3
    np.testing.assert_allclose(display.line_.get_xdata(), np.logspace(-4, 4, 4))
    np.testing.assert_allclose(display.line_.get_ydata(), model.scores_.mean(axis=0))
    np.testing.assert_allclose(display.lines_[1].get_ydata(), model.scores_[1])
    assert (display.ax_.get_xscale(), display.ax_.get_xlabel()) == ("log", "C")
    assert display.ax_.get_ylabel() == "-log-loss"
    other = type(display).from_estimator(model, ax=display.ax_)
    assert other.ax_ is display.ax_
    assert other.figure_ is display.figure_
    plt.close(display.figure_)


def test_matplotlib_is_imported_to_plot_alone(monkeypatch):
    code = "import sys, lastlayer.sklearn; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    x, y = made(11, 60, 2, 2)
    model = SoftmaxClassifierCV(2, 2).fit(x, y)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"PathDisplay.plot requires matplotlib"):
        model.plot_path()


def test_wrong_calls():
    x, y = made(12, 40, 2, 2)
    with raises(ll.OptionError, "SoftmaxClassifierCV.fit: Cs is [1.0, -1.0]; expected numbers above 0"):
        SoftmaxClassifierCV([1.0, -1.0]).fit(x, y)
    weight = np.where(np.arange(40) < 20, 0.0, 1.0)
    text = "sample_weight is zero in all 20 rows that fold 0 scores; expected a weight in each fold"
    with raises(ll.OptionError, f"SoftmaxClassifierCV.fit: {text}"):
        SoftmaxClassifierCV(2, KFold(2)).fit(x, y, weight)
