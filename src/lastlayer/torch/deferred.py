"""Logits that nobody has made yet. In: features and weights. Out: a tensor, their product if it is looked at.

A loss of them needs no logits: it is `lastlayer.linear_cross_entropy` of what they would be made of. So a
model that returns `Logits`, and whatever takes its loss, stay as they are. What `recipes` does not know makes
the logits, and works on these: it costs their memory, and is right.

PyTorch asks a tensor of this kind at two levels. ``__torch_function__`` sees a loss before autograd does, and
hands it on with its features and weights. ``__torch_dispatch__`` sees all else after autograd did: whatever
is answered there, autograd knows how it is differentiated, back to the product, whose gradients are here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._pytree import tree_map_only

from lastlayer import functional
from lastlayer.errors import BackendError, LastlayerError
from lastlayer.row_stats import RowStats

from .arguments import dtype_of_loss
from .kernels import Options
from .recipes import STEPS, Head, Recipe

__all__ = ["Logits", "deferred", "made"]

# What asks for the gradient of logits, or for their memory: their loss has to look at them from then on.
_OPENERS = {
    Tensor.data.__get__,  # type: ignore[attr-defined]
    Tensor.register_hook,
    Tensor.retain_grad,
    Tensor.requires_grad_,
    Tensor.requires_grad.__set__,  # type: ignore[attr-defined]
}
# What asks neither autograd nor the dispatcher.
_READERS = {
    Tensor.__array__,
    Tensor.__deepcopy__,
    Tensor.__dlpack__,
    Tensor.__format__,
    Tensor.__reduce_ex__,
    Tensor.__repr__,
    Tensor.data_ptr,
    Tensor.numpy,
    Tensor.tolist,
    Tensor.untyped_storage,
}


class Logits(Tensor):
    """Logits (..., V) of a linear head, made as soon as something other than a loss needs them.

    They are what ``LinearHead`` returns. A loss of them, PyTorch's or one of this package, is computed from
    the head's features and weights; all else works as for any tensor.
    """

    _recipe: Recipe
    _make: Callable[[], Tensor]
    _whole: Tensor | None

    @staticmethod
    def __new__(cls, shape: Any, dtype: torch.dtype, device: torch.device) -> Logits:
        return Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=device)

    def whole(self) -> Tensor:
        """The logits, without a gradient; made once."""
        if self._whole is None:
            self._whole = self._make()
        return self._whole

    def is_written(self) -> bool:
        """Whether something has been written into these logits, or where nobody counts that."""
        return torch.is_inference_mode_enabled() or self._version > 0

    def through(self, function: Callable[..., Any], argument: Any, o: Options, **options: Any) -> Any:
        """What a function of the linear head finds of these logits, not made; None where they are needed."""
        recipe = self._recipe
        plain = recipe.temperature == 1.0 and not recipe.capped
        if not recipe.head.is_open or self.is_written() or o.axis not in (-1, self.ndim - 1):
            return None
        if self.requires_grad and not recipe.recorded:  # some autograd.Function has a gradient of its own
            return None
        if not plain and (o.softcap is not None or o.temperature != 1.0):
            return None
        options["temperature"] = o.temperature if plain else recipe.temperature
        options["softcap"] = o.softcap if plain else recipe.softcap
        x, weight, bias = recipe.head.check()
        if not self.requires_grad:
            x, weight, bias = x.detach(), weight.detach(), None if bias is None else bias.detach()
        try:
            with torch.autocast(x.device.type, enabled=False):  # the head was called with it, or without
                x = recipe.features(x)
                return function(x, weight, argument, bias=bias, max_memory=recipe.head.memory, **options)
        except LastlayerError as error:
            if "max_memory" in str(error):  # the logits would take more
                raise
            return None  # whoever looks at the logits says what is wrong in its own words

    def loss(self, y: Any, w: Any, s: Any, o: Options) -> Tensor | None:
        """The cross-entropy that ``o`` describes."""
        found: Tensor | None = self.through(
            functional.linear_cross_entropy,
            y,
            o,
            **_of_targets(w, s, o),
            z_loss=o.z_loss,
            reduction=o.reduction,
            denominator=o.denominator,
        )
        return found

    def row_stats(self, y: Any, w: Any, s: Any, o: Options) -> RowStats | None:
        """The statistics of rows that ``o`` describes."""
        found: RowStats | None = self.through(functional.linear_row_stats, y, o, **_of_targets(w, s, o))
        return found

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.cross_entropy:
            found = _cross_entropy(*args, **kwargs)
            if found is not None:
                return found
        elif func in _OPENERS or func in _READERS:
            args[0]._recipe.head.is_open = False
            if func in _READERS:
                args = made(args[0]), *args[1:]
        elif func is Tensor.contiguous and not args[1:] and not kwargs:
            return args[0]
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        step = STEPS.get(func)
        if step is not None and type(args[0]) is Logits and not args[0].is_written():
            recipe = step(args[0], *args[1:], **kwargs)
            if recipe is not None:
                return _derived(args[0], recipe, func, args[1:], kwargs)
        found = func(
            *tree_map_only(Logits, Logits.whole, args), **tree_map_only(Logits, Logits.whole, kwargs)
        )
        written = _written(func, args, kwargs)
        return found if written is None else written


def _of_targets(w: Any, s: Any, o: Options) -> dict[str, Any]:
    """What every function of targets takes."""
    return {
        "class_weight": w,
        "sample_weight": s,
        "ignore_index": o.ignore_index,
        "label_smoothing": o.label_smoothing,
    }


def _written(func: Any, args: Any, kwargs: Any) -> Logits | None:
    """The logits that an operation writes into, which are what it returns."""
    for i, argument in enumerate(func._schema.arguments if func._schema.is_mutable else ()):
        if argument.alias_info is not None and argument.alias_info.is_write:
            into = args[i] if i < len(args) else kwargs.get(argument.name)
            if type(into) is Logits:
                return into
    return None


class _Product(Function):
    """(x, weight, bias, head) -> logits, not made; differentiated as the product that they are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, head: Head) -> Logits:  # noqa: ARG004
        ctx.save_for_backward(x, weight)
        logits = Logits((*x.shape[:-1], weight.shape[0]), x.dtype, x.device)
        logits._recipe, logits._whole = Recipe(head, recorded=head.recorded), None
        logits._make = lambda: _product(head)
        return logits

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        dx, dw, db = ctx.needs_input_grad[:3]
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad @ weight if dx else None,
            rows.T @ x.reshape(-1, x.shape[-1]) if dw else None,
            rows.sum(0) if db else None,
            None,
        )


