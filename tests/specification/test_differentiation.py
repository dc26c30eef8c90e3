"""Libraries that differentiate, trace and batch get the right thing out of the reference: JAX and torch.

Truth is the oracle's (`oracle.truth`, definitions in mpmath) and, for second derivatives, diag(p) - p p^T.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import oracle
import pytest
from assertions import assert_ulp
from backends import on

import lastlayer as ll

NAN, INF = np.nan, np.inf
TIES = np.array([[1.0, 1.0, 1.0, 0.5], [2.0, -1.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
Y = np.array([1, 3, 0])
SOFT = np.array([[0.25, 0.5, 0.25, 0.0], [0.0, 0.125, 0.0, 0.875], [0.25, 0.25, 0.25, 0.25]])
LISTED = np.array([[1, 0], [3, 1], [2, 2]]), np.array([[0.5, 0.25], [1.0, 0.0], [0.25, 0.5]])
DENSE_OF_LISTED = np.array([[0.25, 0.5, 0, 0], [0, 0, 0, 1.0], [0, 0, 0.75, 0]])


class Torch:
    """PyTorch's autograd, which differentiates the reference's own operations."""

    def __init__(self):
        self.torch = pytest.importorskip("torch")
        pytest.importorskip("array_api_compat")
        self.array = self.torch.as_tensor

    def grad(self, f, *at):
        at = [self.torch.tensor(a, requires_grad=True) for a in at]
        return [g.numpy() for g in self.torch.autograd.grad(f(*at).sum(), at)]

    def hessian(self, f, at):
        return self.torch.autograd.functional.hessian(f, self.torch.tensor(at)).numpy()


@pytest.fixture(scope="module")
def library():
    """A library that differentiates, on the reference."""
    found = Torch()
    with on("reference"):
        yield found


def near(found, truth, what=""):
    assert_ulp(found, truth, 32, scale=np.maximum(np.abs(truth), 1.0), what=what)


@pytest.mark.parametrize("targets", ["index", "soft", "top-k"])
def test_ties_of_the_peak(library, targets):
    given, dense = {"index": (Y, Y), "soft": (SOFT, SOFT), "top-k": (LISTED, DENSE_OF_LISTED)}[targets]
    given = tuple(map(library.array, given)) if targets == "top-k" else library.array(given)
    for softcap, z_loss, smoothing, temperature in itertools.product(
        (None, 3.0), (0.0, 0.5), (0.0, 0.25), (1.0, 2.0)
    ):
        options = {
            "softcap": softcap,
            "z_loss": z_loss,
            "label_smoothing": smoothing,
            "temperature": temperature,
        }
        truth = oracle.truth(TIES, dense, **options)
        (gradient,) = library.grad(lambda z, o=options: ll.cross_entropy(z, given, **o), TIES)
        near(gradient, truth.gradient, options)
        loss, gradient = ll.cross_entropy_grad(library.array(TIES), given, **options)
        near(np.asarray(loss), truth.loss)
        assert np.allclose(np.asarray(gradient), truth.gradient.astype(float), rtol=0, atol=1e-6)


def test_ties_of_the_other_functions(library):
    p = oracle.truth(TIES).softmax.astype(float)
    (gradient,) = library.grad(ll.logsumexp, TIES)
    near(gradient, p)
    entropy = -(p * np.log(p)).sum(1, keepdims=True)
    for value, truth in (
        (lambda z: ll.row_stats(z, library.array(Y)).nll, p - np.eye(4)[Y]),
        (lambda z: ll.row_stats(z).lse, p),
        (lambda z: ll.row_stats(z).entropy, -p * (np.log(p) + entropy)),
        (lambda z: ll.row_stats(z).sum_p2, 2 * p * (p - (p * p).sum(1, keepdims=True))),
        (lambda z: ll.softmax(z)[:, 1], p[:, 1:2] * (np.eye(4)[1] - p)),
        (lambda z: ll.log_softmax(z)[:, 0], np.eye(4)[0] - p),
        (lambda z: ll.nll_loss(ll.log_softmax(z), library.array(Y), reduction="sum"), p - np.eye(4)[Y]),
        (lambda z: ll.log_loss(ll.softmax(z), library.array(Y), reduction="sum"), p - np.eye(4)[Y]),
    ):
        near(library.grad(value, TIES)[0], truth)
    weight = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    x = np.ones((3, 2))
    dz = (np.full((3, 4), 0.25) - np.eye(4)[Y]) / 3
    found = library.grad(lambda x, w: ll.linear_cross_entropy(x, w, library.array(Y)), x, weight)
    near(found[0], dz @ weight)
    near(found[1], dz.T @ x)


def test_second_derivatives_of_ties(library):
    for row in TIES:
        p = oracle.truth(row[None]).softmax[0].astype(float)
        truth = np.diag(p) - np.outer(p, p)
        near(library.hessian(lambda z: ll.cross_entropy(z, library.array(1)), row), truth)
        near(library.hessian(ll.logsumexp, row), truth)


def test_targets_and_weights_that_learn(library):
    """In q the gradient is lse - z, 0 where q is 0 and the class impossible; a mean's divisor has one too."""
    z = np.array([[-INF, 1.0, 1.0], [1.5, -INF, 1.0]])
    q = np.array([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
    cost = np.log(np.exp(z).sum(1, keepdims=True)) - z
    expected = np.where(np.isinf(cost), 0, cost)
    log_p = -cost
    for scores, function in ((z, ll.cross_entropy), (log_p, ll.nll_loss), (np.exp(log_p), ll.log_loss)):
        scores = library.array(scores)
        near(library.grad(lambda q, f=function, x=scores: f(x, q, reduction="sum"), q)[0], expected)
    listed = library.array(np.array([[0, 1, 2], [0, 1, 2]]))
    near(
        library.grad(lambda p: ll.cross_entropy(library.array(z), (listed, p), reduction="sum"), q)[0],
        expected,
    )
    w, s, y = np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0]), np.array([2, 1])
    finite = np.array([[0.5, 0.5, 0.5], [1.5, -1.0, 1.0]])
    losses = np.log(np.exp(finite).sum(1)) - finite[[0, 1], y]
    total = s @ w[y]
    mean = (s * w[y]) @ losses / total
    dw, ds = library.grad(
        lambda w, s: ll.cross_entropy(
            library.array(finite), library.array(y), class_weight=w, sample_weight=s
        ),
        w,
        s,
    )
    near(dw, np.bincount(y, s * (losses - mean), 3) / total)
    near(ds, w[y] * (losses - mean) / total)


