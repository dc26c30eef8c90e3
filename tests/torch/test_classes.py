"""Tensors of other classes and layouts: computed by what they have, by PyTorch itself, or refused by name."""

from __future__ import annotations

import pytest
from assertions import raises

import lastlayer as ll

torch = pytest.importorskip("torch")
import torch.nn.functional as peer  # noqa: E402

import lastlayer.torch as drop_ins  # noqa: E402
from lastlayer.errors import TensorClassError  # noqa: E402
from lastlayer.torch.errors import DropInDtypeError  # noqa: E402

X, Y = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 4, 2, -100, 1, 3])
FEATURES, WEIGHT = torch.randn(6, 4), torch.randn(5, 4)
COMMON = {
    "softmax": lambda x, _: ll.softmax(x),
    "logsumexp": lambda x, _: ll.logsumexp(x),
    "cross_entropy": lambda x, y: ll.cross_entropy(x, y),
    "cross_entropy_grad": lambda x, y: ll.cross_entropy_grad(x, y),
    "nll_loss": lambda x, y: ll.nll_loss(x, y),
    "row_stats": lambda x, y: ll.row_stats(x, y).nll,
    "predict": lambda x, _: ll.predict(x),
    "top_k": lambda x, _: ll.top_k(x, 2),
    "linear_cross_entropy": lambda x, y: ll.linear_cross_entropy(x, torch.ones(5, 5), y),
    "linear_row_stats": lambda x, y: ll.linear_row_stats(x, torch.ones(5, 5), y).nll,
    "linear_top_k": lambda x, _: ll.linear_top_k(x, torch.ones(5, 5), 2),
}
each_function = pytest.mark.parametrize("name", COMMON)


@pytest.fixture(scope="module")
def sharded():
    """A function that makes a DTensor, in a group of this process alone."""
    if not torch.distributed.is_available():
        pytest.skip("PyTorch is built without distributed")
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    yield lambda x: distribute_tensor(x, mesh, [Shard(0)])
    torch.distributed.destroy_process_group()


def test_the_drop_ins_call_pytorchs_function_of_a_dtensor(sharded):
    y, soft = sharded(Y), {"label_smoothing": 0.1}
    for ours, theirs in (
        (lambda x: drop_ins.cross_entropy(x, y, **soft), lambda x: peer.cross_entropy(x, y, **soft)),
        (lambda x: drop_ins.nll_loss(x, y, reduction="sum"), lambda x: peer.nll_loss(x, y, reduction="sum")),
        (lambda x: drop_ins.CrossEntropyLoss()(x, y), lambda x: peer.cross_entropy(x, y)),
        (lambda x: drop_ins.log_softmax(x, 1).sum(), lambda x: peer.log_softmax(x, 1).sum()),
        (lambda x: drop_ins.logsumexp(x, 1).sum(), lambda x: torch.logsumexp(x, 1).sum()),
    ):  # fmt: skip
        x, same = (sharded(X).requires_grad_() for _ in range(2))
        found, expected = ours(x), theirs(same)
        assert type(found) is type(expected)
        torch.testing.assert_close(found.full_tensor(), expected.full_tensor())
        found.backward()
        expected.backward()
        torch.testing.assert_close(x.grad.full_tensor(), same.grad.full_tensor())
    x, weight = sharded(FEATURES), sharded(WEIGHT)
    found = drop_ins.linear_cross_entropy(x, weight, y)
    torch.testing.assert_close(found.full_tensor(), peer.cross_entropy(FEATURES @ WEIGHT.T, Y))
    for loss in (drop_ins.cross_entropy(sharded(X), sharded(torch.full((6,), -100))),):
        assert loss.full_tensor().isnan()  # PyTorch's mean over no targets
    with pytest.raises(
        ll.BackendError, match=r"cross_entropy: input is a torch\.distributed\.tensor\.DTensor"
    ):
        drop_ins.cross_entropy(sharded(X), y, temperature=2.0)
    with pytest.raises(ll.BackendError, match=r"softmax: input is a torch\.distributed\.tensor\.DTensor"):
        drop_ins.softmax(sharded(X), 1, temperature=2.0)


