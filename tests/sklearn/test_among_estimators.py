"""The classifiers among scikit-learn's estimators: its own checks, searches, pipelines, warm starts."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from assertions import raises
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from training_cases import made

import lastlayer as ll
from lastlayer.sklearn import SoftmaxClassifier


@parametrize_with_checks([SoftmaxClassifier(), SoftmaxClassifier(solver="lbfgs", warm_start=True)])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_in_a_pipeline_a_search_and_cross_validation():
    frame, y = load_iris(return_X_y=True, as_frame=True)
    y = y.map({0: "setosa", 1: "versicolor", 2: "virginica"})
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), SoftmaxClassifier())
    search = GridSearchCV(pipeline, {"softmaxclassifier__C": [0.01, 1.0, 100.0]}, scoring="neg_log_loss").fit(
        frame, y
    )
    assert search.best_score_ > -0.2
    model = search.best_estimator_[-1]
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert model.n_features_in_ == 4
    assert cross_val_predict(pipeline, frame, y, method="predict_proba").shape == (150, 3)
    renamed = frame.rename(columns={frame.columns[0]: "other"})
    with pytest.raises(ValueError, match="feature names should match"):
        search.predict(renamed)
    again = clone(pipeline).set_params(softmaxclassifier__C=3)
    assert again[-1].C == 3
    assert not hasattr(again[-1], "coef_")
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(copy.predict_proba(frame), search.predict_proba(frame))


def test_a_class_that_a_fold_lacks():
    x, y = made(0, 40, 3, 2)
    y = np.append(y[:-1], 2)  # of this class there is one row
    with pytest.warns(UserWarning, match="least populated class"):
        scores = cross_validate(SoftmaxClassifier(), x, y, cv=4, error_score="raise")["test_score"]
    assert np.isfinite(scores).all()


def test_metadata_is_routed():
    x, y = made(1, 200, 3, 3)
    weight = np.random.default_rng(2).integers(0, 3, 200)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SoftmaxClassifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        search = GridSearchCV(model, {"C": [1.0]}, cv=2).fit(x, y, sample_weight=weight)
    expected = SoftmaxClassifier().fit(x, y, weight)
    np.testing.assert_allclose(search.best_estimator_.coef_, expected.coef_, atol=1e-9)


@pytest.mark.parametrize("rows", [300, 3000])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("classes", [2, 4])
def test_a_warm_start_on_the_same_data_ends_at_once(classes, dtype, rows):
    x, y = made(3, rows, 20, classes, dtype)
    model = SoftmaxClassifier(warm_start=True).fit(x, y)
    first = model.coef_.copy()
    assert model.n_iter_ > 1
    model.fit(x, y)
    assert model.n_iter_ == 0
    np.testing.assert_allclose(model.coef_, first, atol=1e-12)
    cold = SoftmaxClassifier(C=2.0).fit(x, y).n_iter_
    assert model.set_params(C=2.0).fit(x, y).n_iter_ <= cold


def test_a_warm_start_keeps_the_classes_that_stayed():
    """No iterations are allowed, so the weights are those of the start."""
    x, y = made(4, 300, 4, 4)
    names = np.array(["ant", "bee", "cat", "dog"])[y]
    old = SoftmaxClassifier().fit(x, names)
    model = pickle.loads(pickle.dumps(old)).set_params(warm_start=True, max_iter=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(x, np.where(names == "bee", "eel", names))
    assert model.classes_.tolist() == ["ant", "cat", "dog", "eel"]
    np.testing.assert_allclose(model.coef_[:3] - model.coef_[3], old.coef_[[0, 2, 3]], atol=1e-12)
    differences = model.intercept_[:3] - model.intercept_[3]
    np.testing.assert_allclose(differences, old.intercept_[[0, 2, 3]], atol=1e-12)
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0, atol=1e-12)
    kept = np.isin(names, ["bee", "dog"])
    model = pickle.loads(pickle.dumps(old)).set_params(warm_start=True, max_iter=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(x[kept], names[kept])  # of two classes there is one logit
    np.testing.assert_allclose(model.coef_, old.coef_[[3]] - old.coef_[[1]], atol=1e-12)
    two = model.decision_function(x)
    with pytest.warns(ConvergenceWarning):
        model.fit(x, names)
    z = model.decision_function(x)
    np.testing.assert_allclose(z[:, 3] - z[:, 1], two, atol=1e-12)
    np.testing.assert_allclose(z[:, 0] - z[:, 2], 0, atol=1e-12)


def test_a_warm_start_with_other_classes_reaches_the_minimum():
    x, y = made(5, 300, 4, 4)
    model = SoftmaxClassifier(tol=1e-10, warm_start=True)
    for kept in ([0, 1, 2, 3], [0, 3], [0, 1], [1, 2, 3]):
        rows = np.isin(y, kept)
        cold = SoftmaxClassifier().fit(x[rows], y[rows])
        np.testing.assert_allclose(model.fit(x[rows], y[rows]).coef_, cold.coef_, atol=1e-8)
    text = "X is of shape (300, 2); expected (N, 4), as in the last fit, since warm_start is True"
    with raises(ll.ShapeError, f"SoftmaxClassifier.fit: {text}"):
        model.fit(x[:, :2], y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", ["NaN", "inf", "-inf"])
def test_what_is_not_finite_is_named(dtype, value):
    x, y = made(6, 5000, 40, 3, dtype)
    model = SoftmaxClassifier().fit(x, y)
    x[4321, 7] = float(value)
    remedy = "; fill the gaps first, with sklearn.impute.SimpleImputer for example" if value == "NaN" else ""
    for method, call in {"fit": lambda: model.fit(x, y), "predict": lambda: model.predict(x)}.items():
        text = f"SoftmaxClassifier.{method}: X[4321, 7] is {value}; expected finite numbers{remedy}"
        with raises(ll.OptionError, text):
            call()
    frame = pd.DataFrame(x, columns=[f"pixel {i}" for i in range(40)])
    text = f"SoftmaxClassifier.fit: X[4321, 'pixel 7'] is {value}; expected finite numbers{remedy}"
    with raises(ll.OptionError, text):
        SoftmaxClassifier().fit(frame, y)


def test_what_is_not_finite_in_a_sparse_matrix_is_named():
    x = scipy.sparse.csr_array(np.diag([1.0, 2.0, np.inf, 4.0])[[0, 1, 3, 2]])
    text = "SoftmaxClassifier.fit: X[3, 2] is inf; expected finite numbers"
    with raises(ll.OptionError, text):
        SoftmaxClassifier().fit(x, [0, 1, 0, 1])


def test_sums_that_overflow_are_no_error():
    x = np.full((4, 3), 3e38, np.float32)
    x[:2] *= -1
    with pytest.warns(ConvergenceWarning):
        SoftmaxClassifier(max_iter=0).fit(x, [0, 0, 1, 1])


X, Y = made(7, 6, 2, 3)
WRONG = {
    "one class": (
        (X, np.full(6, 5)), {}, ValueError,
        "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
        f"{np.int64(5)!r}",
    ),
    "integers of two dimensions": (
        (X, np.eye(3, dtype=int)[[0, 1, 2, 0, 1, 2]]), {}, ll.DtypeError,
        "SoftmaxClassifier.fit: y is int64 of shape (6, 3); "
        "expected labels (N,), or probabilities of the classes (N, V) as floats",
    ),
    "probabilities that do not add up": (
        (X, [[1.0, 0.0]] * 5 + [[0.5, 0.25]]), {}, ll.TargetError,
        "SoftmaxClassifier.fit: y[5] is 0.75 in sum; expected probabilities: 0 or more, with a sum of 1",
    ),
    "a negative probability": (
        (X, [[1.0, 0.0]] * 4 + [[1.5, -0.5]] * 2), {}, ll.TargetError,
        "SoftmaxClassifier.fit: y[4] is -0.5 at its lowest; "
        "expected probabilities: 0 or more, with a sum of 1",
    ),
    "a negative weight": (
        (X, Y, [1, 1, -2, 1, 1, 1]), {}, ll.OptionError,
        "SoftmaxClassifier.fit: sample_weight[2] is -2; expected weights of 0 or more",
    ),
    "no weight": (
        (X, Y, np.zeros(6)), {}, ValueError,
        "Sample weights must contain at least one non-zero number.",
    ),
    "an option": (
        (X, Y), {"C": -1.0}, sklearn.utils._param_validation.InvalidParameterError,
        "The 'C' parameter of SoftmaxClassifier must be a float in the range (0.0, inf]. Got -1.0 instead.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_calls(case):
    arguments, options, error, text = WRONG[case]
    with raises(error, text):
        SoftmaxClassifier(**options).fit(*arguments)


def test_nan_among_the_probabilities():
    y = np.full((6, 2), 0.5)
    y[3, 1] = np.nan
    with raises(
        ll.TargetError,
        "SoftmaxClassifier.fit: y[3] is nan in sum; expected probabilities: 0 or more, with a sum of 1",
    ):
        SoftmaxClassifier().fit(X, y)