def test_inactive_rows(library):
    z, y = (
        np.array([[NAN, INF, 1.0], [0.0, 1.0, 2.0], [NAN, NAN, NAN]]),
        library.array(np.array([-100, 1, 0])),
    )
    p = np.exp(z[1]) / np.exp(z[1]).sum()
    truth = np.zeros((3, 3))
    truth[1] = p - np.eye(3)[1]
    for softcap in (None, 1e4):
        options = {"class_weight": library.array(np.array([0.0, 1.0, 1.0])), "softcap": softcap}
        (gradient,) = library.grad(lambda z, o=options: ll.cross_entropy(z, y, **o), z)
        assert np.allclose(gradient, truth, rtol=0, atol=1e-6)


# --- JAX, where a trace costs little and a compilation much ---


class Given(NamedTuple):
    z: Any  # logits
    y: Any  # class indices
    q: Any  # dense targets


QUERIES = {
    "softmax": lambda a: ll.softmax(a.z, temperature=2.0, where=a.z > -9),
    "log_softmax": lambda a: ll.log_softmax(a.z, axis=(0, 1)),
    "logsumexp": lambda a: ll.logsumexp(a.z, keepdims=True),
    "cross_entropy": lambda a: ll.cross_entropy(
        a.z, a.y, class_weight=a.q[0], sample_weight=a.q[:, 0], z_loss=0.1
    ),
    "dense": lambda a: ll.cross_entropy(a.z, a.q, label_smoothing=0.1, softcap=4.0, reduction="none"),
    "one-hot": lambda a: ll.cross_entropy(a.z, a.q > 0.4),
    "top-k": lambda a: ll.cross_entropy(a.z, (a.y[:, None], a.q[:, :1], a.q[:, 1])),
    "cross_entropy_grad": lambda a: ll.cross_entropy_grad(a.z, a.y, denominator=7),
    "nll_loss": lambda a: ll.nll_loss(a.z, a.y),
    "log_loss": lambda a: ll.log_loss(a.q, a.y),
    "row_stats": lambda a: [
        getattr(ll.row_stats(a.z, a.y), name)
        for name in (
            "lse",
            "nll",
            "entropy",
            "confidence",
            "sum_p2",
            "rank",
            "argmax",
            "mean_nll",
            "accuracy",
        )
    ],
    "a shard": lambda a: ll.row_stats(a.z, a.y, class_offset=3, target_logits=a.q[:, 0]).rank,
    "predict": lambda a: ll.predict(a.z),
    "top_k": lambda a: ll.top_k(a.z, 2),
    "linear_cross_entropy": lambda a: ll.linear_cross_entropy(a.z, a.q, a.y * 0, shift=1),
    "linear_cross_entropy_grad": lambda a: ll.linear_cross_entropy_grad(a.z, a.q, a.y * 0, bias=a.q[:, 0])[1],
    "linear_row_stats": lambda a: ll.linear_row_stats(a.z, a.q, a.y * 0).nll,
    "linear_top_k": lambda a: ll.linear_top_k(a.z, a.q, 2),
}