@pytest.mark.parametrize(
    "name", [name for name in COMMON if name not in ("predict", "top_k", "linear_top_k")]
)
def test_a_dtensor_is_refused_by_its_class(sharded, name):
    argument = {"softmax": "x", "logsumexp": "x", "nll_loss": "log_probs"}.get(name, "logits")
    argument = "x" if name.startswith("linear") else argument
    match = (
        rf"^{name}: {argument} is a torch\.distributed\.tensor\.DTensor; expected a torch\.Tensor, or a "
        rf"class with every operation of this call \(its own error: .*\); write {argument}\.full_tensor\(\)$"
    )
    with pytest.raises(ll.BackendError, match=match):
        COMMON[name](sharded(X), sharded(Y))


def test_a_dtensor_among_plain_tensors_is_refused(sharded):
    for name, call in (
        ("targets", lambda: ll.cross_entropy(X, sharded(Y))),
        ("targets", lambda: ll.row_stats(X, sharded(torch.softmax(X, 1)))),
        ("class_weight", lambda: ll.cross_entropy(X, Y, class_weight=sharded(torch.ones(5)))),
    ):
        with pytest.raises(ll.BackendError, match=f"{name} is a torch.distributed.tensor.DTensor"):
            call()
    with pytest.raises(ll.BackendError, match="linear_cross_entropy"):
        ll.linear_cross_entropy(FEATURES, sharded(WEIGHT), Y)


def ragged(layout):
    return torch.nested.nested_tensor([X[:2], X[2:]], layout=layout)


@each_function
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused_by_their_class(name):
    for x in (ragged(torch.strided), ragged(torch.jagged)):
        with pytest.raises(ll.BackendError, match=rf"^{name}: \w+ is a .*nested"):
            COMMON[name](x, Y)
    if name == "softmax":
        x = ragged(torch.jagged)
        torch.testing.assert_close(drop_ins.softmax(x, 2).values(), torch.softmax(X, 1))


@each_function
def test_zero_tensors_are_zeros(name):
    zeros = torch._efficientzerotensor((6, 5))
    found, expected = COMMON[name](zeros, Y), COMMON[name](torch.zeros(6, 5), Y)
    torch.testing.assert_close(found, expected)


def test_zero_tensors_in_other_places():
    w, q = torch._efficientzerotensor((5,)), torch._efficientzerotensor((6, 5))
    assert ll.cross_entropy(X, Y, class_weight=w) == ll.cross_entropy(X, q) == 0
    x = X.clone().requires_grad_()
    for result in (
        ll.softmax(x),
        ll.log_softmax(x, temperature=2.0),
        ll.logsumexp(x),
        ll.cross_entropy(x, Y),
    ):
        (g,) = torch.autograd.grad(result, x, torch._efficientzerotensor(result.shape))
        assert torch.equal(g, torch.zeros_like(X))


@each_function
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_other_layouts_and_quantized_tensors_are_refused(name):
    argument = {"softmax": "x", "logsumexp": "x", "nll_loss": "log_probs"}.get(name, "logits")
    argument = "x" if name.startswith("linear") else argument
    for x, kind in ((X.to_sparse(), ll.DtypeError), (X.to_mkldnn(), TensorClassError)):
        message = (
            f"{name}: {argument} is of layout {x.layout}; expected torch.strided; write {argument}.to_dense()"
        )
        with raises(kind, message):
            COMMON[name](x, Y)
    with raises(
        ll.DtypeError,
        f"{name}: {argument} is of dtype torch.qint8; expected real numbers; write {argument}.dequantize()",
    ):
        COMMON[name](torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), Y)


def test_other_layouts_in_other_places():
    rule = "is of layout torch.sparse_coo; expected torch.strided; write"
    with raises(ll.DtypeError, f"cross_entropy: targets {rule} targets.to_dense()"):
        ll.cross_entropy(X, torch.softmax(X, 1).to_sparse())
    with raises(ll.DtypeError, f"linear_cross_entropy: weight {rule} weight.to_dense()"):
        ll.linear_cross_entropy(FEATURES, WEIGHT.to_sparse(), Y)
    for call, name in (
        (lambda x: drop_ins.softmax(x, 1), "softmax"),
        (lambda x: drop_ins.cross_entropy(x, Y), "cross_entropy"),
        (lambda x: drop_ins.linear_cross_entropy(x, torch.ones(5, 5), Y), "linear_cross_entropy"),
    ):
        with raises(DropInDtypeError, f"{name}: input {rule} input.to_dense()"):
            call(X.to_sparse())
    torch.testing.assert_close(drop_ins.softmax(X.to_mkldnn(), 1).to_dense(), torch.softmax(X, 1))
