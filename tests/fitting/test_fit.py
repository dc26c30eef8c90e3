"""Fits reach the minimum of the objective, as float64 by hand and scikit-learn see it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from training_cases import loss_and_gradient, made

from lastlayer import selection
from lastlayer.fitting.dense import DenseRows
from lastlayer.fitting.fit import fit
from lastlayer.fitting.plan import Plan, Size, choose
from lastlayer.fitting.sparse import SparseRows


def fitted(x, y, *, weight=None, tol=1e-6, penalty=None, classes=None, intercept=True, **plan):
    classes = classes or (int(np.max(y)) + 1 if np.ndim(y) == 1 else np.shape(y)[1])
    kind = SparseRows if scipy.sparse.issparse(x) else DenseRows
    rows = kind(x, y, classes, weight=weight)
    penalty = 1 / rows.total if penalty is None else penalty
    plan = choose(Size(*x.shape, classes, rows.dtype.itemsize, kind is SparseRows))._replace(**plan)
    return fit(rows, penalty, plan, tol=tol, intercept=intercept), penalty


CASES = {
    "few rows": made(0, 60, 3, 3),
    "two classes": made(1, 300, 7, 2),
    "samples first": made(2, 20_000, 8, 4),
    "float32": made(3, 5000, 20, 6, np.float32),
    "float16": made(4, 3000, 10, 3, np.float16),
    "wide": made(5, 40, 300, 3),
    "badly scaled": (made(6, 3000, 9, 3)[0] * 10.0 ** np.linspace(-4, 4, 9), made(6, 3000, 9, 3)[1]),
    "badly scaled, float32": (
        (made(6, 3000, 9, 3)[0] * 10.0 ** np.linspace(-3, 3, 9)).astype(np.float32),
        made(6, 3000, 9, 3)[1],
    ),
}


def sparse(seed, n, d, classes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = scipy.sparse.random(n, d, density=0.05, format="csr", rng=rng, dtype=dtype)
    y = np.argmax(x @ rng.standard_normal((d, classes)) * 3 + rng.gumbel(size=(n, classes)), axis=1)
    return x, y


SPARSE = {
    "more features than rows": sparse(10, 200, 900, 4),
    "more rows than features": sparse(11, 2000, 150, 5),
    "two classes": sparse(12, 300, 800, 2),
    "two classes, more rows": sparse(13, 1000, 90, 2),
    "float32": sparse(14, 300, 700, 3, np.float32),
}


@pytest.mark.parametrize("tol", [1e-4, 1e-7])
@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("how", ["core", "SciPy", "no intercept", "weighted", "soft"])
def test_sparse_features(name, tol, how):
    x, y = SPARSE[name]
    weight = np.random.default_rng(15).integers(0, 3, len(y)).astype(float) if how == "weighted" else None
    targets = np.eye(y.max() + 1)[y] * 0.9 + 0.1 / (y.max() + 1) if how == "soft" else y
    with selection.use("reference" if how == "SciPy" else None):
        found, penalty = fitted(x, targets, tol=tol, weight=weight, intercept=how != "no intercept")
    loss, gradient = loss_and_gradient(x.toarray(), targets, found.parameters, penalty, weight)
    if how == "no intercept":
        assert not found.parameters[:, -1].any()
        gradient[:, -1] = 0
    assert found.converged
    assert np.abs(gradient).max() <= tol * (1 + 1e-3)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-6)


@pytest.mark.parametrize("tol", [1e-4, 1e-7])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_below_the_tolerance(name, tol):
    x, y = CASES[name]
    found, penalty = fitted(x, y, tol=tol)
    loss, gradient = loss_and_gradient(x, y, found.parameters, penalty)
    assert found.converged
    assert np.abs(gradient).max() <= tol * (1 + 1e-6)
    np.testing.assert_allclose(found.norm, np.abs(gradient).max(), rtol=0, atol=0.01 * tol)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-6)


@pytest.mark.parametrize("load", [load_digits, load_iris, load_wine])
@pytest.mark.parametrize("intercept", [True, False])
def test_it_is_the_minimum_of_scikit_learn(load, intercept):
    x, y = load(return_X_y=True)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    found, _ = fitted(x, y, tol=1e-9, intercept=intercept)
    peer = LogisticRegression(tol=1e-10, max_iter=10_000, solver="newton-cg", fit_intercept=intercept)
    peer.fit(x, y)
    np.testing.assert_allclose(found.parameters[:, :-1], peer.coef_, atol=2e-6)
    if intercept:
        np.testing.assert_allclose(found.parameters[:, -1], peer.intercept_, atol=2e-6)
    else:
        assert not found.parameters[:, -1].any()


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg"])
@pytest.mark.parametrize("classes", [2, 4])
def test_solvers_weights_and_soft_targets_agree(solver, classes):
    x, y = made(7, 400, 6, classes)
    weight = np.random.default_rng(8).integers(0, 4, len(x)).astype(float)
    metric = "levels" if solver == "lbfgs" else "diagonal"
    found, penalty = fitted(x, y, weight=weight, tol=1e-8, solver=solver, metric=metric)
    repeated, _ = fitted(np.repeat(x, weight.astype(int), axis=0), np.repeat(y, weight.astype(int)), tol=1e-8)
    soft, _ = fitted(x, np.eye(classes)[y], weight=weight, tol=1e-8)
    assert np.abs(loss_and_gradient(x, y, found.parameters, penalty, weight)[1]).max() <= 1.001e-8
    np.testing.assert_allclose(found.parameters, repeated.parameters, atol=1e-6)
    np.testing.assert_allclose(found.parameters, soft.parameters, atol=1e-6)


def test_the_plan_depends_on_size_alone():
    assert choose(Size(1797, 64, 10)) == Plan("lbfgs", "levels", (), 1797, ((5, 0.0), (12, 0.03), (30, 0.0)))
    assert choose(Size(200_000, 50, 5)).samples == (3125, 25_000)
    assert choose(Size(500, 5000, 5)).reduced
    assert not choose(Size(20_000, 50_000, 5)).reduced  # 20 000 eigenvectors
    assert choose(Size(20_000, 256, 100_000, 4)).memory == 5  # of 0.4 GB each
    assert choose(Size(10_000, 100_000, 20, sparse=True)).solver == "newton-cg"
    assert choose(Size(20_000, 5000, 5)).solver == "newton-cg"
    assert choose(Size(20_000, 128, 20_000, 4)).metric == "shares"
    assert (
        choose(Size(10**6, 768, 100, 4)).samples == ()
    )  # fewer rows fit in the memory than there are parameters