@pytest.mark.parametrize("name", QUERIES)
def test_every_function_is_traced_and_batched(name):
    jax = pytest.importorskip("jax")
    given = Given(*map(jax.numpy.asarray, (TIES, Y, SOFT)))
    plain = jax.eval_shape(QUERIES[name], given)
    batched = jax.eval_shape(jax.vmap(QUERIES[name]), jax.tree.map(lambda a: jax.numpy.stack([a, a]), given))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(batched), strict=True):
        assert (2, *a.shape) == b.shape
        assert a.dtype == b.dtype
    jax.eval_shape(
        jax.jacrev(lambda z: jax.tree.leaves(QUERIES[name](given._replace(z=z)))[0] * 1.0), given.z
    )


def test_values_of_a_compiled_gradient():
    """Ties of the peak; and NaN where a target is wrong, which a traced function cannot see."""
    jax = pytest.importorskip("jax")
    y = np.array([1, 7, 0, -100])
    z = np.concatenate([TIES, np.full((1, 4), NAN)])
    loss = lambda z, y: ll.cross_entropy(z, y, reduction="none")  # noqa: E731
    truth = oracle.truth(TIES, Y, reduction="sum").gradient
    truth = np.concatenate([truth, np.zeros((1, 4))])
    for found in jax.jit(
        lambda z, y: (jax.grad(lambda z: loss(z, y).sum())(z), jax.vmap(jax.grad(loss))(z, y))
    )(z, y):
        near(np.asarray(found)[[0, 2, 3]], truth[[0, 2, 3]])
        assert np.isnan(found[1]).all()
    with pytest.raises(ll.TargetError, match=r"targets\[1\] is 7"):
        ll.cross_entropy(jax.numpy.asarray(z), y)


def test_wrong_rows_and_top_k_targets_are_nan_in_a_compiled_function():
    jax = pytest.importorskip("jax")
    hot = np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    listed = np.array([[0, 1], [4, 2], [1, -7]])
    p = np.ones((3, 2), np.float32)
    found = jax.jit(
        lambda z, hot, listed, p: [ll.cross_entropy(z, y, reduction="none") for y in (hot, (listed, p))]
    )(TIES, hot, listed, p)
    for losses in found:
        assert np.isnan(losses).tolist() == [False, True, True]
