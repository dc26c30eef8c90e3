"""What logits that nobody has made are: a product, and what was done to it. In: an operation. Out: a recipe.

What may come between the product and a loss without need of the logits is known here: other shapes of the
rows, a selection of rows, float32, a scale, a softcap. `deferred` asks, and makes the logits where the answer
is None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lastlayer.errors import BackendError

if TYPE_CHECKING:
    from .deferred import Logits

__all__ = ["STEPS", "Head", "Recipe"]

_aten = torch.ops.aten


class Head:
    """The product that is not made: ``x @ weight.T + bias``."""

    def __init__(self, x: Tensor, weight: Tensor, bias: Tensor | None, memory: Any) -> None:
        self.parts = x, weight, bias
        self.memory = memory
        self.recorded = torch.is_grad_enabled()
        self.versions = self._versions()
        self.is_open = True  # whether a loss may go around the logits

    def _versions(self) -> list[int | None]:
        return [None if t is None or t.is_inference() else t._version for t in self.parts]

    def check(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The tensors, as they were when the logits were asked for."""
        if self.parts[1].untyped_storage().nbytes() == 0 < self.parts[1].numel():
            raise BackendError(
                "Logits: weight has been freed since; expected it to stay until a loss is taken; "
                "write fully_shard(head, reshard_after_forward=False)"
            )
        for name, now, then in zip(("x", "weight", "bias"), self._versions(), self.versions, strict=True):
            if now != then:
                raise BackendError(
                    f"Logits: {name} has been written to since; expected it as it was when the logits were "
                    "asked for; write logits.clone() before"
                )
        return self.parts


@dataclass(frozen=True)
class Recipe:
    """What some logits are: ``z = (rows(x) @ weight.T + bias) / divisor``, or ``factor tanh(z)``."""

    head: Head
    rows: tuple[Callable[[Tensor], Tensor], ...] = ()  # what has become of the axes before the last
    divisor: float = 1.0  # of the product
    factor: float = 1.0  # of its tanh
    capped: bool = False  # whether there is a tanh
    recorded: bool = True  # whether autograd saw all of this

    def features(self, x: Tensor) -> Tensor:
        for step in self.rows:
            x = step(x)
        return x

    @property
    def temperature(self) -> float:
        return self.divisor / self.factor

    @property
    def softcap(self) -> float | None:
        return self.divisor if self.capped else None


# --- what may come between the product and the loss ---------------------------------------------------------


def _same(z: Logits) -> Recipe:
    return z._recipe


def _view(z: Logits, shape: Any) -> Recipe | None:
    """Another shape of the rows."""
    found = torch.empty(z.shape, device="meta").view(shape).shape
    if not found or found[-1] != z.shape[-1]:
        return None
    return _rows(z, lambda x: x.reshape(*found[:-1], x.shape[-1]))


def _on_rows(func: Any) -> Callable[..., Recipe | None]:
    """A step for an operation along one axis, which may be any but the last."""

    def step(z: Logits, dim: int = 0, *args: Any) -> Recipe | None:
        axis = dim % z.ndim
        return None if axis == z.ndim - 1 else _rows(z, lambda x: func(x, axis, *args))

    return step


def _index(z: Logits, indices: Any) -> Recipe | None:
    """Rows chosen by tensors."""
    axes = sum(i.ndim if i is not None and i.dtype is torch.bool else 1 for i in indices)
    key = tuple(slice(None) if i is None else i.clone() for i in indices)
    return None if axes >= z.ndim else _rows(z, lambda x: x[key])


def _to_copy(z: Logits, *, dtype: Any = None, **others: Any) -> Recipe | None:
    """The same numbers in float32, which is the least that their loss is computed in."""
    same = others.get("device") in (None, z.device) and others.get("layout") in (None, z.layout)
    return z._recipe if same and z.dtype is not dtype is torch.float32 else None


def _times(z: Logits, factor: Any) -> Recipe | None:
    r = z._recipe
    if not _is_scale(factor):
        return None
    return replace(r, factor=r.factor * factor) if r.capped else replace(r, divisor=r.divisor / factor)


def _over(z: Logits, divisor: Any) -> Recipe | None:
    r = z._recipe
    if not _is_scale(divisor):
        return None
    return replace(r, factor=r.factor / divisor) if r.capped else replace(r, divisor=r.divisor * divisor)


def _is_scale(number: Any) -> bool:
    return type(number) in (int, float) and 0 < number < inf


def _tanh(z: Logits) -> Recipe | None:
    return None if z._recipe.capped else replace(z._recipe, capped=True)


def _rows(z: Logits, step: Callable[[Tensor], Tensor]) -> Recipe:
    return replace(z._recipe, rows=(*z._recipe.rows, step))


STEPS: dict[Any, Callable[..., Recipe | None]] = {
    _aten.alias.default: _same,
    _aten.detach.default: _same,
    _aten.view.default: _view,
    _aten._unsafe_view.default: _view,
    _aten.slice.Tensor: _on_rows(_aten.slice.Tensor),
    _aten.select.int: _on_rows(_aten.select.int),
    _aten.index.Tensor: _index,
    _aten._to_copy.default: _to_copy,
    _aten.mul.Tensor: _times,
    _aten.div.Tensor: _over,
    _aten.tanh.default: _tanh,
}
