"""Fits of Dask arrays: the same weights as of arrays in memory, and the same errors."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import scipy.sparse
from assertions import raises
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from training_cases import made

from lastlayer.errors import DtypeError, OptionError, ShapeError, TargetError
from lastlayer.sklearn import SoftmaxClassifier, SoftmaxClassifierCV


def divided(x, parts):
    return da.from_array(x, chunks=(-(-len(x) // parts), *x.shape[1:]))


def agree(model, other):
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.loss_, other.loss_, rtol=1e-6)
    assert model.classes_.tolist() == other.classes_.tolist()


@pytest.mark.parametrize("parts", [1, 2, 7])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
@pytest.mark.parametrize(("classes", "dtype"), [(2, np.float64), (4, np.float64), (3, np.float32)])
def test_any_number_of_partitions_gives_the_weights_of_one_machine(parts, solver, classes, dtype):
    x, y = made(0, 3001, 12, classes, dtype)
    # No eigenvalue of the Hessian is below 1 / (C n) = 0.03, so a gradient of 1e-8 fixes the weights to 1e-6.
    options = {"C": 0.01, "tol": 1e-8, "random_state": 0, "solver": solver, "label_smoothing": 0.1}
    agree(
        SoftmaxClassifier(**options).fit(divided(x, parts), divided(y, parts)),
        SoftmaxClassifier(**options).fit(x, y),
    )


@pytest.mark.parametrize("class_weight", [None, "balanced", {"label 0": 3.0, "label 2": 0.5}])
def test_weights_of_rows_and_classes(class_weight):
    x, y = made(1, 500, 6, 3)
    y = np.array([f"label {i}" for i in y])
    weight = np.random.default_rng(2).integers(0, 3, 500).astype(float)
    model = SoftmaxClassifier(tol=1e-9, class_weight=class_weight)
    # y and the weights are divided otherwise than X, or not at all
    agree(
        SoftmaxClassifier(tol=1e-9, class_weight=class_weight).fit(divided(x, 3), divided(y, 2), weight),
        model.fit(x, y, weight),
    )


def test_probabilities_as_targets():
    x, y = made(3, 400, 5, 3)
    soft = np.eye(3)[y] * 0.8 + 0.2 / 3
    for options in ({}, {"class_weight": "balanced"}):
        model = SoftmaxClassifier(tol=1e-9, **options).fit(divided(x, 4), divided(soft, 3))
        agree(model, SoftmaxClassifier(tol=1e-9, **options).fit(x, soft))


@pytest.mark.parametrize("shape", [(1500, 40), (60, 300)])
def test_sparse_partitions(shape):
    rng = np.random.default_rng(4)
    x = scipy.sparse.random_array(shape, density=0.1, format="csr", rng=rng)
    y = rng.integers(0, 3, shape[0])
    parts = da.from_array(x.toarray(), chunks=(shape[0] // 4, -1)).map_blocks(scipy.sparse.csr_array)
    agree(
        SoftmaxClassifier(tol=1e-8).fit(parts, y),
        SoftmaxClassifier(tol=1e-8).fit(x, y),
    )


def test_fewer_rows_than_features_and_integers():
    rng = np.random.default_rng(5)
    x, y = rng.integers(-3, 4, (50, 90)), rng.integers(0, 3, 50)
    agree(SoftmaxClassifier(tol=1e-9).fit(divided(x, 3), y), SoftmaxClassifier(tol=1e-9).fit(x, y))


def test_chunks_of_features_and_empty_chunks():
    x, y = made(6, 300, 6, 3)
    whole = SoftmaxClassifier(tol=1e-9).fit(x, y)
    agree(SoftmaxClassifier(tol=1e-9).fit(da.from_array(x, chunks=(100, 4)), y), whole)
    agree(SoftmaxClassifier(tol=1e-9).fit(da.from_array(x, chunks=((0, 200, 0, 100), 6)), y), whole)


def test_the_schedule_does_not_change_a_bit():
    x, y = made(7, 2000, 8, 4)
    fits = []
    for scheduler in ("threads", "synchronous", "threads"):
        with dask.config.set(scheduler=scheduler):
            fits.append(SoftmaxClassifier(random_state=0).fit(divided(x, 7), y))
    assert all(np.array_equal(one.coef_, fits[0].coef_) for one in fits)


def test_predictions_are_made_block_by_block_when_they_are_asked_for():
    for classes in (2, 3):
        x, y = made(8, 300, 6, classes, np.float32)
        model = SoftmaxClassifier().fit(x, y)
        loaded = []

        def load(block, loaded=loaded):
            loaded.append(len(block))
            return block

        parts = divided(x, 3).map_blocks(load, meta=x[:0])
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            found, expected = getattr(model, method)(parts), getattr(model, method)(x)
            assert not loaded
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(found.compute(), expected, rtol=1e-6)
            assert loaded == [100, 100, 100]
            loaded.clear()
        assert model.score(divided(x, 3), y) == model.score(x, y)


def test_warm_starts():
    x, y = made(9, 2000, 20, 3)
    model = SoftmaxClassifier(tol=1e-6, warm_start=True).fit(divided(x, 2), y)
    steps = model.n_iter_
    assert steps > 2
    assert model.fit(divided(x, 3), y).n_iter_ <= 1


def test_separable_classes_without_a_penalty():
    x = np.concatenate([np.full((20, 1), -1.0), np.full((20, 1), 1.0)])
    with pytest.warns(ConvergenceWarning, match="separates the classes"):
        SoftmaxClassifier(C=np.inf).fit(divided(x, 3), np.repeat([0, 1], 20))


def test_errors():
    x, y = made(10, 90, 4, 3)
    model, parts = SoftmaxClassifier(), divided(x, 3)
    fit = model.fit
    unknown = parts[parts[:, 0] > 0]
    text = "SoftmaxClassifier.fit: X is of unknown chunk sizes; expected known ones; "
    with raises(ShapeError, text + "call X.compute_chunk_sizes() first"):
        fit(unknown, y)
    bad = x.copy()
    bad[70, 2] = np.nan
    text = (
        "SoftmaxClassifier.fit: X[70, 2] is NaN; expected finite numbers; fill the gaps first, with "
        "sklearn.impute.SimpleImputer for example"
    )
    with raises(OptionError, text):
        fit(divided(bad, 3), y)
    weight = np.ones(90)
    weight[50] = -2
    text = "SoftmaxClassifier.fit: sample_weight[50] is -2; expected weights of 0 or more"
    with raises(OptionError, text):
        fit(parts, y, weight)
    weight[50] = np.inf
    with raises(OptionError, "SoftmaxClassifier.fit: sample_weight[50] is inf; expected finite weights"):
        fit(parts, y, weight)
    soft = np.eye(3)[y]
    soft[80] = 0
    text = "SoftmaxClassifier.fit: y[80] is 0 in sum; expected probabilities: 0 or more, with a sum of 1"
    with raises(TargetError, text):
        fit(parts, soft)
    text = (
        "SoftmaxClassifier.predict_top_k: X is a Dask array; expected an array in memory; use X.compute(), "
        "or X.map_blocks with a function of a block"
    )
    with raises(DtypeError, text):
        model.fit(x, y).predict_top_k(parts, 2)
    text = "SoftmaxClassifierCV.fit: X is a Dask array; expected an array in memory; "
    with raises(DtypeError, text + "use X.compute(), or SoftmaxClassifier"):
        SoftmaxClassifierCV().fit(parts, y)
    text = "SoftmaxClassifier.fit: sample_weight is of shape (90, 1); expected (N,)"
    with raises(ShapeError, text):
        fit(parts, y, np.ones((90, 1)))
    text = "SoftmaxClassifier.fit: y is of shape (90, 1, 1); expected labels (N,), or probabilities (N, V)"
    with raises(ShapeError, text):
        fit(parts, y[:, None, None])

    class Frame:
        def to_dask_array(self, lengths): ...

    text = "SoftmaxClassifier.fit: X is a Dask Frame; expected an array; use X.to_dask_array(lengths=True)"
    with raises(DtypeError, text):
        fit(Frame(), y)
    with pytest.raises(ValueError, match="only one class"):
        fit(parts, np.zeros(90))
    with pytest.raises(ValueError, match="Unknown label type"):
        fit(parts, x[:, 0])
    with pytest.raises(ValueError, match="contains NaN"):
        fit(parts, np.where(y == 2, np.nan, y))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit(parts, y[:-1])
    with pytest.raises(ValueError, match="at least one non-zero"):
        fit(parts, y, np.zeros(90))
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.predict(divided(x[:, :3], 2))
    with pytest.warns(DataConversionWarning):
        fit(parts, y[:, None])
