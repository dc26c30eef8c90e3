"""What PyTorch means by an option is what is meant here: weights, smoothing, ignored rows, reductions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")
functional = torch.nn.functional

RNG = np.random.default_rng(0)
WEIGHT = RNG.random(5)
SHAPES = [((7, 5), 1), ((3, 5, 4), 1), ((2, 5, 3, 2), 1), ((5,), 0)]


@pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("soft", [False, True], ids=["index", "soft"])
def test_cross_entropy_and_its_gradient(shape, axis, reduction, soft):
    rows = tuple(n for i, n in enumerate(shape) if i != axis)
    logits = RNG.normal(size=shape) * 3
    for weighted, smoothing, ignored in itertools.product([False, True], [0.0, 0.2, 1.0], [-100, 2]):
        if soft and ignored != -100:
            continue
        targets = ll.softmax(RNG.normal(size=shape), axis) if soft else np.asarray(RNG.integers(0, 5, rows))
        weight = WEIGHT if weighted else None
        x = torch.tensor(logits, requires_grad=True)
        expected = functional.cross_entropy(
            x,
            torch.tensor(targets),
            weight=None if weight is None else torch.tensor(weight),
            label_smoothing=smoothing,
            reduction=reduction,
            **({} if soft else {"ignore_index": ignored}),
        )
        expected.sum().backward()
        if torch.isnan(expected).any():  # the mean over nothing: the one deliberate difference
            continue
        options = {} if soft else {"ignore_index": ignored}
        loss, gradient = ll.cross_entropy_grad(
            logits,
            targets,
            axis=axis,
            class_weight=weight,
            label_smoothing=smoothing,
            reduction=reduction,
            **options,
        )
        np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss(reduction):
    log_p = ll.log_softmax(RNG.normal(size=(6, 5)))
    targets = np.asarray([0, 1, -100, 4, 4, 2])
    found = ll.nll_loss(log_p, targets, class_weight=WEIGHT, reduction=reduction)
    expected = functional.nll_loss(
        torch.tensor(log_p), torch.tensor(targets), weight=torch.tensor(WEIGHT), reduction=reduction
    )
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12)


def test_softmax_family():
    x = RNG.normal(size=(4, 3, 5)) * 10
    for axis in (0, 1, 2, -1):
        np.testing.assert_allclose(
            ll.softmax(x, axis), torch.softmax(torch.tensor(x), axis).numpy(), rtol=1e-12
        )
        found, expected = ll.log_softmax(x, axis), torch.log_softmax(torch.tensor(x), axis).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        ll.logsumexp(x, (0, 2)), torch.logsumexp(torch.tensor(x), (0, 2)).numpy(), rtol=1e-12
    )
