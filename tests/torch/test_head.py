"""A head whose logits are not made: what they are like, when they are made, and what a loss of them is."""

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
import lastlayer.torch as drop_ins  # noqa: E402
from lastlayer.torch import LinearHead  # noqa: E402
from lastlayer.torch.deferred import Logits  # noqa: E402

D, V = 5, 23
Y = torch.tensor([[3, -100, 22, 0], [7, 7, 16, 1]])
MASK = torch.tensor([[True, False, True, True], [False, True, True, False]])
SOFT = torch.linspace(0, 1, 8 * V, dtype=torch.float64).reshape(2, 4, V).softmax(-1)
WEIGHT = torch.linspace(0.5, 2, V, dtype=torch.float64)


@pytest.fixture
def made(monkeypatch):
    """The logits that are made: their shapes."""
    shapes, whole = [], Logits.whole

    def record(z):
        shapes.append(tuple(z.shape))
        return whole(z)

    monkeypatch.setattr(Logits, "whole", record)
    return shapes


def parts(dtype=torch.float64, bias=True):
    generator = torch.Generator().manual_seed(0)
    linear = torch.nn.Linear(D, V, bias, dtype=torch.float64)
    with torch.no_grad():
        for p in linear.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(2, 4, D, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    return x, linear.to(dtype)


def results(head, x, function):
    """The loss, and the gradients of x and of the parameters."""
    loss = function(head(x))
    return [loss, *torch.autograd.grad(loss.sum(), [x, *head.parameters()])]


def causal(z, **options):
    return F.cross_entropy(z.float()[..., :-1, :].contiguous().view(-1, V), Y[..., 1:].reshape(-1), **options)


def capped(z):
    return F.cross_entropy((torch.tanh(z / 3.0) * 3.0).view(-1, V), Y.view(-1), reduction="sum") / 7


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
    "statistics": lambda z: ll.row_stats(z).entropy.sum(),
}


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_loss_needs_no_logits(made, name, bias):
    x, linear = parts(bias=bias)
    expected = results(linear, x, WITHOUT[name])
    found = results(LinearHead.of(linear), x, WITHOUT[name])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert not made


@pytest.mark.parametrize("name", WITH)
def test_everything_else_has_them(made, name):
    x, linear = parts()
    expected = results(linear, x, WITH[name])
    found = results(LinearHead.of(linear), x, WITH[name])
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
    theirs, ours = results(linear, x, function), results(LinearHead.of(linear), x, function)
    for t, a, b in zip(truth, theirs, ours, strict=True):
        assert a.dtype == b.dtype
        rounding = torch.finfo(b.dtype).eps * t.abs().max()
        assert (b.double() - t).abs().max() <= (a.double() - t).abs().max() + rounding
    assert not made


# --- they are like logits -----------------------------------------------------------------------------------


def test_they_look_like_logits(made):
    x, linear = parts()
    z, expected = LinearHead.of(linear)(x), linear(x)
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
    z = LinearHead.of(linear)(x)
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
    torch.testing.assert_close(results(LinearHead.of(linear), x, Mean.apply), expected)


def test_second_derivatives():
    x, linear = parts()

    def twice(head, function):
        (g,) = torch.autograd.grad(function(head(x)), x, create_graph=True)
        return torch.autograd.grad((g**2).sum(), [x, head.weight])

    for function in (capped, WITH["softmax"]):
        expected = twice(linear, function)
        torch.testing.assert_close(twice(LinearHead.of(linear), function), expected, rtol=1e-10, atol=1e-13)


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
    torch.testing.assert_close(gradient(LinearHead.of(linear)), gradient(linear))


def test_what_is_not_differentiated(made):
    x, linear = parts()
    head = LinearHead.of(linear)
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


@pytest.mark.parametrize("function", [impossible, halved, through_no_grad])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_writing_into_them(made, dtype, function):
    x, linear = parts(dtype)
    expected = results(linear, x, function)
    torch.testing.assert_close(results(LinearHead.of(linear), x, function), expected)
    assert made


# --- where there are logits as ever -------------------------------------------------------------------------


def test_autocast_is_settled_where_the_head_is_called(made):
    x, linear = parts(torch.float32)
    head = LinearHead.of(linear)

    def inside(head):
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(head(x).view(-1, V), Y.view(-1))

    def between(head):
        with torch.autocast("cpu", torch.bfloat16):
            z = head(x)
        return F.cross_entropy(z.float().view(-1, V), Y.view(-1))

    def before(head):
        z = head(x)
        with torch.autocast("cpu", torch.bfloat16):
            return F.cross_entropy(z.view(-1, V), Y.view(-1))

    for function, tolerance in ((inside, 2e-2), (between, 2e-2), (before, 1e-6)):
        theirs, ours = function(linear), function(head)
        assert ours.dtype is theirs.dtype is torch.float32
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
        expected = torch.autograd.grad(theirs, linear.weight)
        torch.testing.assert_close(
            torch.autograd.grad(ours, linear.weight), expected, rtol=tolerance, atol=tolerance / 10
        )
    assert not made


