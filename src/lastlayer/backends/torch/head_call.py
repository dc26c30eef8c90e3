"""A call of the linear head on tensors, and the ways to compute it. In: what a caller passed. Out: tensors.

By the loop of `lastlayer.linear.loop`, in CPU memory; as one operation of a compiled graph (`head_ops`); or
composed of ``x @ weight.T`` and the functions of logits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer import problem, selection
from lastlayer.backends.core.tiles import CoreTileBackend
from lastlayer.linear import run
from lastlayer.linear.run import PendingGradients
from lastlayer.options import Given, Options
from lastlayer.problem import Head, Problem, tensor_errors
from lastlayer.row_statistics import RowStats

from . import canonical, entry, kernels
from . import number_options as numbers
from .array_ops import TorchOps
from .choice import on_core
from .targets import Target, effective
from .tensors import as_tensor, from_memory, in_memory, is_autocast, is_transformed, is_watched, shape_of

__all__ = ["Call", "HeadArrays", "call_of", "for_autocast", "is_narrow"]


HeadArrays = tuple[Any, Any, Any, Any]  # x, weight, bias, max_memory: the head of a call, unchecked


class Call(NamedTuple):
    """One call: its tensors and its options."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    target: Target | None
    options: Options
    memory: int | None

    @property
    def like_logits(self) -> Tensor:
        """A tensor of the logits' shape that takes no memory."""
        return self.x.new_zeros(()).expand(*self.x.shape[:-1], self.weight.shape[0])

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """Every tensor of the call: a backward pass that reads them again has autograd save them."""
        return (*self[:3], *(self.target or ()))

    def without_tensors(self) -> Call:
        """The call without its tensors: those are kept by autograd."""
        none: Any = None
        return self._replace(x=none, weight=none, bias=none, target=None)

    def of(self, tensors: Any) -> Call:
        """The same call with these ``tensors``."""
        x, weight, bias, *target = tensors
        return self._replace(x=x, weight=weight, bias=bias, target=Target(*target) if target else None)

    def in_loop(self) -> bool:
        """Whether the loop can compute the values of this call."""
        others = [t for t in (self.weight, self.bias, *(self.target or ())) if t is not None]
        if not numbers.are_read(self.options):
            return False
        if torch.compiler.is_compiling() or any(is_watched(t) for t in (self.x, *others)):
            return False
        return on_core(self.x) and all(in_memory(t) for t in others)

    def in_program(self) -> bool:
        """Whether the loss is to be one operation: of a compiled graph, or seen by a dispatch mode."""
        tensors = [t for t in (*self[:3], *(self.target or ())) if t is not None]
        return (
            any(is_watched(t) for t in tensors)
            and all(t.device.type == "cpu" for t in tensors)
            and selection.native_tensors
            and self.target is not None
            and numbers.are_read(self.options)
            and forward_ad._current_level < 0
            and not is_transformed()
        )

    def operation(self) -> Tensor:
        """The loss as one operation, which computes the gradients with it."""
        o = self.options
        assert self.target is not None
        recorded = torch.is_grad_enabled() and not torch.compiler.is_exporting()  # few of these train
        recorded &= o.reduction != "none" and not is_narrow(self.x)  # unknown before the backward pass
        wanted = [recorded and t is not None and t.requires_grad for t in self[:3]]
        memory = None if self.memory is None else float(self.memory)
        found: Tensor = torch.ops.lastlayer.linear_loss.default(
            *self[:3], *self.target, *numbers.as_floats(o), memory, wanted
        )[0]
        return found

    def checked(self) -> Problem:
        """The problem, in canonical form."""
        if self.target is None:
            return problem.without_targets(canonical.scores_in_memory(self.like_logits, self.options))
        return canonical.resolve(self.like_logits, self.target, self.options)

    def parts(self) -> tuple[Head, CoreTileBackend]:
        """The head that the loop computes with, and the backend of its tiles."""
        x, weight, bias = (None if t is None else t.detach() for t in self[:3])
        assert x is not None
        backend = CoreTileBackend(TorchOps(x.dtype), torch.get_num_threads())
        return Head(x, weight, bias, self.memory), backend

    def run(
        self, checked: Problem, wanted: Any, stats: list[RowStats] | None = None
    ) -> tuple[Tensor, list[Tensor | None]]:
        """The loss and the gradients that are wanted, by the loop; statistics into the list, if given."""
        head, backend = self.parts()
        if stats is None:
            found = run.loss_and_gradients(head, checked, wanted, backend)
            return from_memory(found.loss), found.gradients
        value, grads, rows = run.with_row_stats(head, checked, wanted, backend)
        stats.append(rows)
        return from_memory(value), grads

    def begin(
        self, checked: Problem, wanted: Any
    ) -> tuple[Tensor, list[Tensor | None], PendingGradients | None]:
        """What `run` returns; gradients are left pending where all tiles can be kept for a backward pass."""
        head, backend = self.parts()
        found = run.loss_and_gradients(head, checked, wanted, backend, defer=True)
        return from_memory(found.loss), found.gradients, found.pending

    def logits(self) -> Tensor:
        """``x @ weight.T + bias``; inactive rows with infinities become zeros: no gradient is NaN."""
        x = self.x
        if self.target is not None:
            y, w, s, *_ = self.target
            index, inactive = self.options.ignore_index, []
            if y.ndim == x.ndim - 1 and index is not None:
                inactive.append(y == index)
            if s is not None:
                inactive.append((s == 0).expand(x.shape[:-1]))
            if w is not None or y.ndim == x.ndim:  # t may be 0 throughout
                like, o = self.like_logits, self.options
                e = effective(like, self.target, canonical.form_of(like, self.target, o))
                if e.all_zero is not None:
                    inactive.append(e.all_zero.squeeze(-1) & (o.z_loss == 0))
            for rows in inactive:
                x = torch.where((rows & ~x.isfinite().all(-1)).unsqueeze(-1), 0.0, x)
        return torch.nn.functional.linear(x, self.weight, self.bias)

    def composed(self) -> Tensor:
        """The loss, from its logits."""
        call = self.aligned()
        assert call.target is not None
        return entry.loss_of(call.logits(), call.target, call.options)

    def with_logits(self, wanted: Any, grad: Tensor | None = None) -> tuple[Tensor, list[Tensor | None]]:
        """What `run` returns, from its logits; gradients times ``grad``, a number or one a row, if given."""
        call = self.aligned()
        assert call.target is not None
        x, weight, bias = call.x, call.weight, call.bias
        z = call.logits()
        value, g = entry.loss_and_gradient_of(z, call.target, call.options)
        if grad is not None:
            g = kernels.loss_gradient(grad, z, call.target, call.options)
        g = g.reshape(-1, g.shape[-1])
        rows = x.reshape(g.shape[0], x.shape[-1])
        rows = torch.where((g.detach() != 0).any(1, keepdim=True), rows, 0.0)  # inactive rows may hold NaN
        return value, [
            (g @ weight).reshape(x.shape) if wanted[0] else None,
            g.T @ rows if wanted[1] else None,
            g.sum(0) if wanted[2] and bias is not None else None,
        ]

    def aligned(self) -> Call:
        """The same call with a shift of 0: each target at its row's own position."""
        o, target = self.options, self.target
        if target is None or (type(o.shift) is int and o.shift == 0):
            return self._replace(options=o._replace(shift=0))
        if self.in_loop():
            self.checked()  # so that errors name the targets as they were given
        elif not torch.compiler.is_compiling():
            canonical.form_of(self.like_logits, target, o._replace(shift=0))
        y, w, s, p, rest = target
        rows = self.x.shape[:-1]
        shift = problem.shift_of(o.function, rows, o.shift)
        if shift == 0:
            return self._replace(options=o._replace(shift=0))
        s = self.x.new_ones(rows, dtype=torch.float32) if s is None else s.expand(rows)
        rest = None if rest is None else rest.expand(rows)

        def later(t: Tensor) -> Tensor:
            return problem.later(torch, t, len(rows) - 1, shift)  # type: ignore[no-any-return]

        p, rest = (None if t is None else later(t) for t in (p, rest))
        return self._replace(target=Target(later(y), w, later(s), p, rest), options=o._replace(shift=0))


