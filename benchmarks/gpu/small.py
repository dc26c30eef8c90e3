"""The wall time of small calls beside torch's: what the launch costs. Out: microseconds of a call."""

from __future__ import annotations

from typing import Any

import torch
from contenders import both_ways
from shapes import DTYPES
from timing import Clock, Run, small_calls
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

import lastlayer as ll
import lastlayer.torch as lt

__all__ = ["small"]

CALLS, BLOCKS = 300, 7


def pairs(z: Tensor, y: Tensor) -> dict[str, tuple[Run, Run]]:
    """The usual calls: lastlayer's, and torch's."""
    loss, both = (lambda: F.cross_entropy(z, y)), both_ways(F.cross_entropy, z, y)
    return {
        "cross_entropy": (lambda: ll.cross_entropy(z, y), loss),
        "cross_entropy, drop-in": (lambda: lt.cross_entropy(z, y), loss),
        "cross_entropy, both ways": (both_ways(ll.cross_entropy, z, y), both),
        "cross_entropy_grad": (lambda: ll.cross_entropy_grad(z, y), both),
        "softmax": (lambda: ll.softmax(z), lambda: torch.softmax(z, -1)),
    }


def small(clock: Clock, calls: int = CALLS, blocks: int = BLOCKS) -> list[dict[str, Any]]:
    """Time the usual calls on 32 rows of 10 classes."""
    found = []
    for dtype in ("float32", "bfloat16"):
        z = torch.randn(32, 10, device=clock.device).to(DTYPES[dtype])
        y = torch.randint(0, 10, (32,), device=clock.device)
        for name, (ours, theirs) in pairs(z, y).items():
            us = small_calls(clock, {"lastlayer": ours, "torch": theirs}, calls, blocks)
            found.append({"dtype": dtype, "name": name, "us": {k: round(v, 2) for k, v in us.items()}})
    return found
