"""The layer whose logits are not made: where it is one, and where it is a linear layer."""

from __future__ import annotations

import copy

import pytest
from assertions import raises
from backends import without_core

import lastlayer as ll

torch = pytest.importorskip("torch")
pytest.importorskip("lastlayer._core", reason="the native core is not built")
F = torch.nn.functional
from linear_heads import D, V, Y, capped, causal, parts, results, waiting  # noqa: E402

from lastlayer.torch import LinearHead  # noqa: E402


def test_autocast_is_settled_where_the_head_is_called(made):
    x, linear = parts(torch.float32)
    head = waiting(linear)

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
    head = waiting(linear)
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
    found = results(waiting(linear), x, torch.compile(capped, backend="aot_eager"))
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore::UserWarning")  # the same
def test_a_loss_compiled_as_one_graph_takes_a_clone():
    x, linear = parts()
    loss = torch.compile(torch.nn.CrossEntropyLoss(), backend="aot_eager", fullgraph=True)
    expected = results(linear, x, lambda z: loss(z.view(-1, V), Y.view(-1)))
    found = results(waiting(linear), x, lambda z: loss(z.clone().view(-1, V), Y.view(-1)))
    torch.testing.assert_close(found, expected)
    with pytest.raises(RuntimeError, match=r"expected a tensor with numbers; write logits\.clone"):
        loss(waiting(linear)(x).view(-1, V), Y.view(-1))


def test_without_the_core_it_is_a_linear_layer():
    x, linear = parts()
    head = waiting(linear)
    with without_core():
        assert type(head(x)) is torch.Tensor


# --- the module ---------------------------------------------------------------------------------------------


def test_it_is_the_layer_that_it_was(made):
    x, linear = parts()
    calls = []
    linear.register_forward_hook(lambda *_: calls.append(1))
    linear.eval()
    head = waiting(linear, max_memory=1e6)
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


def test_layers_that_are_not_linear_heads():
    with raises(ll.DtypeError, "LinearHead.of: linear is a Bilinear; expected a torch.nn.Linear"):
        LinearHead.of(torch.nn.Bilinear(2, 3, 4))
    linear = torch.nn.Linear(2, 3)
    linear.forward = lambda x: x
    with raises(
        ll.DtypeError,
        "LinearHead.of: linear is a Linear whose forward is replaced; expected a torch.nn.Linear",
    ):
        waiting(linear)


def test_too_little_memory_is_said():
    x, linear = parts()
    z = waiting(linear, max_memory=100)(x)
    with pytest.raises(ll.OptionError, match="max_memory is 100; expected at least"):
        capped(z)
    with raises(ll.OptionError, "linear_cross_entropy: max_memory is -1; expected a finite number above 0"):
        capped(waiting(linear, max_memory=-1)(x))


def test_wrong_calls_are_refused_as_they_were():
    x, linear = parts()
    head = waiting(linear)
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
