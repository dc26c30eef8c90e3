"""The linear head on tensors. In: what `functional` was given. Out: tensors that autograd knows.

In CPU memory it is the loop of `lastlayer.linear`, with PyTorch's products. Where gradients are asked for,
it computes them with the loss, and the first backward pass hands them out: they are of the arguments' size,
not of the logits'. A compiler sees one operation (`linear_ops`) that returns both. What that cannot do
(gradients for the losses of rows, for weights or for targets; derivatives of derivatives; devices,
transforms) is composed of ``x @ weight.T`` and the functions of logits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lastlayer import best, linear, problem
from lastlayer.errors import DtypeError
from lastlayer.problem import Head, Problem
from lastlayer.row_stats import RowStats

from . import calls, kernels
from .kernels import Options
from .losses import Target
from .rows import TensorRowStats
from .tensors import (
    as_tensor,
    from_memory,
    in_memory,
    is_transformed,
    is_watched,
    new_like,
    shape_of,
    tracks,
    wide,
)

__all__ = ["loss", "loss_and_gradients", "row_stats", "top_k"]


class TorchProducts:
    """PyTorch's products. bfloat16 is multiplied as it is and added up in float32, float16 as float32."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.double = dtype is torch.float64
        self.dtype = torch.float32 if dtype is torch.float16 else dtype
        self.sum_dtype = wide(dtype)
        self.apart = self.dtype is not self.sum_dtype
        self.number = self.dtype.itemsize
        self.threads = torch.get_num_threads()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        return new_like(torch.empty(1, dtype=dtype).expand(shape))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    def view(self, a: Tensor, dtype: torch.dtype) -> Tensor:
        flat, ratio = a.view(-1), max(1, dtype.itemsize // a.element_size())
        return flat[: flat.numel() - flat.numel() % ratio].view(dtype)

    def convert(self, a: Tensor) -> Tensor:
        return a.to(self.dtype)

    def select(self, a: Tensor, index: Any) -> Tensor:
        return a.index_select(0, torch.from_numpy(index))

    def spread(self, a: Tensor, index: Any, n: int) -> Tensor:
        return torch.zeros((n, *a.shape[1:]), dtype=a.dtype).index_copy_(0, torch.from_numpy(index), a)

    def finite(self, a: Tensor) -> bool:
        return bool(a.isfinite().all())

    def logits(self, x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
        if bias is None:
            torch.mm(x, weight.T, out=out)
        else:
            torch.addmm(bias, x, weight.T, out=out)

    def multiply(self, a: Tensor, b: Tensor, out: Tensor, first: bool, spare: Tensor) -> None:
        if out.dtype is a.dtype:
            if first:
                torch.mm(a, b, out=out)
            else:
                out.addmm_(a, b)
            return
        part = torch.mm(a, b, out=spare[: out.numel()].view(out.shape))
        if first:
            out.copy_(part)
        else:
            out.add_(part)

    def sum_rows(self, tile: Tensor, out: Tensor, first: bool) -> None:
        total = torch.sum(tile, 0, dtype=self.sum_dtype)
        if first:
            out.copy_(total)
        else:
            out.add_(total)

    def pick(self, tile: Tensor, columns: Any) -> Any:
        """Entries of a tile, some in each row, as NumPy's float64."""
        return tile.gather(1, torch.from_numpy(columns)).double().numpy()

    def numbers(self, tile: Tensor) -> Any:
        """A tile as a NumPy array that shares its memory; bfloat16 as its bits."""
        return (tile.view(torch.uint16) if tile.dtype is torch.bfloat16 else tile).numpy()

    def take(self, tile: Tensor, rows: Any, columns: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Different entries out of a tile; zero is left in their place."""
        rows, columns = torch.from_numpy(rows), torch.from_numpy(columns)
        values = tile[rows, columns]
        tile[rows, columns] = 0.0
        return rows, columns, values

    def put(self, taken: tuple[Tensor, Tensor, Tensor], weight: Tensor, out: Tensor) -> None:
        """What these entries add to the product of their tile and ``weight``, unrounded."""
        for rows, columns, values in zip(*(part.split(linear.PUT) for part in taken), strict=True):
            part = weight.index_select(0, columns).to(self.sum_dtype)
            out.index_add_(0, rows, part.mul_(values.to(self.sum_dtype).unsqueeze(1)))


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
        y, w, s = self.target or (None, None, None)
        others = [t for t in (self.weight, self.bias, y, w, s) if t is not None]
        if torch.compiler.is_compiling() or any(is_watched(t) for t in (self.x, *others)):
            return False
        return kernels.on_core(self.x) and all(in_memory(t) for t in others)

    def in_program(self) -> bool:
        """Whether the loss is to be one operation of a program that a compiler, or a mode, looks at."""
        y, w, s = self.target or (None, None, None)
        tensors = [t for t in (*self[:3], y, w, s) if isinstance(t, Tensor)]
        return (
            any(is_watched(t) for t in tensors)
            and all(t.device.type == "cpu" for t in tensors)
            and kernels.BUILT
            and isinstance(y, Tensor)
            and self.options.reduction in ("mean", "sum")
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

    def run(self, checked: Problem, wanted: Any) -> tuple[Tensor, list[Tensor | None]]:
        """The loss and the gradients that are wanted, by the loop."""
        head, products = self.parts()
        value, grads = linear.loss_and_gradients(head, checked, wanted, products)
        return from_memory(value), grads

    def logits(self) -> Tensor:
        """``x @ weight.T + bias``; for the gradients' sake ignored rows that are not finite are zeros."""
        x = self.x
        if self.target is not None:
            y, _, s = self.target
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
        return calls.loss(call.logits(), *call.target, call.options)

    def with_logits(self, wanted: Any) -> tuple[Tensor, list[Tensor | None]]:
        """What `run` gives, from its logits."""
        call = self.aligned()
        assert call.target is not None
        x, weight, bias = call.x, call.weight, call.bias
        value, g = calls.loss_and_gradient(call.logits(), *call.target, call.options)
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
        y, w, s = target
        rows = self.x.shape[:-1]
        shift = problem.shift_of(o.function, rows, o.shift)
        s = self.x.new_ones(rows, dtype=torch.float32) if s is None else s.expand(rows)
        target = Target(_later(y, len(rows) - 1, shift), w, _later(s, len(rows) - 1, shift))
        return self._replace(target=target, options=replace(o, shift=0))


class _Loss(Function):
    """(x, weight, bias, call, problem) -> loss; its gradients are computed with it."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, call: _Call, checked: Problem
    ) -> Tensor:
        value, ctx.grads = call.run(checked, ctx.needs_input_grad[:3])
        ctx.save_for_backward(x, weight, bias)
        nothing: Any = None  # autograd keeps the tensors
        ctx.call, ctx.checked = call._replace(x=nothing, weight=nothing, bias=nothing), checked
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # to be differentiated again
            inputs = [None if t is None else t.view_as(t) for t in ctx.saved_tensors]
            x, weight, bias = inputs
            value = ctx.call._replace(x=x, weight=weight, bias=bias).composed()
            asked = [t for t, on in zip(inputs, wanted, strict=True) if on and t is not None]
            found = iter(torch.autograd.grad(value, asked, grad, create_graph=True))
            return *(next(found) if on else None for on in wanted), None, None
        grads, ctx.grads = ctx.grads, None  # given away: whoever has them may write to them
        if grads is None:
            x, weight, bias = ctx.saved_tensors
            _, grads = ctx.call._replace(x=x, weight=weight, bias=bias).run(ctx.checked, wanted)
        if not in_memory(grad):  # many at once
            return *(None if g is None else g * grad for g in grads), None, None
        if grad != 1.0:
            grads = [None if g is None else g.mul_(grad) for g in grads]
        return *grads, None, None


# --- calls --------------------------------------------------------------------------------------------------


def loss(
    function: str, x: Tensor, weight: Any, y: Any, bias: Any, max_memory: Any, canon: Any, rest: Any
) -> Tensor:
    """``lastlayer.linear_cross_entropy``."""
    call = _call(function, x, weight, y, bias, max_memory, canon, rest)
    assert call.target is not None
    tracked = tracks(call.x, call.weight, call.bias)
    if not calls._only_scores(*call.target):
        return call.composed()
    if call.in_program():
        return call.operation()
    if not call.in_loop():
        return call.composed()
    if not tracked:
        return call.run(call.checked(), (False, False, False))[0]
    if forward_ad._current_level >= 0 or call.options.reduction == "none":
        return call.composed()
    return _Loss.apply(call.x, call.weight, call.bias, call, call.checked())  # type: ignore[no-any-return, no-untyped-call]


def loss_and_gradients(
    function: str, x: Tensor, weight: Any, y: Any, bias: Any, max_memory: Any, canon: Any, rest: Any
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor | None]]:
    """``lastlayer.linear_cross_entropy_grad``."""
    call = _call(function, x, weight, y, bias, max_memory, canon, rest)
    assert call.target is not None
    if call.in_loop() and not tracks(call.x, call.weight, call.bias, *call.target):
        value, grads = call.run(call.checked(), (True, True, True))
    else:
        value, grads = call.with_logits((True, True, True))
    return value, tuple(grads)  # type: ignore[return-value]


def row_stats(
    function: str, x: Tensor, weight: Any, y: Any, bias: Any, max_memory: Any, canon: Any, rest: Any
) -> RowStats:
    """``lastlayer.linear_row_stats``."""
    call = _call(function, x, weight, y, bias, max_memory, canon, rest)
    target: Any = call.target or (None, None, None)
    if not call.in_loop() or tracks(call.x, call.weight, call.bias, *target):
        call = call.aligned()
        y, w, s = call.target or (None, None, None)
        return replace(calls.row_stats(call.logits(), y, w, s, call.options), rank=None)
    head, products = call.parts()
    found = linear.row_stats(head, call.checked(), products)
    names = ("peak", "rest", "argmax", "gap", "mass", "spread", "square")
    tensors = {k: from_memory(v) for k in names if (v := getattr(found, k)) is not None}
    source = torch.empty(0), None, None, None  # nothing of these is differentiated
    return TensorRowStats(**tensors, dtype=wide(call.x.dtype), source=source, state=found)


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
    _, *target = calls._arguments(call.like_logits, y, w, s, options)
    return call._replace(target=Target(*target))


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
