"""Temperature scaling in scikit-learn: its own checks, its own calibration, and the odd cases."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from assertions import raises

pytest.importorskip("sklearn")
pytest.importorskip("sklearn.frozen")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

import lastlayer as ll
from lastlayer.sklearn import TemperatureScaling


def data(classes=3, seed=0):
    return make_classification(
        900, 12, n_informative=6, n_redundant=4, n_classes=classes, random_state=seed, class_sep=0.7
    )


@pytest.mark.filterwarnings("ignore")  # of data that classifiers do not like, and of temperatures at a bound
@pytest.mark.parametrize("estimator", [RidgeClassifier(), GaussianNB()], ids=["logits", "probabilities"])
def test_the_checks_of_scikit_learn(estimator):
    check_estimator(TemperatureScaling(estimator, cv=3), on_skip=None)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("frozen", [False, True])
def test_it_is_scikit_learns_calibration(classes, frozen):
    x, y = data(classes)
    names = np.array(["ant", "bee", "cat"])[y]
    svm = LinearSVC(random_state=0)
    if frozen:
        svm = FrozenEstimator(svm.fit(x[:400], names[:400]))
        x, names = x[400:], names[400:]
    try:
        theirs = CalibratedClassifierCV(svm, method="temperature", cv=5, ensemble=False).fit(x, names)
    except ValueError:
        pytest.skip("this scikit-learn has no temperature scaling")
    ours = TemperatureScaling(svm, cv=5).fit(x, names)
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_ * (2 if classes == 2 else 1)
    assert 1 / float(ours.temperature_) == pytest.approx(beta, rel=1e-6)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-6, atol=1e-12)
    assert (ours.predict(x) == ours.estimator_.predict(x)).all()
    assert ours.classes_.tolist() == sorted(set(names))


def test_probabilities_of_0():
    x, y = data()
    forest = RandomForestClassifier(20, random_state=0).fit(x[:400], y[:400])
    assert (forest.predict_proba(x[400:]) == 0).any()
    found = TemperatureScaling(FrozenEstimator(forest)).fit(x[400:], y[400:])
    p = np.maximum(forest.predict_proba(x[400:]), np.finfo(float).eps)
    assert found.temperature_ == ll.fit_temperature(np.log(p), y[400:])
    assert np.isfinite(found.temperature_.log_loss_after)


def test_in_a_pipeline_and_a_search():
    x, y = data()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), TemperatureScaling(LogisticRegression(), cv=2)),
        {"temperaturescaling__estimator__C": [0.01, 1.0]},
        scoring="neg_log_loss",
        cv=2,
    ).fit(x, y)
    assert search.predict_proba(x).shape == (900, 3)


def test_weights_reach_both():
    x, y = data()
    w = np.random.default_rng(0).integers(0, 2, len(y))
    frozen = FrozenEstimator(GaussianNB().fit(x, y))
    a = TemperatureScaling(frozen).fit(x, y, sample_weight=w).temperature_
    b = TemperatureScaling(frozen).fit(x[w > 0], y[w > 0]).temperature_
    assert a.value == pytest.approx(b.value, rel=1e-12)
    heavy = TemperatureScaling(GaussianNB()).fit(x, y, sample_weight=np.where(y == 0, 5.0, 1.0))
    assert heavy.estimator_.class_prior_[0] > GaussianNB().fit(x, y).class_prior_[0] + 0.1


def test_what_does_not_fit():
    x, y = data()
    frozen = FrozenEstimator(GaussianNB().fit(x, y))
    with raises(
        ll.TargetError, "TemperatureScaling.fit: y[0] is 7; expected a class of the fitted classifier"
    ):
        TemperatureScaling(frozen).fit(x[:3], [7, 0, 1])
    one = TemperatureScaling(frozen).fit(x, y)
    some = TemperatureScaling(frozen).fit(x[y < 2], y[y < 2])  # a class may be missing here
    assert some.classes_.tolist() == one.classes_.tolist() == [0, 1, 2]
    rule = "expected 2 of each class or more: one to learn from, one to calibrate"
    with raises(ll.TargetError, f"TemperatureScaling.fit: y is with 1 sample of class 1; {rule}"):
        TemperatureScaling().fit(x[:4], [0, 0, 0, 1])
    rule = "expected one with decision_function or predict_proba"
    with raises(ll.DtypeError, f"TemperatureScaling: estimator is a StandardScaler; {rule}"):
        TemperatureScaling(StandardScaler()).fit(x, y)


def test_the_package_does_not_import_scikit_learn():
    code = "import sys, lastlayer; lastlayer.fit_temperature; assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_errors_name_what_was_called():
    class Broken(LogisticRegression):
        def decision_function(self, x):
            return np.where(np.arange(3)[:, None] == 1, np.nan, super().decision_function(x))

    x, y = np.eye(3), [0, 1, 2]
    text = "TemperatureScaling.fit: decision_function[1] is not finite; expected finite logits"
    with raises(ll.OptionError, text):
        TemperatureScaling(FrozenEstimator(Broken().fit(x, y))).fit(x, y)
