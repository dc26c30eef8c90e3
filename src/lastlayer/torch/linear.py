"""The linear head on tensors. In: what `functional` was given. Out: tensors that autograd knows.

In CPU memory it is the loop of `lastlayer.linear`, with PyTorch's products. Where gradients are asked for,
it computes them with the loss, and the first backward pass hands them out: they are of the arguments'
size, not of the logits'. Values of each row are for `linear_rows`. A compiler sees one operation
(`linear_ops`) that returns both loss and gradients. What the loop cannot do (gradients for weights or for
targets; derivatives of derivatives; devices, transforms) is composed of ``x @ weight.T`` and the functions of
logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lastlayer import best, passes, problem
from lastlayer.errors import DtypeError
from lastlayer.problem import Head, Problem
from lastlayer.row_stats import RowStats

from . import calls, kernels, linear_rows
from .kernels import Options
from .losses import Target
from .products import TorchProducts
from .tensors import as_tensor, from_memory, in_memory, is_transformed, is_watched, shape_of, tracks

__all__ = ["loss", "loss_and_gradients", "row_stats", "top_k"]


class _Call(NamedTuple):
    """One call: its tensors and what was said besides."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    target: Target | None
    options: Options
    memory: int | None

    @property
    def like_logits(self) -> Tensor:
        """A tensor of the logits' shape, in no memory."""
        return self.x.new_zeros(()).expand(*self.x.shape[:-1], self.weight.shape[0])

    def in_loop(self) -> bool:
        """Whether the loop can compute the values of this call."""
        others = [t for t in (self.weight, self.bias, *(self.target or ())) if t is not None]
        if torch.compiler.is_compiling() or any(is_watched(t) for t in (self.x, *others)):
            return False
        return kernels.on_core(self.x) and all(in_memory(t) for t in others)

    def in_program(self) -> bool:
        """Whether the loss is to be one operation of a program that a compiler, or a mode, looks at."""
        tensors = [t for t in (*self[:3], *(self.target or ())) if t is not None]
        return (
            any(is_watched(t) for t in tensors)
            and all(t.device.type == "cpu" for t in tensors)
            and kernels.BUILT
            and self.target is not None
            and forward_ad._current_level < 0
            and not is_transformed()
        )

    def operation(self) -> Tensor:
        """The loss as one operation, which computes the gradients with it."""
        o, total = self.options, self.options.denominator
        if isinstance(total, Tensor):  # an option is a plain number
            value = self._replace(options=replace(o, reduction="sum", denominator=None)).operation()
            return torch.where(total == 0, 0.0, value / torch.where(total == 0, 1, total))
        assert self.target is not None
        recorded = torch.is_grad_enabled() and not torch.compiler.is_exporting()  # most never train
        recorded &= o.reduction != "none" and not is_narrow(self.x)  # the backward pass knows more
        wanted = [recorded and t is not None and t.requires_grad for t in self[:3]]
        numbers = [None if v is None else float(v) for v in (o.softcap, o.z_loss, total, self.memory)]
        softcap, z_loss, total, memory = numbers
        found: Tensor = torch.ops.lastlayer.linear_loss.default(
            *self[:3], *self.target, o.function, o.axis, o.ignore_index, float(o.label_smoothing),
            float(o.temperature), softcap, z_loss, o.reduction, total, o.shift, memory, wanted,
        )[0]  # fmt: skip
        return found

    def checked(self) -> Problem:
        """The problem, in canonical form."""
        if self.target is None:
            return problem.without_targets(kernels._scores(self.like_logits, self.options))
        return kernels.resolve(self.like_logits, self.target, self.options)

    def parts(self) -> tuple[Head, TorchProducts]:
        """What the loop works on."""
        x, weight, bias = (None if t is None else t.detach() for t in self[:3])
        assert x is not None
        return Head(x, weight, bias, self.memory), TorchProducts(x.dtype)

    def run(
        self, checked: Problem, wanted: Any, stats: list[RowStats] | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The loss and the gradients that are wanted, by the loop; statistics into the list, if given."""
        head, products = self.parts()
        if stats is None:
            found = passes.loss_and_gradients(head, checked, wanted, products)
            return from_memory(found.loss), found.gradients
        value, grads, rows = passes.with_row_stats(head, checked, wanted, products)
        stats.append(rows)
        return from_memory(value), grads

    def logits(self) -> Tensor:
        """``x @ weight.T + bias``; for the gradients' sake ignored rows that are not finite are zeros."""
        x = self.x
        if self.target is not None:
            y, _, s, *_ = self.target
            index, ignored = self.options.ignore_index, None
            if y.ndim == x.ndim - 1 and index is not None:
                ignored = y == index
            if s is not None:
                none = (s == 0).expand(x.shape[:-1])
                ignored = none if ignored is None else ignored | none
            if ignored is not None:
                x = torch.where((ignored & ~x.isfinite().all(-1)).unsqueeze(-1), 0.0, x)
        return torch.nn.functional.linear(x, self.weight, self.bias)

    def composed(self) -> Tensor:
        """The loss, from its logits."""
        call = self.aligned()
        assert call.target is not None
        return calls.loss_of(call.logits(), call.target, call.options)

    def with_logits(self, wanted: Any, height: Tensor | None = None) -> tuple[Tensor, list[Tensor | None]]:
        """What `run` gives, from its logits; of the sum of ``height`` times each row's loss, if given."""
        call = self.aligned()
        assert call.target is not None
        x, weight, bias = call.x, call.weight, call.bias
        z = call.logits()
        value, g = calls.loss_and_gradient_of(z, call.target, call.options)
        if height is not None:
            g = kernels.loss_gradient(height, z, call.target, call.options)
        g = g.reshape(-1, g.shape[-1])
        rows = x.reshape(-1, x.shape[-1])
        rows = torch.where((g.detach() != 0).any(1, keepdim=True), rows, 0.0)  # ignored rows may hold NaN
        return value, [
            (g @ weight).reshape(x.shape) if wanted[0] else None,
            g.T @ rows if wanted[1] else None,
            g.sum(0) if wanted[2] and bias is not None else None,
        ]

    def aligned(self) -> _Call:
        """The same call with each target at its row's own position, for what knows of no shift."""
        o, target = self.options, self.target
        if target is None or (type(o.shift) is int and o.shift == 0):
            return self._replace(options=replace(o, shift=0))
        if self.in_loop():
            self.checked()  # what is wrong is said of the targets as they were given
        elif not torch.compiler.is_compiling():
            kernels.form_of(self.like_logits, target, replace(o, shift=0))
        y, w, s, p, rest = target
        rows = self.x.shape[:-1]
        shift = problem.shift_of(o.function, rows, o.shift)
        s = self.x.new_ones(rows, dtype=torch.float32) if s is None else s.expand(rows)
        rest = None if rest is None else rest.expand(rows)

        def later(t: Tensor) -> Tensor:
            return _later(t, len(rows) - 1, shift)

        p, rest = (None if t is None else later(t) for t in (p, rest))
        return self._replace(target=Target(later(y), w, later(s), p, rest), options=replace(o, shift=0))


class _Loss(Function):
    """(x, weight, bias, call, problem, stats) -> loss; its gradients are computed with it."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        call: _Call,
        checked: Problem,
        stats: list[RowStats] | None,
    ) -> Tensor:
        later = is_narrow(x) or _is_kept_elsewhere()
        wanted = (False, False, False) if later else ctx.needs_input_grad[:3]
        value, grads = call.run(checked, wanted, stats)
        ctx.grads = grads if any(wanted) else None
        ctx.save_for_backward(x, weight, bias)
        nothing: Any = None  # autograd keeps the tensors
        ctx.call, ctx.checked = call._replace(x=nothing, weight=nothing, bias=nothing), checked
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        wanted, saved = ctx.needs_input_grad[:3], ctx.saved_tensors  # which raises if they have changed
        if torch.is_grad_enabled():  # to be differentiated again
            inputs = [None if t is None else t.view_as(t) for t in saved]
            x, weight, bias = inputs
            value = ctx.call._replace(x=x, weight=weight, bias=bias).composed()
            asked = [t for t, on in zip(inputs, wanted, strict=True) if on and t is not None]
            found = iter(torch.autograd.grad(value, asked, grad, create_graph=True))
            return *(next(found) if on else None for on in wanted), None, None, None
        grads, ctx.grads = ctx.grads, None  # given away: whoever has them may write to them
        if grads is None:
            x, weight, bias = saved
            checked: Problem = ctx.checked
            if is_narrow(x) and in_memory(grad):
                checked, grad = checked._replace(scale=checked.scale * float(grad)), grad.new_ones(())
            _, grads = ctx.call._replace(x=x, weight=weight, bias=bias).run(checked, wanted)
        if not in_memory(grad):  # many at once
            return *(None if g is None else g * grad for g in grads), None, None, None
        if grad != 1.0:
            grads = [None if g is None else g.mul_(grad) for g in grads]
        return *grads, None, None, None


def is_narrow(x: Tensor) -> bool:
    """Whether gradients may vanish unless they are scaled before they are rounded: those of float16.

    Who trains in it multiplies the loss with a large number, which only the backward pass knows.
    """
    return x.dtype is torch.float16


def _is_kept_elsewhere() -> bool:
    """Whether someone decides what is kept from forward to backward: activation checkpointing, offloading.

    What is kept then is not for long, or not here: gradients are computed when the backward pass asks.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


# --- calls --------------------------------------------------------------------------------------------------


def loss(
    function: str,
    x: Tensor,
    weight: Any,
    y: Any,
    bias: Any,
    max_memory: Any,
    canon: Any,
    rest: Any,
    with_stats: bool = False,
) -> Any:
    """``lastlayer.linear_cross_entropy``."""
    call = _call(function, x, weight, y, bias, max_memory, canon, rest)
    stats: list[RowStats] | None = [] if with_stats else None
    value = _value(call, stats)
    if not with_stats:
        return value
    return value, linear_rows.constant_stats(call, stats[0]) if stats else _composed_stats(call, True)


def _value(call: _Call, stats: list[RowStats] | None) -> Tensor:
    """The loss; if the loop finds the rows' statistics too, they are put into the list."""
    assert call.target is not None
    if not calls._only_scores(*call.target):
        return call.composed()
    if call.in_program():
        return call.operation()
    if not call.in_loop():
        return call.composed()
    if not tracks(call.x, call.weight, call.bias):
        return call.run(call.checked(), (False, False, False), stats)[0]
    if forward_ad._current_level >= 0:
        return call.composed()
    if call.options.reduction == "none":
        return linear_rows.losses(call, call.checked(), stats)
    return _Loss.apply(call.x, call.weight, call.bias, call, call.checked(), stats)  # type: ignore[no-any-return, no-untyped-call]


def loss_and_gradients(
    function: str,
    x: Tensor,
    weight: Any,
    y: Any,
    bias: Any,
    max_memory: Any,
    canon: Any,
    rest: Any,
    with_stats: bool = False,
) -> Any:
    """``lastlayer.linear_cross_entropy_grad``."""
    call = _call(function, x, weight, y, bias, max_memory, canon, rest)
    assert call.target is not None
    if call.in_loop() and not tracks(call.x, call.weight, call.bias, *call.target):
        stats: list[RowStats] | None = [] if with_stats else None
        value, grads = call.run(call.checked(), (True, True, True), stats)
        return (value, tuple(grads), *(linear_rows.constant_stats(call, found) for found in stats or ()))
    value, grads = call.with_logits((True, True, True))
    return (value, tuple(grads), *((_composed_stats(call, True),) if with_stats else ()))


def row_stats(
    function: str, x: Tensor, weight: Any, y: Any, bias: Any, max_memory: Any, canon: Any, rest: Any
) -> RowStats:
    """``lastlayer.linear_row_stats``."""
    call = _call(function, x, weight, y, bias, max_memory, canon, rest)
    if not call.in_loop() or tracks(*(call.target or ())) or forward_ad._current_level >= 0:
        return _composed_stats(call)
    head, products = call.parts()
    checked = call.checked()
    found = passes.row_stats(head, checked, products)
    if tracks(call.x, call.weight, call.bias):
        return linear_rows.row_stats(call, checked, found)
    return linear_rows.constant_stats(call, found)


def _composed_stats(call: _Call, constant: bool = False) -> RowStats:
    """The statistics of each row, from the logits."""
    call = call.aligned()
    o = replace(call.options, z_loss=0.0, reduction="none", denominator=None)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not constant):
        return calls.row_stats_of(call.logits(), call.target, o)


