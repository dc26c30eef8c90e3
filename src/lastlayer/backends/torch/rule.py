"""How a function is differentiated. In: the function and its derivatives. Out: differentiable tensors.

A `Rule` has the value of a function, the tensors to save for its backward pass, and its derivatives. `call`
computes it in the cheapest of three ways: without autograd if no gradient is needed; as a plain
``autograd.Function`` for ``backward()``; as one with ``setup_context`` inside `torch.func`, which costs
several times as much.

For a backward pass the inputs are saved and the rest is computed again (softmax saves its own result): no
further copy of the logits' size is kept. A backward pass is itself a rule, or consists of PyTorch's
operations, and so has derivatives too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from .tensors import is_transformed, tracks, wide

__all__ = ["Rule", "along_rows", "call", "ones_of_rows"]


class Rule:
    """One function. Subclasses define the static methods below; ``*args`` are the arguments of ``run``."""

    plain: type[Function]
    transformed: type[Function]

    run: Any  # (*args) -> Tensor
    composed: Any  # (*args) -> Tensor: the same by PyTorch's operations, for vmap
    saved: Any  # (args, output) -> the tensors that backward and jvp need
    run_and_keep: Any = None  # (*args) -> Tensor, and more tensors for backward; None: `run` alone
    options: Any  # (args) -> the other arguments that they need
    backward: Any  # (ctx, grad) -> gradients of args
    jvp: Any  # (ctx, *tangents) -> tangent of the output

    @staticmethod
    def batched(size: int, in_dims: Any, args: Any) -> Any:  # noqa: ARG004
        """The output of a batch, along axis 0, computed without vmap; None: use vmap on ``composed``."""
        return None

    def __init_subclass__(cls) -> None:
        def keep(ctx: Any, inputs: Any, output: Any, more: Any = ()) -> None:
            tensors = (*cls.saved(inputs, output), *more)
            ctx.save_for_backward(*tensors)
            if forward_ad._current_level >= 0 or is_transformed():
                ctx.save_for_forward(*tensors)
            ctx.options = cls.options(inputs)

        class Plain(Function):
            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                output, more = (cls.run(*args), ()) if cls.run_and_keep is None else cls.run_and_keep(*args)
                if forward_ad._current_level >= 0 and output._is_view():
                    output = output.clone()  # forward mode allows no views whose base is not an input
                keep(ctx, args, output, more)
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
    """``rule.run(*args)``, differentiable if a gradient is needed."""
    if is_transformed():
        return rule.transformed.apply(*args)  # type: ignore[no-untyped-call]
    if tracks(*(x for x in args if isinstance(x, Tensor))):
        return rule.plain.apply(*args)  # type: ignore[no-untyped-call]
    return rule.run(*args)


def ones_of_rows(x: Tensor, axis: int) -> Tensor:
    """Ones in the shape of the rows."""
    axis = axis % x.ndim
    return torch.ones(x.shape[:axis] + x.shape[axis + 1 :], dtype=wide(x.dtype), device=x.device)


def along_rows(unit: Tensor, tangent: Tensor, axis: int) -> Tensor:
    """<unit, tangent> of each row."""
    dtype = wide(unit.dtype)
    return (unit.to(dtype) * tangent.to(dtype)).sum(axis)
