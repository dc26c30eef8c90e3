"""What the tests of the linear head on tensors share: arguments, plans, and PyTorch's composition."""

from __future__ import annotations

import torch
from random_arrays import tensor

from lastlayer import linear
from lastlayer import plan as plans
from lastlayer.plan import Plan

F = torch.nn.functional

N, D, V = 6, 4, 19
Y = torch.tensor([0, 18, -100, 7, 7, 16])


def arguments(n=N, d=D, v=V, dtype=torch.float64):
    made = tensor(n, d, dtype=dtype), tensor(v, d, seed=1, dtype=dtype), tensor(v, seed=2, dtype=dtype)
    return tuple(t.requires_grad_() for t in made)


def loop(monkeypatch):
    """Compute the next calls by the loop, small as they are."""
    monkeypatch.setattr(plans, "is_small", lambda *_: False)


def cut(monkeypatch, rows, classes):
    """Cut the next calls into tiles of this size, and keep two."""

    def plan(n, v, *_, keep=True, **__):
        r, c = min(rows, n), min(classes, v)
        count = -(-n // r) * -(-v // c)
        kept = min(2, count) if keep else 1
        return Plan(n, v, r, c, kept, count - kept, 0)

    loop(monkeypatch)
    monkeypatch.setattr(linear, "plan", plan)


def peer(x, w, b, y=Y, **options):
    return F.cross_entropy(F.linear(x, w, b), y, **options)