def top_k(
    function: str, x: Tensor, weight: Any, k: Any, bias: Any, max_memory: Any, canon: Any
) -> tuple[Tensor, Tensor]:
    """``lastlayer.linear_top_k``."""
    weight, bias = (t.detach() if isinstance(t, Tensor) else t for t in (weight, bias))
    call = _call(function, x.detach(), weight, None, bias, max_memory, canon, _NOTHING)
    if not call.in_loop():
        return kernels.top_k(call.logits(), k, call.options)
    head, products = call.parts()
    checked = call.checked()
    labels, probabilities = best.top_k(head, checked, problem.top(checked.scores, k), products)
    return from_memory(labels), from_memory(probabilities)


_NOTHING = (None, None, -100, 0.0, 0.0, "none", None, 0)  # options of targets where there are none


def _call(
    function: str, x: Tensor, weight: Any, y: Any, bias: Any, max_memory: Any, canon: Any, rest: Any
) -> _Call:
    """The tensors of a call where ``x`` is, checked by their shapes and dtypes."""
    w, s, ignore_index, label_smoothing, z_loss, reduction, denominator, shift = rest
    temperature, softcap = canon
    options = Options(
        function,
        -1,
        ignore_index,
        label_smoothing,
        temperature,
        softcap,
        z_loss,
        reduction,
        denominator,
        shift,
    )
    x = calls._scores(function, x)
    weight = as_tensor(function, "weight", weight, x)
    bias = None if bias is None else as_tensor(function, "bias", bias, x)
    if torch.is_autocast_enabled(x.device.type):
        x, weight = _for_autocast(x), _for_autocast(weight)
        bias = None if bias is None else _for_autocast(bias)
    for name, part in (("weight", weight), ("bias", bias)):
        if part is not None and part.dtype is not x.dtype:
            raise DtypeError(f"{function}: {name} is of dtype {part.dtype}; expected {x.dtype}, as x is")
    memory = max_memory
    if not torch.compiler.is_compiling():
        b = None if bias is None else shape_of(bias)
        memory = problem.head(function, shape_of(x), shape_of(weight), b, max_memory).memory
    call = _Call(x, weight, bias, None, options, memory)
    if y is None:
        return call
    return call._replace(target=calls._arguments(call.like_logits, y, w, s, options)[1])


def _later(a: Tensor, axis: int, shift: int) -> Tensor:
    """What lies ``shift`` places further along an axis, and zeros after its end."""
    if shift == 0 or axis < 0:
        return a
    later = a[(slice(None),) * axis + (slice(shift, None),)]
    missing = a.shape[axis] - later.shape[axis]
    shape = (*a.shape[:axis], missing, *a.shape[axis + 1 :])
    return torch.cat([later, a.new_zeros(shape)], axis)


def _for_autocast(t: Tensor) -> Tensor:
    """A tensor in the dtype that autocast multiplies in."""
    return t if t.dtype is torch.float64 else t.to(torch.get_autocast_dtype(t.device.type))
