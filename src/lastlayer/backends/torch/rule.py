"""How a function is differentiated. In: the function and its derivatives. Out: tensors that autograd knows.

A `Rule` says what a function computes, what its backward pass needs, and the derivatives of it. `call` runs
one the cheapest way that the moment allows: without autograd where nothing is to be differentiated, as a
plain ``autograd.Function`` for ``backward()``, and as one that `torch.func` can transform inside its
transforms, which costs several times as much.

Backward passes keep the inputs and recompute the rest from them (softmax keeps its own result): never a copy
of the logits' size. Each is itself a rule, so derivatives of derivatives are rules or PyTorch's operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from .tensors import is_transformed, tracks, wide

__all__ = ["Rule", "along_rows", "call", "ones_of_rows"]


class Rule:
    """One function: subclasses give the static methods below; ``*args`` is always what ``run`` takes."""

    plain: type[Function]
    transformed: type[Function]

    run: Any  # (*args) -> Tensor
    composed: Any  # (*args) -> Tensor: the same in PyTorch's operations, for vmap
    saved: Any  # (args, output) -> tensors that backward and jvp need
    options: Any  # (args) -> what else they need
    backward: Any  # (ctx, grad) -> gradients of args
    jvp: Any  # (ctx, *tangents) -> tangent of the output

    @staticmethod
    def batched(size: int, in_dims: Any, args: Any) -> Any:  # noqa: ARG004
        """The output of a batch, along axis 0, without vmap; None: it has to be composed."""
        return None

    def __init_subclass__(cls) -> None:
        def keep(ctx: Any, inputs: Any, output: Any) -> None:
            tensors = cls.saved(inputs, output)
            ctx.save_for_backward(*tensors)
            if forward_ad._current_level >= 0 or is_transformed():
                ctx.save_for_forward(*tensors)
            ctx.options = cls.options(inputs)

        class Plain(Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                output = cls.run(*args)
                if forward_ad._current_level >= 0 and output._is_view():
                    output = output.clone()  # forward mode cannot tell whose view it is
                keep(ctx, args, output)
                return output

            backward = staticmethod(cls.backward)
            jvp = staticmethod(cls.jvp)

        class Transformed(Function):
            forward = staticmethod(cls.run)
            setup_context = staticmethod(keep)
            backward = staticmethod(cls.backward)
            jvp = staticmethod(cls.jvp)

            @staticmethod
            def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
                found = cls.batched(info.batch_size, in_dims, args)
                return (torch.vmap(cls.composed, in_dims=in_dims)(*args) if found is None else found), 0

        Plain.__name__ = Plain.__qualname__ = cls.__name__
        Transformed.__name__ = Transformed.__qualname__ = cls.__name__
        cls.plain, cls.transformed = Plain, Transformed


def call(rule: type[Rule], *args: Any) -> Any:
    """``rule.run(*args)``, differentiable where that is asked for."""
    if is_transformed():
        return rule.transformed.apply(*args)  # type: ignore[no-untyped-call]
    if tracks(*(x for x in args if isinstance(x, Tensor))):
        return rule.plain.apply(*args)  # type: ignore[no-untyped-call]
    return rule.run(*args)


def ones_of_rows(x: Tensor, axis: int) -> Tensor:
    """One for each row."""
    axis = axis % x.ndim
    return torch.ones(x.shape[:axis] + x.shape[axis + 1 :], dtype=wide(x.dtype), device=x.device)


def along_rows(unit: Tensor, tangent: Tensor, axis: int) -> Tensor:
    """<unit, tangent> in each row; 0 times infinity is 0."""
    dtype = wide(unit.dtype)
    return (unit.to(dtype) * tangent.to(dtype)).sum(axis)
