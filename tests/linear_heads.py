"""Shared by the tests of heads and deferred logits: a layer, targets, operations of models before a loss."""

from __future__ import annotations

import torch

F = torch.nn.functional


def waiting(linear, **options):
    """A head of this layer that defers its logits for any number of rows, and under no_grad too."""
    from lastlayer.torch import LinearHead

    return LinearHead.of(linear, defer="always", **options)


D, V = 5, 23
Y = torch.tensor([[3, -100, 22, 0], [7, 7, 16, 1]])
MASK = torch.tensor([[True, False, True, True], [False, True, True, False]])
SOFT = torch.linspace(0, 1, 8 * V, dtype=torch.float64).reshape(2, 4, V).softmax(-1)
WEIGHT = torch.linspace(0.5, 2, V, dtype=torch.float64)


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
