"""Every function that is timed. In: logits and class indices. Out: functions without arguments, by contender.

torch.compile takes the loss of 16-bit logits in two ways, as it stands and converted to float32: the faster
one counts. Liger is timed where it is installed; its loss writes the gradient over the logits, so it gets a
copy of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from shapes import Shape
from timing import Run
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - PyTorch's own name for it

import lastlayer as ll
from lastlayer import selection

__all__ = ["BYTES", "FUNCTIONS", "OURS", "compiled", "contenders", "ours"]

OURS = "lastlayer"
FUNCTIONS = ("softmax", "log_softmax", "loss", "loss+gradient", "both ways")
BYTES = {
    "softmax": 2,
    "log_softmax": 2,
    "loss": 1,
    "loss+gradient": 2,
    "both ways": 2,
}  # x the logits, at least
LIGER_SOFTMAX = 65536  # classes at most

Loss = Callable[[Tensor, Tensor], Tensor]


def both_ways(loss: Loss, z: Tensor, y: Tensor) -> Run:
    """The loss and its gradient through autograd."""
    leaf = z.detach().requires_grad_()

    def run() -> tuple[Tensor, Tensor]:
        value = loss(leaf, y)
        value.backward()
        gradient, leaf.grad = leaf.grad, None
        assert gradient is not None
        return value.detach(), gradient

    return run


def ours(function: str, shape: Shape, z: Tensor, y: Tensor) -> Run:
    axis = shape.axis
    if function == "softmax":
        return lambda: ll.softmax(z, axis)
    if function == "log_softmax":
        return lambda: ll.log_softmax(z, axis)
    if function == "loss":
        return lambda: ll.cross_entropy(z, y, axis=axis)
    if function == "loss+gradient":
        return lambda: ll.cross_entropy_grad(z, y, axis=axis)
    return both_ways(lambda z, y: ll.cross_entropy(z, y, axis=axis), z, y)


def composed(run: Run) -> Run:
    """The same function by PyTorch's own operations."""

    def by_operations() -> Any:
        with selection.use("composed"):
            return run()

    return by_operations


def eager(function: str, shape: Shape, z: Tensor, y: Tensor) -> Run | None:
    if function == "softmax":
        return lambda: torch.softmax(z, shape.axis)
    if function == "log_softmax":
        return lambda: torch.log_softmax(z, shape.axis)
    if function == "loss":
        return lambda: F.cross_entropy(z, y)
    return both_ways(F.cross_entropy, z, y) if function == "both ways" else None


def as_it_is(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, y)


def in_float32(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z.float(), y)


def compiled(function: str, shape: Shape, z: Tensor, y: Tensor) -> dict[str, Run]:
    """Compiled for this shape alone; not yet called."""
    if function == "softmax":
        softmax = torch.compile(lambda z: torch.softmax(z, shape.axis), dynamic=False)
        return {"compile": lambda: softmax(z)}
    if function not in ("loss", "both ways"):
        return {}
    losses: dict[str, Loss] = {"compile": as_it_is}
    if z.dtype != torch.float32:
        losses["compile, float32"] = in_float32
    made = {name: torch.compile(loss, dynamic=False) for name, loss in losses.items()}
    if function == "both ways":
        return {name: both_ways(loss, z, y) for name, loss in made.items()}
    return {name: lambda loss=loss: loss(z, y) for name, loss in made.items()}  # type: ignore[misc]


def liger(function: str, shape: Shape, z: Tensor, y: Tensor) -> Run | None:
    if len(shape.dims) != 2 or z.device.type != "cuda":
        return None
    try:
        from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction
        from liger_kernel.ops.softmax import LigerSoftmaxFunction
    except Exception:  # absent, or made for another Triton
        return None
    if function == "softmax":
        return (lambda: LigerSoftmaxFunction.apply(z)) if shape.classes <= LIGER_SOFTMAX else None

    def loss(z: Tensor, y: Tensor) -> Any:
        found = LigerCrossEntropyFunction.apply(z, y, None, -100, 0.0, 0.0, "mean", None, False)
        return found[0] if isinstance(found, tuple) else found

    if function == "loss":
        own = z.clone()
        return lambda: loss(own, y)
    return both_ways(loss, z.clone(), y) if function == "both ways" else None


def contenders(
    function: str, shape: Shape, z: Tensor, y: Tensor, with_compile: bool, before: bool
) -> dict[str, Run]:
    """Everyone who computes a function; ``before``: also our own composed way."""
    found: dict[str, Run | None] = {OURS: ours(function, shape, z, y)}
    if before:
        found["composed"] = composed(ours(function, shape, z, y))
    found["eager"] = eager(function, shape, z, y)
    if with_compile:
        found |= compiled(function, shape, z, y)
    found["Liger"] = liger(function, shape, z, y)
    return {name: run for name, run in found.items() if run is not None}
