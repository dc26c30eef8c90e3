"""The declared bounds hold through autograd too: values and gradients of tensors against a wider truth."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from assertions import assert_ulp
from declared import BOUNDS

import lastlayer as ll

torch = pytest.importorskip("torch")

SIZES = [(64, 2), (64, 10), (24, 64), (16, 100), (8, 1000), (2, 32003)]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scale", [1, 5, 20])
@pytest.mark.parametrize(("rows", "classes"), SIZES)
def test_bounds_through_autograd(rows, classes, scale, reduction):
    rng = np.random.default_rng(scale + 31 * classes)
    x = (rng.normal(size=(rows, classes)) * scale).astype(np.float32)
    x[rows // 2, classes // 2] += 8 * scale  # an outlier, or nothing is confident
    y = rng.integers(0, classes, rows)
    y[::2] = x[::2].argmax(-1)
    bounds, true = BOUNDS["float32"], oracle.truth(x, y, reduction=reduction, exact=False)
    logits = torch.from_numpy(x).requires_grad_()
    loss = ll.cross_entropy(logits, torch.from_numpy(y), reduction=reduction)
    loss.sum().backward()
    expected = true.losses if reduction == "none" else true.loss
    assert_ulp(loss.detach().numpy(), expected, bounds["loss"], what="loss")
    assert_ulp(
        logits.grad.numpy(), true.gradient, bounds["gradient"], scale=true.gradient_size, what="gradient"
    )
    for function, name in ((ll.softmax, "softmax"), (ll.log_softmax, "log_softmax")):
        assert_ulp(function(logits).detach().numpy(), getattr(true, name), bounds[name], what=name)
    lse = ll.logsumexp(logits).detach().numpy()
    assert_ulp(lse, true.lse, bounds["logsumexp"], scale=true.peak, what="logsumexp")
