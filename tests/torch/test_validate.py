"""``validate=True``: tensors whose numbers are otherwise not read raise the errors of the CPU."""

from __future__ import annotations

import backends
import pytest
from assertions import raises
from random_arrays import tensor

import lastlayer as ll

torch = pytest.importorskip("torch")

import lastlayer.torch as drop_ins  # noqa: E402
from lastlayer.backends.torch import entry  # noqa: E402

X, WEIGHT = tensor(4, 5, dtype=torch.float32), tensor(6, 5, seed=1, dtype=torch.float32)
Y = torch.tensor([0, 4, -100, 1])
WRONG = torch.tensor([0, 4, 7, 1])
TWO_ONES = torch.eye(5, dtype=torch.int64)[:4] + torch.eye(5, dtype=torch.int64)[[1, 1, 2, 3]]
ONE_HOT = torch.eye(5, dtype=torch.int64)[:4]
LISTED = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]])
NAN = torch.tensor([1.0, torch.nan, 1.0, 1.0], dtype=torch.bfloat16)

# Wrong calls, each as a function of more options.
CALLS = {
    "index": lambda **o: ll.cross_entropy(X, WRONG, **o),
    "negative": lambda **o: ll.cross_entropy(X, -Y, ignore_index=None, reduction="none", **o),
    "class axis": lambda **o: ll.cross_entropy(X.t(), WRONG, axis=0, **o),
    "uint64": lambda **o: ll.cross_entropy(X, WRONG.to(torch.uint64), **o),
    "not one-hot": lambda **o: ll.cross_entropy(X, TWO_ONES, **o),
    "class weight": lambda **o: ll.cross_entropy(X, Y, class_weight=-torch.ones(5), **o),
    "sample weight": lambda **o: ll.cross_entropy(X, Y, sample_weight=NAN, **o),
    "top-k index": lambda **o: ll.cross_entropy(X, (LISTED + 1, torch.ones(4, 2)), **o),
    "top-k probability": lambda **o: ll.cross_entropy(X, (LISTED, -torch.ones(4, 2)), **o),
    "top-k rest": lambda **o: ll.cross_entropy(X, (LISTED, torch.ones(4, 2), torch.tensor(-1.0)), **o),
    "gradient": lambda **o: ll.cross_entropy_grad(X, WRONG, **o),
    "log-probabilities": lambda **o: ll.nll_loss(X, WRONG, **o),
    "probabilities": lambda **o: ll.log_loss(X, WRONG, **o),
    "statistics": lambda **o: ll.row_stats(X, WRONG, **o),
    "shard": lambda **o: ll.row_stats(X, -WRONG, class_offset=2, **o),
    "weight of a shard": lambda **o: ll.row_stats(X, WRONG, class_offset=2, sample_weight=NAN, **o),
    "linear": lambda **o: ll.linear_cross_entropy(X, WEIGHT, WRONG, **o),
    "linear, later": lambda **o: ll.linear_cross_entropy(X, WEIGHT, WRONG, shift=1, return_stats=True, **o),
    "linear gradients": lambda **o: ll.linear_cross_entropy_grad(X, WEIGHT, WRONG, **o),
    "linear statistics": lambda **o: ll.linear_row_stats(X, WEIGHT, WRONG, **o),
    "linear shard": lambda **o: ll.linear_row_stats(X, WEIGHT, -WRONG, class_offset=0, **o),
    "drop-in": lambda **o: drop_ins.cross_entropy(X, WRONG, **o),
    "drop-in of log-probabilities": lambda **o: drop_ins.nll_loss(X, WRONG, **o),
    "linear drop-in": lambda **o: drop_ins.linear_cross_entropy(X, WEIGHT, WRONG, **o),
    "several heads": lambda **o: drop_ins.linear_cross_entropy(
        X, WEIGHT.reshape(3, 2, 5), torch.stack([Y.clamp(0, 2), WRONG], 1), **o
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_error_is_that_of_the_cpu(name):
    call = CALLS[name]
    with pytest.raises((ll.LastlayerError, IndexError)) as expected:
        call()
    for options in ({}, {"validate": True}):
        with pytest.raises(type(expected.value)) as found:
            call(**options)
        assert str(found.value) == str(expected.value)
    with backends.composed():
        call()
        with pytest.raises(type(expected.value)) as found:
            call(validate=True)
    assert str(found.value) == str(expected.value)


RIGHT = {
    "index": lambda **o: ll.cross_entropy(X, Y, **o),
    "one-hot": lambda **o: ll.cross_entropy(X, ONE_HOT, **o),
    "dense": lambda **o: ll.cross_entropy(X, torch.softmax(X, 1), sample_weight=torch.ones(4), **o),
    "top-k": lambda **o: ll.cross_entropy(X, (LISTED, torch.ones(4, 2)), **o),
    "gradient": lambda **o: ll.cross_entropy_grad(X, Y, class_weight=torch.ones(5), **o)[1],
    "shard": lambda **o: ll.row_stats(X, WRONG, class_offset=2, **o).lse,
    "dense shard": lambda **o: ll.row_stats(X, torch.softmax(X, 1), class_offset=2, **o).lse,
    "no targets": lambda **o: ll.row_stats(X, **o).lse,
    "linear": lambda **o: ll.linear_cross_entropy(X, WEIGHT, Y, shift=1, **o),
    "linear, no targets": lambda **o: ll.linear_row_stats(X, WEIGHT, **o).lse,
    "several heads": lambda **o: drop_ins.linear_cross_entropy(
        X, WEIGHT.reshape(3, 2, 5), torch.stack([Y, Y], 1).clamp(-100, 2), **o
    ),
    "negative class weights, as in PyTorch": lambda **o: drop_ins.cross_entropy(
        X, Y, torch.tensor([1.0, -1.0, 1.0, 1.0, 2.0]), **o
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_calls_are_left_alone(way, name):
    call = RIGHT[name]
    torch.testing.assert_close(call(validate=True), call())


def test_options_that_require_a_gradient_are_read(way):
    temperature = torch.tensor(-1.0, requires_grad=True)
    assert ll.cross_entropy(X, Y, temperature=temperature).isnan()
    with raises(ll.OptionError, "cross_entropy: temperature is -1.0; expected a finite number above 0"):
        ll.cross_entropy(X, Y, temperature=temperature, validate=True)
    good = torch.tensor(2.0, requires_grad=True)
    expected = ll.linear_cross_entropy(X, WEIGHT, Y, temperature=good)
    assert torch.equal(ll.linear_cross_entropy(X, WEIGHT, Y, temperature=good, validate=True), expected)


def test_scores_and_targets_that_look_swapped(monkeypatch):
    message = (
        "cross_entropy: logits is one-hot rows of integers, and targets is of dtype float32; expected logits "
        "first, then targets; swapped? else pass logits as floats"
    )
    monkeypatch.setattr(entry, "in_memory", lambda _: False)
    with backends.composed():
        ll.cross_entropy(ONE_HOT, torch.softmax(X, 1))
        with raises(ll.TargetError, message):
            ll.cross_entropy(ONE_HOT, torch.softmax(X, 1), validate=True)


def test_where_nothing_can_be_read():
    rule = "cross_entropy: validate is True; expected False for a tensor {}: its numbers cannot be read"
    with raises(ll.OptionError, rule.format("without numbers, on the meta device or in a fake mode")):
        ll.cross_entropy(X.to("meta"), Y.to("meta"), validate=True)
    with raises(ll.OptionError, rule.format("inside a transform of torch.func")):
        torch.func.grad(lambda x: ll.cross_entropy(x, Y, validate=True))(X)


def test_compiled(way):
    """On the CPU the operation checks when it runs; elsewhere the numbers are read outside of the graph."""
    torch._dynamo.reset()
    full = way == "core"
    for function, y in (
        (lambda x, y: ll.cross_entropy(x, y, validate=True), Y),
        (lambda x, y: ll.linear_cross_entropy(x, WEIGHT, y, validate=True), Y),
    ):
        compiled = torch.compile(function, backend="aot_eager", fullgraph=full)
        torch.testing.assert_close(compiled(X, y), function(X, y))
        with pytest.raises(ll.TargetError, match=r"targets\[2\] is 7"):
            compiled(X, WRONG)


def test_deferred_logits_stay_deferred(made):
    head, x = drop_ins.LinearHead(3, 5), tensor(300, 3, dtype=torch.float32)
    y = torch.randint(0, 5, (300,))
    made.clear()
    loss = ll.cross_entropy(head(x), y, validate=True)
    assert not made
    torch.testing.assert_close(
        loss, ll.cross_entropy(torch.nn.functional.linear(x, head.weight, head.bias), y)
    )