def test_compilers_and_transforms_see_a_linear_layer(made):
    x, linear = parts()
    expected = results(linear, x, capped)
    head = LinearHead.of(linear)
    compiled = torch.compile(lambda: capped(head(x)), backend="aot_eager", fullgraph=True)
    loss = compiled()
    torch.testing.assert_close([loss, *torch.autograd.grad(loss, [x, *head.parameters()])], expected)
    g = torch.func.grad(lambda w: capped(torch.func.functional_call(head, {"weight": w}, (x,))))(head.weight)
    torch.testing.assert_close(g, expected[2])
    assert not made


@pytest.mark.filterwarnings("ignore::UserWarning")  # the compiler says that it leaves these tensors alone
def test_a_compiled_loss_of_logits():
    x, linear = parts()
    expected = results(linear, x, capped)
    found = results(LinearHead.of(linear), x, torch.compile(capped, backend="aot_eager"))
    torch.testing.assert_close(found, expected)


def test_without_the_core_it_is_a_linear_layer(monkeypatch):
    from lastlayer.torch import head as module

    x, linear = parts()
    head = LinearHead.of(linear)
    monkeypatch.setattr(module, "native", None)
    assert type(head(x)) is torch.Tensor


# --- the module ---------------------------------------------------------------------------------------------


def test_it_is_the_layer_that_it_was(made):
    x, linear = parts()
    calls = []
    linear.register_forward_hook(lambda *_: calls.append(1))
    linear.eval()
    head = LinearHead.of(linear, max_memory=1e6)
    assert list(head.state_dict()) == ["weight", "bias"]
    assert head.weight is linear.weight
    assert not head.training
    assert isinstance(head, torch.nn.Linear)
    assert LinearHead.of(head).max_memory is None
    capped(head(x))
    assert calls == [1]
    assert not made


def test_a_new_one():
    head = LinearHead(D, V, False, dtype=torch.float64, max_memory=1e6)
    assert repr(head) == f"LinearHead(in_features={D}, out_features={V}, bias=False)"
    assert head.max_memory == 1e6
    linear = torch.nn.Linear(D, V, False, dtype=torch.float64)
    linear.load_state_dict(head.state_dict())
    x, _ = parts()
    torch.testing.assert_close(causal(head(x)), causal(linear(x)))
    twin = copy.deepcopy(head)
    assert type(twin) is LinearHead
    assert twin.max_memory == 1e6


# --- errors -------------------------------------------------------------------------------------------------


def test_what_is_gone():
    x, linear = parts(torch.bfloat16)
    z = LinearHead.of(linear)(x)
    later, now = z.float(), z * 2.0
    now.max()
    z[..., 0] = 0
    with raises(
        ll.BackendError,
        "Logits: they have been written to since _to_copy.default; expected them as they were; "
        "write logits.clone() before",
    ):
        later.sum()
    assert now.sum().isfinite()
    z = LinearHead.of(linear)(x)
    with torch.no_grad():
        linear.weight += 1
    for use in (causal, torch.sum):
        with raises(
            ll.BackendError,
            "Logits: weight has been written to since; expected it as it was when the logits were asked for; "
            "write logits.clone() before",
        ):
            use(z)


def test_layers_that_are_not_linear_heads():
    with raises(ll.DtypeError, "LinearHead.of: linear is a Bilinear; expected a torch.nn.Linear"):
        LinearHead.of(torch.nn.Bilinear(2, 3, 4))
    linear = torch.nn.Linear(2, 3)
    linear.forward = lambda x: x
    with raises(
        ll.DtypeError,
        "LinearHead.of: linear is a Linear whose forward is replaced; expected a torch.nn.Linear",
    ):
        LinearHead.of(linear)


def test_wrong_calls_are_refused_as_they_were():
    x, linear = parts()
    head = LinearHead.of(linear)
    for wrong in (
        lambda h: h(x[..., :3]),
        lambda h: h(x.float()),
        lambda h: F.cross_entropy(h(x).view(-1, V), Y.view(-1).clamp(min=0) + 20),
        lambda h: F.cross_entropy(h(x).view(-1, V), Y.view(-1)[:-1]),
        lambda h: F.cross_entropy(h(x).view(-1, V), Y.view(-1), reduction="most"),
    ):
        with pytest.raises((RuntimeError, ValueError, IndexError)) as theirs:
            wrong(linear)
        with pytest.raises(theirs.type) as ours:
            wrong(head)
        assert str(ours.value) == str(theirs.value)
    with raises(
        ll.TargetError, "cross_entropy: targets[0, 0] is 23; expected a class in [0, 23) or ignore_index=-100"
    ):
        ll.cross_entropy(head(x), Y + 20)
