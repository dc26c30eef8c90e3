"""Shared by the tests of the linear head on tensors: arguments, plans, and PyTorch's own computation."""

from __future__ import annotations

import torch
from random_arrays import tensor

F = torch.nn.functional

N, D, V = 6, 4, 19
Y = torch.tensor([0, 18, -100, 7, 7, 16])


def arguments(n=N, d=D, v=V, dtype=torch.float64):
    made = tensor(n, d, dtype=dtype), tensor(v, d, seed=1, dtype=dtype), tensor(v, seed=2, dtype=dtype)
    return tuple(t.requires_grad_() for t in made)


def peer(x, w, b, y=Y, **options):
    return F.cross_entropy(F.linear(x, w, b), y, **options)
