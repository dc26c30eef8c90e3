"""Which kernel computes a call, with which gradient; and which calls none computes."""

from __future__ import annotations

import pytest
from assertions import raises
from random_arrays import tensor

import lastlayer as ll
from lastlayer import selection

torch = pytest.importorskip("torch")

Y = torch.tensor([3, 0, -100, 4, 1, 2])
FLOATS = [torch.float32, torch.bfloat16, torch.float16]
OPTIONS = [{}, {"label_smoothing": 0.1, "z_loss": 0.01}]  # the first takes the fast path


def logits(dtype=torch.float32, **options):
    return tensor(6, 5, dtype=dtype).requires_grad_(**options)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=["defaults", "options"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(called, dtype, options, reduction):
    x = logits(dtype)
    for _ in range(2):  # the fast path serves tensors of a kind from the second call on
        called.clear()
        loss = ll.cross_entropy(x, Y, reduction=reduction, **options)
        loss.sum().backward()
        kept = reduction == "none" or dtype is torch.float16
        assert called == (
            ["cross_entropy_and_statistics", "gradient"]
            if kept
            else ["cross_entropy_and_gradient", ("scaled", True)]
        )
    with torch.no_grad():
        called.clear()
        assert (ll.cross_entropy(x, Y, reduction=reduction, **options) == loss).all()
        assert called == ["cross_entropy"]
    exact = x.detach().double().requires_grad_()
    with selection.use("composed"):
        expected = ll.cross_entropy(exact, Y, reduction=reduction, **options)
        expected.sum().backward()
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(x.grad.double(), 2 * exact.grad, rtol=4 * step, atol=4 * step)


def test_every_kind_of_target(called):
    x, w, s = logits(), torch.rand(5), torch.rand(6)
    dense = torch.softmax(tensor(6, 5, seed=1, dtype=torch.float32), -1)
    listed = torch.tensor([[3, 1]] * 6), torch.full((6, 2), 0.5)
    for targets in (Y, dense, listed):
        for options in ({}, {"class_weight": w}, {"sample_weight": s}):
            called.clear()
            ll.cross_entropy(x, targets, **options).backward()
            assert called == ["cross_entropy_and_gradient", ("scaled", True)]


def test_functions_of_scores(called):
    x = logits()
    for function in (ll.softmax, ll.log_softmax):
        for axis in (-1, 0, None):
            called.clear()
            function(x, axis).sum().backward()
            assert called == ["softmax", "softmax_backward"]
    calls = {
        "logsumexp": lambda x: ll.logsumexp(x),
        "predict": lambda x: ll.predict(x),
        "top_k": lambda x: ll.top_k(x, 2),
        "statistics": lambda x: ll.row_stats(x, Y),
        "cross_entropy_and_gradient": lambda x: ll.cross_entropy_grad(x, Y),
    }
    for name, call in calls.items():
        called.clear()
        call(x.detach())
        assert called == [name]
    called.clear()
    ll.logsumexp(x).sum().backward()
    assert called == ["logsumexp", "logsumexp_backward"]


def test_results_of_row_statistics_are_differentiable(called):
    x = logits()
    stats = ll.row_stats(x, Y)
    with selection.use("composed"):
        same = x.detach().requires_grad_()
        expected = ll.row_stats(same, Y)
    for name in ("lse", "nll", "entropy", "confidence", "sum_p2", "mean_nll"):
        found, truth = getattr(stats, name), getattr(expected, name)
        torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)
        found.sum().backward()
        truth.sum().backward()
    torch.testing.assert_close(x.grad, same.grad, rtol=1e-4, atol=1e-6)
    assert stats.rank.tolist() == expected.rank.tolist()
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        _ = stats.nll


def test_learned_weights_are_composed(called):
    x, w = logits(), torch.rand(5, requires_grad=True)
    ll.cross_entropy(x, Y, class_weight=w).backward()
    assert called == []
    assert w.grad.abs().sum() > 0
    stats = ll.row_stats(x, Y, class_weight=w)
    stats.nll.sum().backward()


def test_losses_of_probabilities_are_composed(called):
    p = torch.softmax(logits(), -1)
    ll.log_loss(p, Y).backward()
    ll.nll_loss(torch.log(p.detach()), Y)
    assert called == []


def test_out(called):
    x = logits(requires_grad=False)
    expected = ll.softmax(x)
    strided = torch.full((6, 10), 7.0)[:, ::2]
    turned = torch.empty(5, 6).T
    called.clear()
    for out in (torch.empty(6, 5), strided, turned):
        assert ll.softmax(x, out=out) is out
        torch.testing.assert_close(out, expected, rtol=1e-6, atol=0)  # strided: another kernel
    assert (strided._base[:, 1::2] == 7).all()
    same = x.clone()
    version = same._version
    assert ll.softmax(same, out=same) is same
    torch.testing.assert_close(same, expected, rtol=1e-6, atol=0)
    assert same._version > version
    assert called == ["softmax"] * 4
    memory = torch.arange(36.0)
    shifted = memory[:30].view(6, 5)
    expected = ll.softmax(shifted.clone())
    found = ll.softmax(shifted, out=memory[1:31].view(6, 5))  # overlaps: by a copy
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_what_no_kernel_computes():
    x = logits(requires_grad=False)
    for function in (ll.softmax, lambda x: ll.cross_entropy(x, Y), ll.predict):
        for other, why_not in (
            (x.double(), "a tensor on cpu cannot be run by backend 'triton' (dtype torch.float64)"),
            (x.to("meta"), "a tensor on meta cannot be run by backend 'triton' (it computes CUDA tensors)"),
        ):
            if other.is_meta and function is not ll.softmax:
                continue  # the targets are not on that device
            with raises(ll.BackendError, why_not):
                function(other)


def test_by_default_the_core_computes_cpu_tensors(called):
    with selection.use(None):
        x = logits()
        ll.cross_entropy(x, Y).backward()
        ll.softmax(x)
    assert called == []


def test_odd_tensors(called):
    x, y = logits(requires_grad=False), Y.clone()
    expected = ll.cross_entropy(x, y)
    called.clear()
    negative = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert negative.is_neg()
    assert ll.cross_entropy(negative, y) == expected
    assert (ll.softmax(negative) == ll.softmax(x)).all()
    assert ll.cross_entropy(torch._efficientzerotensor(6, 5), y) == ll.cross_entropy(torch.zeros(6, 5), y)
    assert ll.cross_entropy(x.half(), y.to(torch.uint8), ignore_index=156).dtype is torch.float32
    assert ll.cross_entropy(torch.nn.Parameter(x), y) == expected
    wrong = ll.cross_entropy(x, torch.tensor([5, 0, 0, 0, 0, -1]), reduction="none")
    assert wrong.isnan().tolist() == [True, False, False, False, False, True]
    freed = x.clone()
    freed.untyped_storage().resize_(0)
    for function in (ll.softmax, lambda x: ll.cross_entropy(x, y)):
        with raises(
            ll.BackendError,
            "a tensor of shape (6, 5) has a storage of 0 bytes; expected at least 120; "
            "its memory was freed by untyped_storage().resize_",
        ):
            function(freed)


def test_autocast_computes_losses_of_16_bits_without_a_copy(called):
    x = logits(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ll.cross_entropy(x, Y)
    loss.backward()
    assert loss.dtype is torch.float32
    assert x.grad.dtype is torch.bfloat16
    assert called == ["cross_entropy_and_gradient", ("scaled", True)]
