"""Backward passes of the kernels: again, of the graph kept, under hooks, of derivatives, in transforms."""

from __future__ import annotations

import pytest
from random_arrays import tensor

import lastlayer as ll
from lastlayer import selection

torch = pytest.importorskip("torch")

Y = torch.tensor([3, 0, -100, 4, 1, 2])
CALLS = {
    "fast path": lambda x: ll.cross_entropy(x, Y),
    "options": lambda x: ll.cross_entropy(x, Y, label_smoothing=0.1, reduction="sum"),
    "rows": lambda x: ll.cross_entropy(x, Y, reduction="none")[:5] @ x[0],
    "softmax": lambda x: ll.softmax(x)[:, 1].sum(),
    "masked": lambda x: ll.log_softmax(x, where=torch.arange(5) > 0)[:, 1].sum(),
    "logsumexp": lambda x: ll.logsumexp(x).square().sum(),
}
each = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def logits(dtype=torch.float32):
    return tensor(6, 5, dtype=dtype).requires_grad_()


@each
def test_a_second_backward_pass_gives_the_same_bits(call):
    x = logits()
    loss = call(x) * 3
    (first,) = torch.autograd.grad(loss, x, retain_graph=True)
    saved = first.clone()
    first.zero_()  # it is the caller's own
    (second,) = torch.autograd.grad(loss, x, retain_graph=True)
    (last,) = torch.autograd.grad(loss, x)
    assert torch.equal(second, saved)
    assert torch.equal(last, saved)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_the_gradient_is_scaled_in_place_where_the_graph_is_not_kept(called):
    x = logits()
    loss = ll.cross_entropy(x, Y)
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    loss.backward()
    scales = [call for call in called if call[0] == "scaled"]
    assert scales == [("scaled", False), ("scaled", False), ("scaled", True)]
    called.clear()
    torch.autograd.grad(ll.cross_entropy(x, Y), x, create_graph=True)
    assert called == ["cross_entropy_and_gradient", "gradient"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("factor", [0.0, 1.0, 1 / 3, 1e4])
def test_any_grad_output(dtype, factor):
    x, exact = logits(dtype), logits(dtype).detach().double().requires_grad_()
    (ll.cross_entropy(x, Y) * factor).backward()
    with selection.use("composed"):
        (ll.cross_entropy(exact, Y) * factor).backward()
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=4 * step, atol=4 * step * factor)


@each
def test_logits_changed_before_the_backward_pass(call):
    x = logits()
    z = x * 1.0
    y = call(z)
    if "SoftmaxBackward" in str(y.grad_fn) or call in (CALLS["softmax"], CALLS["masked"]):
        return  # the output is saved, not the logits
    with torch.no_grad():
        z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@each
def test_double_backward(call):
    x, exact = logits(), logits().detach().double().requires_grad_()
    u = tensor(6, 5, seed=5, dtype=torch.float32)
    (g,) = torch.autograd.grad(call(x), x, create_graph=True)
    (second,) = torch.autograd.grad((g * u).sum(), x)
    with selection.use("composed"):
        (g,) = torch.autograd.grad(call(exact), exact, create_graph=True)
        (expected,) = torch.autograd.grad((g * u).sum(), exact)
    torch.testing.assert_close(second, expected.float(), rtol=1e-4, atol=1e-5)


@each
def test_hooks_on_saved_tensors(called, call):
    x = logits()
    (expected,) = torch.autograd.grad(call(x), x)
    called.clear()
    with torch.autograd.graph.save_on_cpu():
        loss = call(x)
    assert "cross_entropy_and_gradient" not in called
    torch.testing.assert_close(torch.autograd.grad(loss, x)[0], expected)
    for reentrant in (False, True):
        loss = torch.utils.checkpoint.checkpoint(call, x, use_reentrant=reentrant)
        loss.backward()
        torch.testing.assert_close(x.grad, expected)
        x.grad = None


@each
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_batched_gradients_and_transforms(call):
    x = logits()
    loss = call(x)
    (expected,) = torch.autograd.grad(loss, x, retain_graph=True)
    (batch,) = torch.autograd.grad(loss, x, torch.tensor([1.0, 2.0]), is_grads_batched=True)
    torch.testing.assert_close(batch, torch.stack([expected, 2 * expected]))
    torch.testing.assert_close(torch.func.grad(call)(x.detach()), expected)
    both = torch.stack([x.detach(), x.detach()])
    torch.testing.assert_close(torch.vmap(torch.func.grad(call))(both), torch.stack([expected] * 2))
    u = tensor(6, 5, seed=5, dtype=torch.float32)
    _, slope = torch.func.jvp(call, (x.detach(),), (u,))
    torch.testing.assert_close(slope, (expected * u).sum())
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.detach(), u)
        slope = torch.autograd.forward_ad.unpack_dual(call(dual)).tangent
    torch.testing.assert_close(slope, (expected * u).sum())


def test_nothing_keeps_the_gradient_alive():
    import weakref

    from lastlayer.backends.torch import choice

    x = logits()
    kernel, made = choice.kernels.cross_entropy_and_gradient, []

    def run(*arguments):
        loss, dx = kernel(*arguments)
        made.append(weakref.ref(dx))
        return loss, dx

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice.kernels, "cross_entropy_and_gradient", run)
        loss = ll.cross_entropy(x, Y)
    loss.backward()
    x.grad = None
    assert made[0]() is None
