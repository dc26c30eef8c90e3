"""Images, with the class axis before others: the kernel computes what `composed` computes in float64."""

from __future__ import annotations

from math import inf, isnan, nan

import pytest
import torch

from lastlayer.backends.torch import composed, losses
from lastlayer.backends.torch.form import Form
from lastlayer.backends.torch.targets import Target
from lastlayer.backends.triton import calls, images

SHAPES = [(2, 5, 9, 9), (1, 21, 70), (2, 1, 64), (2, 35, 66)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def scores(shape, dtype, odd=True):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(shape[1])) * 3
    if odd and shape[1] > 1:
        pixels = x.flatten(2)
        pixels[0, :, 0] = 2.0
        pixels[0, 0, 1], pixels[0, 0, 2], pixels[0, :, 3], pixels[0, -1, 4] = inf, nan, -inf, -inf
        pixels[0, :, 6] += 1000
    return x.to(dtype)


def labels(shape, wrong=True):
    y = torch.randint(shape[1], (shape[0], *shape[2:]), generator=torch.Generator().manual_seed(1))
    y.view(-1)[8:11] = -100
    if wrong:
        y.view(-1)[12] = shape[1]
    return y


def close(found, expected, ulps=4):
    step = torch.finfo(found.dtype).eps
    torch.testing.assert_close(
        found.double(), expected, rtol=ulps * step, atol=ulps * step * 0.1, equal_nan=True
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax_and_lse(shape, dtype):
    x = scores(shape, dtype)
    for log in (False, True):
        found = images.softmax(x, 1, log, None)
        close(found, composed.softmax(x.double(), 1, None, 1.0, log))
        same = x.clone()
        assert images.softmax(same, 1, log, same) is same
        assert torch.equal(same.nan_to_num(7.0), found.nan_to_num(7.0))
    close(images.logsumexp(x, 1), composed.logsumexp(x.double(), Form(1)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_losses_and_gradients(shape, dtype):
    for reduction, denominator in (("none", None), ("mean", None), ("mean", 7.0)):
        one_by_one = reduction == "none"
        x, y = scores(shape, dtype, odd=one_by_one), labels(shape, wrong=one_by_one)
        form = Form(1, ignore_index=-100, reduction=reduction, denominator=denominator)
        expected = losses.cross_entropy(x.double(), Target(y), form)
        t = images.labels(y, -100, reduction, denominator)
        close(images.cross_entropy(x, t, 1), expected, 12)
        loss, dx = images.cross_entropy_and_gradient(x, t, 1)
        close(loss, expected, 12)
        close(dx, losses.gradient(torch.ones_like(expected), x.double(), Target(y), form), 12)


def test_strides_and_unusual_cases():
    x = torch.randn(3, 4, 8, 9)
    for v in (x[1:], x.transpose(0, 1), x[:, 1:3]):
        close(images.softmax(v, 1, False, None), composed.softmax(v.double(), 1, None, 1.0, False))
    for v in (x[..., ::2], x.to(memory_format=torch.channels_last), x[:, :, :2, :3], x[:0]):
        assert images.softmax(v, 1, False, None) is None
    assert images.softmax(x, -1, False, None) is None
    assert images.labels(labels(x.shape), None, "mean", None) is None
    assert images.labels(labels(x.shape), 3, "mean", 0.0) is None


def test_calls():
    """The kernels for images serve `calls`, from statistics as well."""
    x, y = scores((2, 5, 9, 9), torch.float32, odd=False), labels((2, 5, 9, 9), wrong=False)
    form, target = Form(1, ignore_index=-100), Target(y)
    loss, dx = calls.cross_entropy_and_gradient(x, target, form)
    assert torch.equal(loss, calls.cross_entropy(x, target, form))
    again, kept = calls.cross_entropy_and_statistics(x, target, form)
    torch.testing.assert_close(again, loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        calls.gradient(torch.ones(()), x, target, form, kept), dx, rtol=2e-6, atol=1e-9
    )


@pytest.mark.parametrize("bad", [inf, -inf, nan])
def test_one_class_that_is_not_finite(bad):
    """All ways find that its probability is not defined."""
    x, y = torch.full((1, 1, 64), bad), torch.zeros(1, 64, dtype=torch.int64)
    form = Form(1, ignore_index=-100, reduction="none")
    rows, column = x.reshape(64, 1), torch.zeros(64, dtype=torch.int64)
    for z, labels_of, axis in ((x, y, 1), (rows, column, 1)):
        for temperature in (1.0, 0.5):
            f = form._replace(axis=axis, temperature=temperature)
            assert calls.softmax(z, None, axis, temperature, False).isnan().all()
            lse = calls.logsumexp(z, f)
            assert lse.isnan().all() if isnan(bad) else (lse == bad).all()
            loss, dx = calls.cross_entropy_and_gradient(z, Target(labels_of), f)
            assert loss.isnan().all()
            assert dx.isnan().all()
            assert calls.predict(z, f)[1].isnan().all()
            for ours in (losses.statistics(z, None, f), calls.statistics(z, None, f)):
                assert ours["argmax"].eq(-1 if isnan(bad) else 0).all()
    assert composed.predict(x.double().requires_grad_(), form)[1].isnan().all()
