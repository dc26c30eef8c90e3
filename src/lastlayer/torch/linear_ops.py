"""The linear head as an operation of PyTorch, ``torch.ops.lastlayer.linear_loss``: what its compilers see.

In: tensors and plain options. Out: the loss, and those of its gradients that are wanted, each of its
argument's size: nothing of the logits' size is in a traced program. The gradients are computed with the
loss, and the backward pass multiplies them; it computes those that were not foreseen. What is wrong with a
call is raised when it runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from lastlayer import problem

from . import kernels
from .linear import _Call
from .losses import Target
from .tensors import shape_of, wide

__all__ = ["linear_loss"]

_Options = kernels.Options


def _call(x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor, w: Any, s: Any, *options: Any) -> _Call:
    """A call of the operation, without ``wanted``."""
    *said, memory = options
    return _Call(x, weight, bias, Target(y, w, s), _Options(*said), memory)


def _run(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *rest, wanted = rest  # type: ignore[assignment]
    call = _call(x, weight, bias, *rest)
    b = None if bias is None else shape_of(bias)
    head = problem.head(call.options.function, shape_of(x), shape_of(weight), b, call.memory)
    call = call._replace(memory=head.memory)
    if call.in_loop():
        value, grads = call.run(call.checked(), wanted)
    else:  # an exported program, moved to a device
        value, grads = call.with_logits(wanted)
    dx, dweight, dbias = (x.new_empty(0) if g is None else g for g in grads)
    return value, dx, dweight, dbias


def _fake(
    x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wanted = rest[-1]
    dx, dweight, dbias = (
        x.new_empty(t.shape if on and t is not None else (0,))
        for t, on in zip((x, weight, bias), wanted, strict=True)
    )
    return x.new_empty((), dtype=wide(x.dtype)), dx, dweight, dbias


_SCHEMA = (
    "(Tensor x, Tensor weight, Tensor? bias, Tensor y, Tensor? class_weight, Tensor? sample_weight, "
    "str function, int axis, SymInt? ignore_index, float label_smoothing, float temperature, float? softcap, "
    "float z_loss, str reduction, float? denominator, int shift, float? max_memory, bool[3] wanted)"
    " -> (Tensor loss, Tensor dx, Tensor dweight, Tensor dbias)"
)
_operation = custom_op("lastlayer::linear_loss", _run, mutates_args=(), schema=_SCHEMA)
_operation.register_fake(_fake)
linear_loss = torch.ops.lastlayer.linear_loss.default


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    grads = output[1:]
    ctx.mark_non_differentiable(*grads)
    ctx.set_materialize_grads(False)  # there are none of these
    ctx.save_for_backward(*inputs[:6], *grads)
    ctx.options, ctx.wanted = inputs[6:-1], inputs[-1]


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> Any:
    x, weight, bias, y, w, s, *grads = ctx.saved_tensors
    nothing = (None,) * (3 + len(ctx.options) + 1)
    wanted = ctx.needs_input_grad[:3]
    if grad is None:
        return None, None, None, *nothing
    if torch.is_grad_enabled():  # to be differentiated again
        x, weight, bias = x.view_as(x), weight.view_as(weight), None if bias is None else bias.view_as(bias)
        value = _call(x, weight, bias, y, w, s, *ctx.options).composed()
        asked = [t for t, on in zip((x, weight, bias), wanted, strict=True) if on and t is not None]
        found = iter(torch.autograd.grad(value, asked, grad, create_graph=True))
        return *(next(found) if on else None for on in wanted), *nothing
    if any(on and not made for on, made in zip(wanted, ctx.wanted, strict=True)):
        grads = linear_loss(x, weight, bias, y, w, s, *ctx.options, wanted)[1:]
    return *((g * grad).to(g.dtype) if on else None for g, on in zip(grads, wanted, strict=True)), *nothing


torch.library.register_autograd(linear_loss, _backward, setup_context=_setup)
