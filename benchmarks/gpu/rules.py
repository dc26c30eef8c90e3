"""Rules that hold beside right numbers: streams, devices, targets out of range. Out: what breaks a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from checks import equal, tensors_of
from contenders import FUNCTIONS, ours
from shapes import Shape

import lastlayer as ll

__all__ = ["RULES"]

SHAPE = Shape((2048, 5000), "4096")
Found = str | None


def all_functions(z: torch.Tensor, y: torch.Tensor) -> list[Any]:
    return [t for name in FUNCTIONS for t in tensors_of(ours(name, SHAPE, z, y)())]


def two_streams(device: torch.device) -> Found:
    """Two streams at once give what each gives alone."""
    data = [SHAPE.data(torch.bfloat16, device, seed) for seed in range(2)]
    alone = [[t.clone() for t in all_functions(z, y)] for z, y in data]
    streams = [torch.cuda.Stream(device) for _ in data]
    for _ in range(5):
        torch.cuda.synchronize(device)
        together = []
        for stream, (z, y) in zip(streams, data, strict=True):
            with torch.cuda.stream(stream):
                torch.cuda._sleep(200_000)
                together.append(all_functions(z, y))
        torch.cuda.synchronize(device)
        if not all(map(equal, alone, together)):
            return "results of two streams differ from those of one"
    return None


def second_device(device: torch.device) -> Found:
    """A tensor on another device than the current one is computed there."""
    if torch.cuda.device_count() < 2:
        return "not checked: one device"
    other = torch.device("cuda", (device.index or 0) + 1)
    z, y = SHAPE.data(torch.float32, device)
    here, there = all_functions(z, y), all_functions(z.to(other), y.to(other))
    if any(t.device != other for t in there):
        return "results are on the current device"
    return None if equal(here, [t.to(device) for t in there]) else "results differ between devices"


def out_of_range(device: torch.device) -> Found:
    """A target out of range makes its row NaN, and no other."""
    z, y = SHAPE.data(torch.float32, device)
    y[7], y[9], y[11] = SHAPE.classes, -1, -100
    bad = torch.zeros_like(y, dtype=torch.bool)
    bad[[7, 9]] = True
    losses = ll.cross_entropy(z, y, reduction="none")
    gradient = ll.cross_entropy_grad(z, y, reduction="sum")[1]
    if not torch.equal(losses.isnan(), bad):
        return f"{int(losses.isnan().sum())} losses are NaN"
    rows = gradient.isnan()
    return None if torch.equal(rows.all(1), bad) and torch.equal(rows.any(1), bad) else "the gradient's rows"


def two_backwards(device: torch.device) -> Found:
    """A graph that is kept gives the same gradient twice, and a scaled one is scaled."""
    z, y = SHAPE.data(torch.float32, device)
    leaf = z.requires_grad_()
    loss = ll.cross_entropy(leaf, y)
    (first,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    kept = first.clone()
    (tripled,) = torch.autograd.grad(3 * loss, leaf, retain_graph=True)
    (again,) = torch.autograd.grad(loss, leaf)
    if not (torch.equal(first, kept) and torch.equal(first, again)):
        return "a second backward gives another gradient"
    return None if torch.allclose(tripled, 3 * first, rtol=1e-6, atol=0) else "a scaled gradient is wrong"


RULES: dict[str, Callable[[torch.device], Found]] = {
    "two streams": two_streams,
    "second device": second_device,
    "targets out of range": out_of_range,
    "two backwards": two_backwards,
}
