"""Tensors without numbers: results have the shape and dtype they would have, and no value is looked at."""

from __future__ import annotations

import pytest

import lastlayer as ll

torch = pytest.importorskip("torch")
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

import lastlayer.torch as drop_ins  # noqa: E402

X, WEIGHT, Y = torch.randn(6, 5), torch.randn(4, 5), torch.tensor([0, 3, 2, -100, 1, 0])
# Each takes x (6, 5), weight (4, 5) and y (6,).
FUNCTIONS = {
    "softmax": lambda x, *_: ll.softmax(x, temperature=2.0),
    "a masked softmax": lambda x, *_: ll.log_softmax(x, where=x > 0),
    "several axes": lambda x, *_: ll.logsumexp(x, None, keepdims=True),
    "cross_entropy": lambda x, _, y: ll.cross_entropy(x, y, label_smoothing=0.1, softcap=3.0, z_loss=0.1),
    "weights in lists": lambda x, _, y: ll.cross_entropy(x, y, class_weight=[1.0] * 5, reduction="none"),
    "dense targets": lambda x, *_: ll.cross_entropy(x, x),
    "top-k targets": lambda x, _, y: ll.cross_entropy(x, (y[:, None], x[:, :1].abs())),
    "cross_entropy_grad": lambda x, _, y: ll.cross_entropy_grad(x, y)[1],
    "nll_loss": lambda x, _, y: ll.nll_loss(x, y),
    "log_loss": lambda x, _, y: ll.log_loss(x, y),
    "row_stats": lambda x, _, y: ll.row_stats(x, y).nll,
    "rank": lambda x, _, y: ll.row_stats(x, y).rank,
    "entropy": lambda x, *_: ll.row_stats(x).entropy,
    "predict": lambda x, *_: ll.predict(x)[0],
    "top_k": lambda x, *_: ll.top_k(x, 2)[0],
    "linear_cross_entropy": lambda x, w, y: ll.linear_cross_entropy(x, w, y, max_memory=1e6),
    "rows of a head": lambda x, w, y: ll.linear_cross_entropy(x, w, y, reduction="none", shift=1),
    "linear_cross_entropy_grad": lambda x, w, y: ll.linear_cross_entropy_grad(x, w, y)[1][1],
    "with statistics": lambda x, w, y: ll.linear_cross_entropy(x, w, y, return_stats=True)[1].nll,
    "linear_row_stats": lambda x, w, y: ll.linear_row_stats(x, w, y).confidence,
    "linear_top_k": lambda x, w, _: ll.linear_top_k(x, w, 2)[1],
    "drop-in": lambda x, _, y: drop_ins.cross_entropy(x, y, temperature=2.0),
    "linear drop-in": lambda x, w, y: drop_ins.linear_cross_entropy(x, w, y),
}
CONSTANT = ("rank", "predict", "top_k", "linear_top_k", "with statistics")
each_function = pytest.mark.parametrize("name", FUNCTIONS)


@each_function
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_on_the_meta_device(name, dtype):
    inputs = X.to(dtype), WEIGHT.to(dtype), Y
    expected = FUNCTIONS[name](*inputs)
    x, w, y = (t.to("meta") for t in inputs)
    x.requires_grad_()
    w.requires_grad_()
    found = FUNCTIONS[name](x, w, y)
    assert found.is_meta
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if name not in CONSTANT:
        for g, t in zip(torch.autograd.grad(found.sum(), (x, w), allow_unused=True), (x, w), strict=True):
            assert g is None or (g.is_meta and g.shape == t.shape and g.dtype == dtype)


@each_function
def test_fake_tensors_in_their_mode_and_outside(name):
    expected = FUNCTIONS[name](X, WEIGHT, Y)
    mode = FakeTensorMode()
    inputs = [mode.from_tensor(t) for t in (X, WEIGHT, Y)]
    with mode:
        inside = FUNCTIONS[name](*inputs)
    for found in (inside, FUNCTIONS[name](*inputs)):
        assert (found.shape, found.dtype, str(found.device)) == (expected.shape, expected.dtype, "cpu")


def test_models_that_are_initialized_later():
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(5, 5), drop_ins.LinearHead(5, 4))
        fused = drop_ins.LinearCrossEntropyLoss(5, 4, bias=True)
        criterion = drop_ins.CrossEntropyLoss(torch.ones(4), label_smoothing=0.1)
        criterion.temperature = torch.nn.Parameter(torch.ones(()))
        x, y = torch.zeros(300, 5), torch.zeros(300, dtype=torch.int64)
        loss = criterion(model(x), y) + fused(x, y)
        loss.backward()
        assert model[1].weight.grad.is_meta
        assert "temperature=Parameter" in repr(criterion)
    for module in (model, fused, criterion):
        module.to_empty(device="cpu")
    for p in (*model.parameters(), *fused.parameters(), *criterion.parameters()):
        torch.nn.init.ones_(p)
    criterion.weight.fill_(1.0)
    x, y = torch.randn(300, 5), torch.zeros(300, dtype=torch.int64)
    total = criterion(model(x), y) + fused(x, y)
    torch.testing.assert_close(total, 2 * torch.tensor(4.0).log())  # every class is like every other
    lazy = torch.nn.Sequential(torch.nn.LazyLinear(4), drop_ins.LogSoftmax(1))
    assert lazy(X).shape == (6, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("function", [ll.softmax, ll.log_softmax, ll.logsumexp])
@pytest.mark.parametrize("shape", [(0, 5), (0, 3, 5), (3, 0, 5)])
def test_no_rows_with_a_mask_or_without(way, function, shape, dtype):
    x = torch.zeros(shape, dtype=dtype)
    rows = shape[:-1] if function is ll.logsumexp else shape
    assert function(x).shape == rows
    for where in (
        torch.ones(shape, dtype=torch.bool),
        torch.tensor([True, False, True, True, True]),
        [True] * 5,
    ):
        assert function(x, where=where).shape == rows
        assert function(x, (-1,), where=where).shape == rows
    with pytest.raises(ll.ShapeError, match=r"where is of shape \(4,\); expected a shape that broadcasts to"):
        function(x, where=torch.ones(4, dtype=torch.bool))


def test_check_says_that_there_is_nothing_to_look_at():
    mode = FakeTensorMode()
    for hidden in (
        X.to("meta"),
        mode.from_tensor(X),
        X.to_sparse(),
        X.to_mkldnn(),
    ):
        (finding,) = ll.check(hidden, Y)
        assert (finding.code, finding.severity) == ("scores-array", "error")
        assert "a tensor" in finding.message
    assert [f.code for f in ll.check(X, Y.to("meta"))] == ["targets-array"]
    assert torch.vmap(lambda x: torch.tensor(len(ll.check(x))))(X).tolist() == [1] * 6