def call_of(arrays: HeadArrays, given: Given, options: Options) -> Call:
    """The tensors of a call where the features are, checked by their shapes and dtypes."""
    x, weight, bias, max_memory = arrays
    function = options.function
    x = entry.floating_scores(function, x)
    options = numbers.read(options, x)
    ignore_index = numbers.integer(function, "ignore_index", options.ignore_index)
    options = options._replace(ignore_index=ignore_index)
    max_memory = numbers.integer(function, "max_memory", max_memory)
    weight = as_tensor(function, "weight", weight, x)
    bias = None if bias is None else as_tensor(function, "bias", bias, x)
    if is_autocast(x):
        x, weight = for_autocast(x), for_autocast(weight)
        bias = None if bias is None else for_autocast(bias)
    for name, part in (("weight", weight), ("bias", bias)):
        if part is not None and part.dtype is not x.dtype:
            tensor_errors.other_dtype(function, name, part.dtype, x.dtype)
    memory = max_memory
    if not torch.compiler.is_compiling():
        b = None if bias is None else shape_of(bias)
        memory = problem.head(function, shape_of(x), shape_of(weight), b, max_memory).memory
    call = Call(x, weight, bias, None, options, memory)
    if given[0] is None:
        return call
    return call._replace(target=entry.arguments_of(call.like_logits, given, options)[1])


def for_autocast(t: Tensor) -> Tensor:
    """A tensor in the dtype that autocast multiplies in."""
    return t if t.dtype is torch.float64 else t.to(torch.get_autocast_dtype(t.device.type))


def is_narrow(x: Tensor) -> bool:
    """Whether gradients underflow unless they are scaled before they are rounded: those of float16.

    Training in it scales the loss, and the scale is known only in backward.
    """
    return x.dtype is torch.float16
