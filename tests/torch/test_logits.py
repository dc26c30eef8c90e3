"""Logits that are not made: what they are like, when they are made, and what a loss of them is."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
F = torch.nn.functional
from linear_heads import MASK, SOFT, WEIGHT, V, Y, capped, causal, parts, results, waiting  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import lastlayer.torch as drop_ins  # noqa: E402

TOP = torch.tensor([3, 22, 0]).expand(2, 4, 3)
WITHOUT = {
    "flat": lambda z: F.cross_entropy(z.view(-1, V), Y.view(-1)),
    "shifted": lambda z: F.cross_entropy(z[:, :-1].flatten(0, 1), Y[:, 1:].flatten(), ignore_index=-100),
    "reshaped": lambda z: torch.nn.CrossEntropyLoss(reduction="none")(z.reshape(8, V), Y.reshape(8)),
    "masked": lambda z: F.cross_entropy(z[MASK], Y[MASK], label_smoothing=0.1),
    "chosen": lambda z: F.cross_entropy(z[:, [2, 0]][0], Y[0, [2, 0]], weight=WEIGHT),
    "last": lambda z: F.cross_entropy(z[:, -1], Y[:, -1], reduction="sum"),
    "one row": lambda z: F.cross_entropy(z[1, 2], Y[1, 2]),
    "scaled": lambda z: F.cross_entropy((0.3 * z / 2).flatten(0, 1), Y.flatten()),
    "capped": capped,
    "scaled after its cap": lambda z: F.cross_entropy((z.tanh() * 4 / 3).view(-1, V), Y.view(-1)),
    "lastlayer": lambda z: ll.cross_entropy(z, Y, z_loss=0.1, temperature=0.7, softcap=3.0, denominator=4),
    "weights": lambda z: ll.cross_entropy(z, Y, sample_weight=MASK.double() + 1, class_weight=WEIGHT),
    "soft": lambda z: ll.cross_entropy(z, SOFT),
    "statistics": lambda z: (ll.row_stats(z / 2, Y).nll * WEIGHT[:4]).sum() + ll.row_stats(z).entropy.sum(),
    "top-k": lambda z: ll.cross_entropy(z, (TOP, SOFT[..., :3])),
    "drop-in": lambda z: drop_ins.cross_entropy(z.view(-1, V), Y.view(-1), label_smoothing=0.2),
    "drop-in module": lambda z: drop_ins.CrossEntropyLoss(z_loss=0.1)(z.view(-1, V), Y.view(-1)),
}
WITH = {
    "softmax": lambda z: (z.softmax(-1) ** 2).mean(),
    "another class axis": lambda z: F.cross_entropy(z.transpose(1, 2), Y),
    "some classes": lambda z: F.cross_entropy(z[..., :20].flatten(0, 1), Y.clamp(max=19).flatten()),
    "a mask of classes": lambda z: z[..., WEIGHT > 1].sum(),
    "as if of others": lambda z: F.cross_entropy(z.reshape(-1, 1, 1), torch.zeros(8 * V, 1).long()),
    "sums": lambda z: F.cross_entropy((z + 1).view(-1, V), Y.view(-1)),
    "two caps": lambda z: F.cross_entropy(z.tanh().tanh().view(-1, V), Y.view(-1)),
    "a learned scale": lambda z: F.cross_entropy((z * WEIGHT[0]).view(-1, V), Y.view(-1)),
    "negative": lambda z: F.cross_entropy((z * -2.0).view(-1, V), Y.view(-1)),
    "cap and temperature": lambda z: ll.cross_entropy((z / 3).tanh() * 3, Y, temperature=2.0),
    "soft targets": lambda z: F.cross_entropy(z.view(-1, V), SOFT.view(-1, V)),
    "deprecated": lambda z: ll.log_softmax(z)[..., 3].sum() + ll.logsumexp(z).sum(),
    "entropies along another axis": lambda z: ll.row_stats(z, axis=1).entropy.sum(),
}


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_loss_needs_no_logits(made, name, bias):
    x, linear = parts(bias=bias)
    expected = results(linear, x, WITHOUT[name])
    found = results(waiting(linear), x, WITHOUT[name])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert not made


@pytest.mark.parametrize("name", WITH)
def test_everything_else_has_them(made, name):
    x, linear = parts()
    expected = results(linear, x, WITH[name])
    found = results(waiting(linear), x, WITH[name])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert made


@pytest.mark.parametrize(
    "function", [causal, capped, WITHOUT["drop-in"]], ids=["causal", "capped", "drop-in"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_it_is_no_further_from_the_truth_than_with_logits(made, dtype, function):
    x, linear = parts(dtype)
    exact = copy.deepcopy(linear).double()
    wide = x.detach().double().requires_grad_()
    truth = results(exact, wide, lambda z: function(z))
    theirs, ours = results(linear, x, function), results(waiting(linear), x, function)
    for t, a, b in zip(truth, theirs, ours, strict=True):
        assert a.dtype == b.dtype
        rounding = torch.finfo(b.dtype).eps * t.abs().max()
        assert (b.double() - t).abs().max() <= (a.double() - t).abs().max() + rounding
    assert not made


def test_predictions_need_no_logits(made):
    x, linear = parts()
    z, expected = waiting(linear)(x)[:, 1:] * 0.5, linear(x)[:, 1:] * 0.5
    torch.testing.assert_close(ll.predict(z), ll.predict(expected))
    torch.testing.assert_close(ll.top_k(z, 3), ll.top_k(expected, 3))
    assert ll.row_stats(z, Y[:, 1:]).rank.equal(ll.row_stats(expected, Y[:, 1:]).rank)
    assert not made


# --- they are like logits -----------------------------------------------------------------------------------


def test_they_look_like_logits(made):
    x, linear = parts()
    z, expected = waiting(linear)(x), linear(x)
    assert isinstance(z, torch.Tensor)
    assert (z.shape, z.dtype, z.device, z.ndim, len(z)) == ((2, 4, V), torch.float64, expected.device, 3, 2)
    assert z.requires_grad
    assert not z.is_leaf
    assert z.stride() == expected.stride()
    assert not made
    assert repr(z) == repr(linear(x)).replace("ViewBackward0", "_LookBackward")
    np.testing.assert_array_equal(z.detach().numpy(), expected.detach().numpy())
    np.testing.assert_array_equal(np.asarray(z.detach()), expected.detach().numpy())
    assert z.tolist() == expected.tolist()
    assert z[0, 0, 0].item() == expected[0, 0, 0].item()
    assert z.argmax(-1).equal(expected.argmax(-1))
    assert torch.stack([z, z]).shape == (2, 2, 4, V)
    assert copy.deepcopy(z.detach()).equal(expected)
    file = io.BytesIO()
    torch.save(z.detach(), file)
    file.seek(0)
    assert torch.load(file).equal(expected)
    buffer = torch.zeros_like(expected)
    buffer.copy_(z)
    assert buffer.equal(expected)


def test_they_are_made_once(monkeypatch):
    x, linear = parts()
    z = waiting(linear)(x)
    first = z.sum()
    monkeypatch.setattr(F, "linear", None)
    assert z.sum() == first
    assert z.float().max() > 0


def test_gradients_pass_where_autograd_alone_looks():
    class Mean(torch.autograd.Function):  # a call that no tensor class hears of
        @staticmethod
        def forward(ctx, z):
            ctx.shape = z.shape
            return z.mean()

        @staticmethod
        def backward(ctx, grad):
            return (grad / V / 8).expand(ctx.shape)

    x, linear = parts()
    expected = results(linear, x, Mean.apply)
    torch.testing.assert_close(results(waiting(linear), x, Mean.apply), expected)


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(_, z):
        return z.view_as(z)

    @staticmethod
    def backward(_, grad):
        return -grad


class Untouched(torch.autograd.Function):
    @staticmethod
    def forward(_, z):
        return z

    @staticmethod
    def backward(_, grad):
        return 3 * grad


def reentrant(head, x):
    return checkpoint(head, x, use_reentrant=True)


def hooked(head, x):
    handle = head.register_full_backward_hook(lambda _, given, __: tuple(2 * g for g in given))
    z = head(x)
    handle.remove()
    return z


@pytest.mark.parametrize(
    "call",
    [lambda h, x: Reversed.apply(h(x)), lambda h, x: Untouched.apply(h(x)).float(), reentrant, hooked],
    ids=["reversed", "tripled", "checkpoint", "hook"],
)
def test_gradients_that_others_define_are_theirs(call):
    x, linear = parts()

    def gradients(head):
        return torch.autograd.grad(WITHOUT["flat"](call(head, x)), x)

    if call is reentrant:  # which knows of backward alone

        def gradients(head):
            x.grad = None
            WITHOUT["flat"](call(head, x)).backward()
            return x.grad

    torch.testing.assert_close(gradients(waiting(linear)), gradients(linear))


def test_second_derivatives():
    x, linear = parts()

    def twice(head, function):
        (g,) = torch.autograd.grad(function(head(x)), x, create_graph=True)
        return torch.autograd.grad((g**2).sum(), [x, head.weight])

    for function in (capped, WITH["softmax"]):
        expected = twice(linear, function)
        torch.testing.assert_close(twice(waiting(linear), function), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("ask", ["retain_grad", "register_hook", "requires_grad_"])
def test_the_gradient_of_logits_is_there_if_it_is_asked_for(ask):
    def gradient(head):
        seen = []
        z = head(x.detach() if ask == "requires_grad_" else x)
        if ask == "register_hook":
            z.register_hook(seen.append)
        else:
            getattr(z, ask)()
        F.cross_entropy(z.view(-1, V), Y.view(-1)).backward()
        return seen[0] if seen else z.grad

    x, linear = parts()
    if ask == "requires_grad_":
        linear.requires_grad_(False)
    torch.testing.assert_close(gradient(waiting(linear)), gradient(linear))


def test_what_is_not_differentiated(made):
    x, linear = parts()
    head = waiting(linear)
    assert not F.cross_entropy(head(x).detach().view(-1, V), Y.view(-1)).requires_grad
    with torch.no_grad():
        z = head(x)
    assert not F.cross_entropy(z.view(-1, V), Y.view(-1)).requires_grad
    with torch.inference_mode():
        F.cross_entropy(head(x).view(-1, V), Y.view(-1))
    learned = SOFT.clone().requires_grad_()
    ll.cross_entropy(head(x).detach(), learned).backward()
    assert learned.grad is not None
    linear.requires_grad_(False)
    F.cross_entropy(head(x).view(-1, V), Y.view(-1)).backward()
    assert x.grad is not None
    assert linear.weight.grad is None
    assert not made


def impossible(z):
    rows = z.view(-1, V)
    z[..., :2] = -torch.inf
    z[0, 0] *= 2
    return F.cross_entropy(rows, Y.view(-1).clamp(min=2))


def halved(z):
    last = z[:, -1].float()
    last /= 2
    last[MASK[:, :1].expand(-1, V)] = 0.5
    return F.cross_entropy(last, Y[:, -1])


def through_no_grad(z):
    with torch.no_grad():
        z[..., 3].fill_(1.0)
    return F.cross_entropy(z.view(-1, V), Y.view(-1)) + z.sum()


def behind_its_back(z):
    z.data[..., 3] = 1.0
    z.detach()[0, 0] = 2.0
    return F.cross_entropy(z.view(-1, V), Y.view(-1))


def by_numpy(z):
    z.float().detach().numpy()[..., 3] = 1.0
    z.detach().view(torch.int16).numpy()[..., 4] = 2
    return F.cross_entropy(z.view(-1, V), Y.view(-1))


@pytest.mark.parametrize("function", [impossible, halved, through_no_grad, behind_its_back, by_numpy])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_writing_into_them(made, dtype, function):
    x, linear = parts(dtype)
    expected = results(linear, x, function)
    torch.testing.assert_close(results(waiting(linear), x, function), expected)
    assert made


def test_what_is_gone():
    x, linear = parts(torch.bfloat16)
    z = waiting(linear)(x)
    with torch.no_grad():
        linear.weight += 1
    for use in (causal, torch.sum):
        with raises(
            ll.BackendError,
            "Logits: weight has been written to since; expected it as it was when the logits were asked for; "
            "write logits.clone() before",
        ):
            use(z)
    z = waiting(linear)(x)
    linear.weight.untyped_storage().resize_(0)
    with raises(
        ll.BackendError,
        "Logits: weight has been freed since; expected it to stay until a loss is taken; "
        "write fully_shard(head, reshard_after_forward=False)",
    ):
        causal(z)