def deferred(x: Tensor, weight: Tensor, bias: Tensor | None, max_memory: Any = None) -> Logits:
    """``x @ weight.T + bias``, made when it is looked at."""
    if not torch.is_grad_enabled():
        x, weight, bias = x.detach(), weight.detach(), None if bias is None else bias.detach()
    return _Product.apply(x, weight, bias, Head(x, weight, bias, max_memory))  # type: ignore[no-any-return, no-untyped-call]


def _product(head: Head) -> Tensor:
    with torch.no_grad():
        return torch.nn.functional.linear(*head.check())


def _derived(z: Logits, recipe: Recipe, func: Any, args: Any, kwargs: Any) -> Logits:
    """What an operation makes of logits, not made either."""
    shape = z.shape
    if recipe.rows is not z._recipe.rows:
        shape = recipe.rows[-1](torch.empty(*shape[:-1], 1)).shape[:-1] + shape[-1:]
    new = Logits(shape, kwargs.get("dtype") or z.dtype, z.device)
    new._recipe = replace(recipe, recorded=recipe.recorded and torch.is_grad_enabled())
    new._whole = None
    is_view = func._schema.returns[0].alias_info is not None

    def make() -> Tensor:
        if z.is_written() and not is_view:  # it would have been computed before
            raise BackendError(
                f"Logits: they have been written to since {func.__name__}; expected them as they were; "
                "write logits.clone() before"
            )
        return func(z.whole(), *args, **kwargs)  # type: ignore[no-any-return]

    new._make = make
    return new


class _Look(Function):
    """logits -> the same, made: for what asks neither autograd nor the dispatcher."""

    @staticmethod
    def forward(ctx: Any, z: Logits) -> Tensor:  # noqa: ARG004
        return z.whole().detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:  # noqa: ARG004
        return grad


def made(x: Any) -> Any:
    """``x``, made if it is logits that are not."""
    return _Look.apply(x) if type(x) is Logits else x  # type: ignore[no-untyped-call]


# --- losses -------------------------------------------------------------------------------------------------


def _cross_entropy(
    input: Any,  # noqa: A002 - PyTorch's name
    target: Any,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor | None:
    """PyTorch's cross-entropy of logits that are not made; None where they are needed."""
    if type(input) is not Logits or input.ndim > 2 or not (size_average is None is reduce):
        return None
    if target.shape != input.shape[:-1] or target.is_floating_point():
        return None
    o = Options("cross_entropy", -1, ignore_index, label_smoothing, reduction=reduction)
    found = input.loss(target, weight, None, o)
    return None if found is None else found.to(dtype_of_loss(input))
