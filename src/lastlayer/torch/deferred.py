"""Deferred logits: computed only when needed. In: features and weights of a linear head. Out: lazy logits.

`deferred` returns the output of an autograd node as a lazy tensor. Operations that reshape, select or convert
it give lazy tensors again, which keep the product and the steps since then (`trail`). A cross-entropy of such
logits is computed by `deferred_losses` from the features and weights. All other operations materialize the
logits.

The autograd graph is that of ordinary logits: the loss is a node on the logits, and its gradient passes
through all nodes and hooks on the way to the head's node, `Product`. The gradient is a lazy tensor too
(`Gradient`). If it has not been materialized when it arrives, the gradients of features, weight and bias are
returned that were computed with the loss, tile by tile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from lastlayer.backends.torch.lazy import LazyTensor, Values, materialized
from lastlayer.backends.torch.tensors import is_kept_elsewhere
from lastlayer.problem import deferred_errors

from .trail import STEPS, VIEWS, Source, Step, Zeros, digest

__all__ = ["Gradient", "Logits", "deferred", "is_possible"]

_aten = torch.ops.aten


class Logits(LazyTensor):
    """Logits (..., V) of a linear head, computed only when an operation other than a loss needs them.

    ``LinearHead`` returns them. A cross-entropy of them, PyTorch's or this package's, is computed from the
    head's features and weights. Everything else works as with any tensor.
    """

    source: Source
    trail: Step | None  # the last step since the product
    product: Values  # x @ weight.T + bias, before any step

    def is_lazy(self) -> bool:
        """Whether the head's product is not materialized, and so cannot have been changed by the user."""
        return self.product.numbers is None

    def derived(self, func: Any, args: Any, kwargs: Any) -> Logits | None:
        step = STEPS.get(func)
        change = None if step is None or args[0] is not self else step(self, *args[1:], **kwargs)
        if change is None:
            return None
        values, rest = self.content, args[1:]
        if func not in (_aten.detach.default, _aten.alias.default):

            def compute() -> Tensor:
                return func(source.get(), *rest, **kwargs)  # type: ignore[no-any-return]

            source = values
            is_view = func in VIEWS or func._schema.returns[0].alias_info is not None
            values = Values(compute, view_of=source) if is_view else Values(compute, copy_of=(source,))
        trail = Step(self.trail, *change) if change else self.trail
        like = _on_meta(func, args, kwargs)
        return Logits.of(like, values, source=self.source, trail=trail, product=self.product)  # type: ignore[no-any-return]


def _on_meta(func: Any, args: Any, kwargs: Any) -> Tensor:
    """The result of an operation on the meta device: its shape, strides and dtype."""
    return func(  # type: ignore[no-any-return]
        *(a.like() if isinstance(a, LazyTensor) else a for a in args),
        **{name: a for name, a in kwargs.items() if name != "device"},
    )


class Gradient(LazyTensor):
    """The gradient of one or more losses with respect to deferred logits."""

    token: Any  # identifies the product
    trail: Step | None  # the steps from the product to the logits of this gradient
    terms: list[Callable[[Any], list[Tensor | None]]]  # of each loss: (wanted) -> dx, dweight, dbias

    def parts(self, wanted: Any) -> list[Tensor | None]:
        """The gradients of the head's features, weight and bias."""
        found = [term(wanted) for term in self.terms]
        return [functools.reduce(_plus, parts) for parts in zip(*found, strict=True)]

    def derived(self, func: Any, args: Any, kwargs: Any) -> LazyTensor | None:
        terms, trail = self.terms, self.trail
        if func is _aten.add.Tensor and not kwargs:
            a, b = args
            if not (type(a) is type(b) is Gradient and a.is_lazy() and b.is_lazy() and a.shape == b.shape):
                return None
            if a.token != b.token or a.trail is not b.trail or a.dtype is not b.dtype:
                return None
            terms = [*a.terms, *b.terms]
        elif func is _aten.new_zeros.default:
            size, dtype = args[1], self.dtype
            like = torch.empty(size, dtype=dtype, device="meta")
            return Zeros.of(like, Values(lambda: torch.zeros(size, dtype=dtype)))  # type: ignore[no-any-return]
        elif trail is not None and func in trail.backward and trail.fits(*args, **kwargs):
            trail = trail.before
        elif func is not _aten.detach.default and not (func in VIEWS and tuple(args[1]) == self.shape):
            return None
        given = [a.content if isinstance(a, LazyTensor) else a for a in args]  # no tensors: see `Values`

        def compute() -> Tensor:
            return func(*(a.get() if isinstance(a, Values) else a for a in given), **kwargs)  # type: ignore[no-any-return]

        sources = tuple(a for a in given if isinstance(a, Values))
        like = self.like() if func is _aten.add.Tensor else _on_meta(func, args, kwargs)
        values = Values(compute, copy_of=sources)
        return Gradient.of(like, values, token=self.token, trail=trail, terms=terms)  # type: ignore[no-any-return]


def _plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


class Product(Function):
    """(x, weight, bias, source) -> deferred logits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Any, source: Source) -> Logits:  # noqa: ARG004
        ctx.save_for_backward(x, weight)
        ctx.product_token = source.token
        ctx.digests = None if is_kept_elsewhere() else source.digests  # hooks may return rounded tensors
        like = torch.empty(*x.shape[:-1], weight.shape[0], dtype=x.dtype, device="meta")
        values = Values(source.product)
        return Logits.of(like, values, source=source, trail=None, product=values)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, weight = ctx.saved_tensors  # raises an error if they have been written to
        wanted = ctx.needs_input_grad[:3]
        if (
            type(grad) is Gradient
            and grad.is_lazy()
            and grad.trail is None
            and grad.token == ctx.product_token
        ):
            return *grad.parts(wanted), None
        grad = materialized(grad)
        if ctx.digests is not None and not torch.is_grad_enabled():
            for name, t, noted in zip(("x", "weight"), (x, weight), ctx.digests, strict=False):
                if digest(t) != noted:
                    deferred_errors.written(name)
        rows = grad.reshape(-1, grad.shape[-1])
        return (
            grad @ weight if wanted[0] else None,
            rows.T @ x.reshape(-1, x.shape[-1]) if wanted[1] else None,
            rows.sum(0) if wanted[2] else None,
            None,
        )


def deferred(x: Tensor, weight: Tensor, bias: Tensor | None, max_memory: Any = None) -> Logits:
    """``x @ weight.T + bias`` as deferred logits."""
    return Product.apply(x, weight, bias, Source(x, weight, bias, max_memory))  # type: ignore[no-any-return, no-untyped-call]


@functools.cache
def is_possible() -> bool:
    """Whether lazy tensors work in this version of PyTorch; they use some of its private functions."""
    try:
        t = LazyTensor.of(torch.empty(2, device="meta"), Values(lambda: torch.ones(2)))
        works = t.is_cpu and (t + 1).tolist() == [2.0, 2.0]
        with torch._C.DisableTorchFunctionSubclass():
            t.data_ptr()  # as C code does; it has to raise
    except RuntimeError as error:
        return "data pointer" in str(error) and works
    except (AttributeError, TypeError):
        return False
    return False
