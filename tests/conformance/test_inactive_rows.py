"""A row whose target is 0 throughout is inactive: loss and gradient 0, whatever it holds."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import assert_ulp

import lastlayer as ll

NAN, INF = np.nan, np.inf
WIDTHS = [3, 70]  # vectors across rows, and along the classes
WEIGHT = np.array([0.0, 2.0, 1.0])


def logits(classes, value, dtype):
    x = np.random.default_rng(classes).normal(size=(4, classes)).astype(dtype) * 2
    x[1], x[3, 0] = value, value
    return x


def empty_targets(kind, classes):
    """Targets of which rows 1 and 3 are 0 throughout, and class weights or None."""
    w = np.resize(WEIGHT, classes)
    if kind == "class weight":
        return np.array([1, 0, 2, 0]), w
    if kind == "top-k":
        listed = (
            np.array([[1, 2], [0, 0], [2, 0], [-100, -100]]),
            np.array([[0.5, 0.5], [0, 0], [1, 0], [9, 9]]),
        )
        return listed, None
    if kind == "top-k and class weight":
        return (np.array([[1, 2], [0, 0], [2, 0], [0, -100]]), np.ones((4, 2))), w
    q = np.zeros((4, classes))
    q[0, :3], q[2, :3] = (0.5, 0.25, 0.25), (0, 1, 0)
    if kind == "dense and class weight":
        q[1, 0] = q[3, 0] = 1.0
        return q, w
    return q, None


KINDS = ["class weight", "dense", "dense and class weight", "top-k", "top-k and class weight"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", WIDTHS)
def test_an_inactive_row_adds_nothing(backend, kind, classes):
    targets, w = empty_targets(kind, classes)
    for dtype, value in ((np.float32, NAN), (np.float64, INF), (np.float32, -INF)):
        broken, finite = logits(classes, value, dtype), logits(classes, 0.5, dtype)
        for options in ({}, {"reduction": "sum"}, {"softcap": 5.0}, {"sample_weight": [1.0, 2.0, 0.5, 1.0]}):
            options = options | {"class_weight": w}
            loss, gradient = ll.cross_entropy_grad(broken, targets, **options)
            expected = ll.cross_entropy_grad(finite, targets, **options)
            assert_ulp(loss, expected[0], 2)  # the same divisor too
            assert_ulp(gradient, expected[1], 2)
            assert (gradient[[1, 3]] == 0).all()
            assert_ulp(ll.cross_entropy(broken, targets, **options), expected[0], 2)
        losses = ll.cross_entropy(broken, targets, class_weight=w, reduction="none")
        assert losses[1] == losses[3] == 0
        assert (losses[[0, 2]] > 0).all()
        nll = ll.row_stats(broken, targets, class_weight=w).nll
        assert_ulp(nll, losses, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_z_loss_it_is_active(backend, kind):
    targets, w = empty_targets(kind, 3)
    losses = ll.cross_entropy(
        logits(3, NAN, np.float64), targets, class_weight=w, z_loss=0.1, reduction="none"
    )
    assert (np.isnan(losses) == [False, True, False, True]).all()
    finite = logits(3, 0.5, np.float64)
    losses = ll.cross_entropy(finite, targets, class_weight=w, z_loss=0.1, reduction="none")
    lse = np.log(np.exp(finite).sum(1))
    assert_ulp(losses[[1, 3]], 0.1 * lse[[1, 3]] ** 2, 8)


def test_losses_of_probabilities_read_no_class_without_a_target(backend):
    p = np.array([[0.25, NAN, 0.75], [0.5, 0.5, -1.0], [NAN, NAN, NAN], [0.25, 0.75, 0.0]])
    q = np.array([[0.5, 0, 0.5], [1, 0, 0], [0, 0, 0], [0, 1, 0]])
    expected = [-(np.log(0.25) + np.log(0.75)) / 2, np.log(2), 0, -np.log(0.75)]
    with np.errstate(invalid="ignore", divide="ignore"):
        log_p = np.log(p)
    for x, function in ((p, ll.log_loss), (log_p, ll.nll_loss)):
        assert_ulp(function(x, q, reduction="none"), expected, 2)
        assert_ulp(function(x, [0, 0, -100, 1], reduction="none")[1:], expected[1:], 2)
        w = [1.0, 0.0, 1.0]
        assert_ulp(function(x, [0, 1, 1, 1], class_weight=w, reduction="none")[1:], [0, 0, 0], 0)
        assert np.isnan(function(x[:1], [[0.5, 0.25, 0.25]]))


@pytest.mark.parametrize("shape", [(5, 1), (1, 5)])
def test_one_class_has_a_gradient_of_exactly_0(backend, shape):
    rng = np.random.default_rng(0)
    axis = shape.index(1)
    for dtype in (np.float32, np.float64):
        x, q = rng.normal(size=shape).astype(dtype) * 9, rng.random(shape).astype(dtype)
        for options in ({}, {"class_weight": [0.7]}, {"label_smoothing": 0.3, "class_weight": [1 / 3]}):
            options = options | {"axis": axis, "sample_weight": rng.random(5), "temperature": 0.7}
            for targets in (q, np.zeros(5, int)):
                loss, gradient = ll.cross_entropy_grad(x, targets, **options)
                assert loss == 0
                assert (gradient == 0).all()
        loss, gradient = ll.cross_entropy_grad(x, q, axis=axis, z_loss=0.5, reduction="sum")
        assert_ulp(gradient, x, 4)
    x[0] = NAN
    assert np.isnan(ll.cross_entropy_grad(x, q, axis=axis)[1]).any()


# --- the linear head ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", ["small", "tiles"])
def test_the_linear_head_leaves_it_out(kind, size, cut):
    pytest.importorskip("lastlayer._core", reason="the native core is not built")
    classes, copies = (5, 1) if size == "small" else (70, 40)
    targets, w = empty_targets(kind, classes)
    targets = (
        tuple(np.tile(a, (copies, 1)) for a in targets)
        if isinstance(targets, tuple)
        else np.concatenate([targets] * copies)
    )
    if size == "tiles":
        cut(rows=64, classes=32, kept=1)
    rng = np.random.default_rng(1)
    for dtype in (np.float32,):
        x, weight = (
            rng.normal(size=(4 * copies, 6)).astype(dtype),
            rng.normal(size=(classes, 6)).astype(dtype),
        )
        expected = ll.linear_cross_entropy_grad(x, weight, targets, bias=weight[:, 0], class_weight=w)
        for value in (NAN, INF):
            x[1::4], x[3::4, 2] = value, value
            found = ll.linear_cross_entropy_grad(x, weight, targets, bias=weight[:, 0], class_weight=w)
            assert_ulp(found[0], expected[0], 8)
            assert (found[1][0][1::2] == 0).all()
            for a, b in zip(found[1], expected[1], strict=True):
                assert np.allclose(a, b, rtol=0, atol=1e-6)
            assert_ulp(
                ll.linear_cross_entropy(x, weight, targets, bias=weight[:, 0], class_weight=w), found[0], 0
            )
            nll = ll.linear_row_stats(x, weight, targets, class_weight=w).nll
            assert (nll[1::2] == 0).all()
