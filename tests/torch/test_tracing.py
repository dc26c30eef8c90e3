"""`torch.fx.symbolic_trace`: each module and function is one node of a graph, which computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

import lastlayer.torch as ours

X, Y = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 3, 1, -100, 2])
S = torch.arange(5.0)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.loss = (
            ours.LinearHead(4, 6),
            ours.CrossEntropyLoss(torch.rand(6), label_smoothing=0.1),
        )
        self.nll, self.p, self.log_p = ours.NLLLoss(), ours.Softmax(1), ours.LogSoftmax(1)
        self.whole = ours.LinearCrossEntropyLoss(4, 6)

    def forward(self, x, y, s):
        z = self.head(torch.relu(x))
        losses = self.loss(z, y, sample_weight=s), self.nll(self.log_p(z), y), self.whole(x, y)
        return torch.stack(losses).sum() + self.p(z).sum()


def test_modules_are_leaves():
    torch.manual_seed(0)
    model = Model()
    traced = fx.symbolic_trace(model)
    assert {n.target for n in traced.graph.nodes if n.op == "call_module"} == set(
        dict(model.named_children())
    )
    assert torch.equal(traced(X, Y, S), model(X, Y, S))
    kept = next(n for n in traced.graph.nodes if n.target == "loss")
    assert list(kept.kwargs) == ["sample_weight"]


def test_functions_are_calls():
    def model(x, y):
        return (
            ours.cross_entropy(ours.log_softmax(x, 1), y) + ours.softmax(x, dim=1).sum() + ours.nll_loss(x, y)
        )

    traced = fx.symbolic_trace(model)
    targets = [n.target for n in traced.graph.nodes if n.op == "call_function"]
    assert {ours.cross_entropy, ours.log_softmax, ours.softmax, ours.nll_loss} <= set(targets)
    assert torch.equal(traced(X, Y), model(X, Y))


@pytest.mark.parametrize("module", [ours.CrossEntropyLoss(), ours.NLLLoss()], ids=lambda m: type(m).__name__)
def test_a_module_alone(module):
    traced = fx.symbolic_trace(module, concrete_args={"sample_weight": None, "denominator": None})
    assert torch.equal(traced(X, Y, None, None), module(X, Y))
