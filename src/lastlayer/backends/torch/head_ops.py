"""The linear head as an operation of PyTorch, ``torch.ops.lastlayer.linear_loss``: what its compilers see.

In: tensors and plain options. Out: the loss, and those of its gradients that are wanted, each of its
argument's size: a compiled graph holds no array of the logits' size. The gradients are computed with the
loss, and the backward pass multiplies them; it computes those that were not foreseen, and those of the
losses of rows. Errors of a call are raised when it runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from lastlayer import problem
from lastlayer.options import SCHEMA, Options

from . import head_small
from .head_autograd import composed_gradients
from .head_call import Call, is_narrow
from .targets import Target
from .tensors import is_batched, memory, shape_of, wide

__all__ = ["linear_loss", "linear_loss_backward"]

_TENSORS = 3 + len(Target._fields)  # of the arguments: x, weight, bias and a target's


def _call(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Call:
    """A call of the operation, without ``wanted``."""
    target, (*options, memory) = Target(*rest[: _TENSORS - 3]), rest[_TENSORS - 3 :]
    return Call(x, weight, bias, target, Options(*options), memory)


def _run(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    *options, wanted = rest
    call = _checked(x, weight, bias, *options)
    if call.in_loop() and head_small.is_small(call):
        value, grads = head_small.loss_and_gradients(call, wanted)
    elif call.in_loop():
        value, grads = call.run(call.checked(), wanted)
    else:  # an exported program, moved to a device
        value, grads = call.with_logits(wanted)
    dx, dweight, dbias = (x.new_empty(0) if g is None else g for g in grads)
    return value, dx, dweight, dbias


def _run_backward(grad: Tensor, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of ``grad`` times the loss, or of the rows' losses each times its number of ``grad``."""
    *options, wanted = rest
    call = _checked(x, *options)
    if call.in_loop():
        checked = call.checked()
        t = checked.targets
        assert t is not None
        if checked.reduction == "none":
            upstream = memory(grad.double())  # multiplies a row as its sample weight does
            s = upstream if t.sample_weight is None else upstream * t.sample_weight
            checked = checked._replace(targets=t._replace(sample_weight=s), reduction="sum")
        else:
            checked = checked._replace(scale=checked.scale * float(grad))
        _, grads = call.run(checked, wanted)
    else:
        _, grads = call.with_logits(wanted, grad)
    dx, dweight, dbias = (x.new_empty(0) if g is None else g for g in grads)
    return dx, dweight, dbias


def _checked(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> Call:
    """A call whose features and weights fit."""
    call = _call(x, weight, bias, *rest)
    b = None if bias is None else shape_of(bias)
    head = problem.head(call.options.function, shape_of(x), shape_of(weight), b, call.memory)
    return call._replace(memory=head.memory)


def _fake(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    none = _call(x, *rest[:-1]).options.reduction == "none"
    loss = x.new_empty(x.shape[:-1] if none else (), dtype=wide(x.dtype))
    return loss, *_fake_backward(loss, x, *rest)


def _fake_backward(
    _: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    dx, dweight, dbias = (
        x.new_empty(t.shape if on and t is not None else (0,))
        for t, on in zip((x, weight, bias), rest[-1], strict=True)
    )
    return dx, dweight, dbias


_ARGUMENTS = (
    "Tensor x, Tensor weight, Tensor? bias, Tensor y, Tensor? class_weight, Tensor? sample_weight, "
    "Tensor? probabilities, Tensor? rest, "
    f"{SCHEMA}, int shift, float? max_memory, bool[3] wanted"
)
_GRADIENTS = "Tensor dx, Tensor dweight, Tensor dbias"
for _name, _function, _shapes, _schema in (
    ("linear_loss", _run, _fake, f"({_ARGUMENTS}) -> (Tensor loss, {_GRADIENTS})"),
    ("linear_loss_backward", _run_backward, _fake_backward, f"(Tensor grad, {_ARGUMENTS}) -> ({_GRADIENTS})"),
):
    custom_op(f"lastlayer::{_name}", _function, mutates_args=(), schema=_schema).register_fake(_shapes)
linear_loss = torch.ops.lastlayer.linear_loss.default
linear_loss_backward = torch.ops.lastlayer.linear_loss_backward.default


def _setup(ctx: Any, inputs: Any, output: Any) -> None:
    grads = output[1:]
    ctx.mark_non_differentiable(*grads)
    ctx.set_materialize_grads(False)  # these outputs have no gradient of their own
    ctx.save_for_backward(*inputs[:_TENSORS], *grads)
    ctx.options, ctx.wanted = inputs[_TENSORS:-1], inputs[-1]


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> Any:
    *inputs, dx, dweight, dbias = ctx.saved_tensors
    others = (None,) * (len(inputs) + len(ctx.options) + 1 - 3)
    wanted = ctx.needs_input_grad[:3]
    if grad is None:
        return None, None, None, *others
    call = _call(*inputs, *ctx.options)
    later = call.options.reduction == "none" or is_narrow(call.x)
    if torch.is_grad_enabled() or (later and is_batched(grad)):  # double backward, or batched
        return *composed_gradients(call, {"loss": grad}, wanted), *others
    if later:
        grads = linear_loss_backward(grad, *inputs, *ctx.options, wanted)
        return *(g if on else None for g, on in zip(grads, wanted, strict=True)), *others
    grads = dx, dweight, dbias
    if any(on and not computed for on, computed in zip(wanted, ctx.wanted, strict=True)):
        grads = linear_loss(*inputs, *ctx.options, wanted)[1:]
    return *((g * grad).to(g.dtype) if on else None for g, on in zip(grads, wanted, strict=True)), *others


torch.library.register_autograd(linear_loss, _backward, setup_context=_setup)
