"""Functions of deferred logits. In: deferred logits, options. Out: losses, row statistics, top-k classes.

Each function returns the result of the same function on the materialized logits, or None if the logits have
to be materialized. Values are computed by the functions of the linear head. While autograd records, the
result is the output of `OfLogits`, a node on the logits whose backward pass returns a lazy `Gradient`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from lastlayer import linear_functional
from lastlayer.backends.torch import canonical, entry, kernels
from lastlayer.backends.torch import row_stats as rows
from lastlayer.backends.torch.head_autograd import HeadRowStats
from lastlayer.backends.torch.head_call import call_of, is_narrow
from lastlayer.backends.torch.lazy import Snapshot, Values, materialized, with_numbers
from lastlayer.backends.torch.row_stats import TensorRowStats
from lastlayer.backends.torch.targets import Target
from lastlayer.backends.torch.tensors import in_memory, is_kept_elsewhere, is_transformed, tracks, unchanged
from lastlayer.errors import LastlayerError
from lastlayer.options import NUMBER_RANGE, OF_TARGETS, Options
from lastlayer.row_statistics import RowStats

from .arguments import dtype_of_loss
from .deferred import Gradient, Logits
from .trail import canonical_options, pulled_back, rows_of

__all__ = ["loss", "row_stats", "top_k"]

Parts = tuple[Tensor, Tensor, Tensor | None]  # x, weight, bias
HeadOptions = tuple[Any, Any]  # temperature, softcap
T = TypeVar("T")


def loss(z: Logits, y: Any, w: Any, s: Any, o: Options) -> Tensor | None:
    """The cross-entropy that ``o`` describes."""
    head_options = _options_of_head(z, o)
    if head_options is None:
        return None
    parts = z.source.parts()
    more = {"z_loss": o.z_loss, "reduction": o.reduction, "denominator": o.denominator}
    options = _of_targets(w, s, o) | more
    compute = partial(_call, linear_functional.linear_cross_entropy, z, y, head_options, options)

    def run() -> Tensor | None:
        if not _is_recorded(z):
            return compute(parts)  # type: ignore[no-any-return]
        if (wanted := _gradients_wanted(z)) is None:
            return None
        x, weight, bias = parts
        temperature, softcap = head_options
        own = o._replace(function="linear_cross_entropy", axis=-1, temperature=temperature, softcap=softcap)
        arrays = rows_of(z.trail, x), weight, bias, z.source.max_memory
        call = call_of(arrays, (y, w, s), own)
        assert call.target is not None
        if tracks(*call.target):
            return None
        computation = Computation(z, "loss", o, wanted, compute)
        if o.reduction == "none" or is_narrow(x) or is_kept_elsewhere() or not call.in_loop():
            found = [computation.evaluate(parts).detach()]
        else:  # gradients are computed now: later writes to x or weight do not change them
            value, computation.gradients = call.run(call.checked(), wanted)
            found = [value]
        return OfLogits.apply(z, computation, found, *call.target)  # type: ignore[no-any-return, no-untyped-call]

    return _unless_refused(run)


def row_stats(z: Logits, y: Any, w: Any, s: Any, o: Options) -> RowStats | None:
    """The statistics of rows that ``o`` describes."""
    head_options = _options_of_head(z, o)
    if head_options is None:
        return None
    parts = z.source.parts()
    compute = partial(_call, linear_functional.linear_row_stats, z, y, head_options, _of_targets(w, s, o))

    def run() -> RowStats | None:
        if not _is_recorded(z):
            return compute(parts)  # type: ignore[no-any-return]
        if (wanted := _gradients_wanted(z)) is None:
            return None
        target = None
        if y is not None:
            like = torch.zeros((), dtype=z.dtype).expand(z.shape)
            target = entry.arguments_of(like, (y, w, s), o)[1]
            if tracks(*target):
                return None
        computation = Computation(z, "", o, wanted, compute)
        state = computation.evaluate(parts)
        own = {f.name: getattr(state, f.name) for f in fields(RowStats)}
        return LogitsRowStats(**own, computation=computation, given=target)

    return _unless_refused(run)


def top_k(z: Logits, k: Any, o: Options) -> tuple[Tensor, Tensor] | None:
    """The k most probable classes of each row, and their probabilities."""
    head_options = _options_of_head(z, o)
    if head_options is None:
        return None
    parts = z.source.parts()
    return _unless_refused(lambda: _call(linear_functional.linear_top_k, z, k, head_options, {}, parts))


# --- whether and how the head's functions are called --------------------------------------------------------


def _options_of_head(z: Logits, o: Options) -> HeadOptions | None:
    """Temperature and softcap for the head's functions; None if the logits have to be materialized."""
    if not z.is_lazy() or o.axis not in (-1, z.ndim - 1) or z.ndim == 0:
        return None
    if torch.compiler.is_compiling() or is_transformed() or forward_ad._current_level >= 0:
        return None
    if torch._C._len_torch_dispatch_stack() > 0:  # a dispatch mode has to see the operations
        return None
    if tracks(*(t for t in o[NUMBER_RANGE] if isinstance(t, Tensor))):
        return None
    head_options = canonical_options(z.trail)
    if head_options == (1.0, None):
        return o.temperature, o.softcap
    return head_options if o.softcap is None and o.temperature == 1.0 else None


def _is_recorded(z: Logits) -> bool:
    return torch.is_grad_enabled() and z.requires_grad


def _gradients_wanted(z: Logits) -> tuple[bool, bool, bool] | None:
    """Which of x, weight and bias require a gradient; None if the graph of ``z`` does not reach the head."""
    node = z.grad_fn
    for _ in range(_MOST_NODES):
        if node is None:
            return None
        if getattr(node, "product_token", None) == z.source.token:
            return node.needs_input_grad[:3]  # type: ignore[attr-defined,no-any-return]
        node = node.next_functions[0][0] if node.next_functions else None
    return None


_MOST_NODES = 64  # models apply fewer operations to their logits


def _of_targets(w: Any, s: Any, o: Options) -> dict[str, Any]:
    """The weights and options that all functions with targets take."""
    return {"class_weight": w, "sample_weight": s} | {name: getattr(o, name) for name in OF_TARGETS}


def _call(
    function: Callable[..., Any],
    z: Logits,
    argument: Any,
    head_options: HeadOptions,
    options: Any,
    parts: Parts,
) -> Any:
    """Call a function of the linear head on the features, after the steps of the logits' trail."""
    x, weight, bias = parts
    temperature, softcap = head_options
    return function(
        rows_of(z.trail, x), weight, argument, bias=bias, temperature=temperature, softcap=softcap,
        max_memory=z.source.max_memory, **options,
    )  # fmt: skip


def _unless_refused(function: Callable[[], T]) -> T | None:
    """The function's result; None if it raises, so that the function of the logits raises its own error."""
    try:
        with torch.autocast("cpu", enabled=False):  # autocast was applied when the head was called
            return function()
    except LastlayerError as error:
        if "max_memory" in str(error):  # materialized logits would need even more memory
            raise
        return None


# --- in autograd's graph ------------------------------------------------------------------------------------


class Computation:
    """A value of deferred logits that was computed without them, and how to compute its gradients.

    It is attached to a tensor that a node of the graph saves, so autograd frees it after the backward pass.
    """

    def __init__(
        self, z: Logits, name: str, o: Options, wanted: tuple[bool, ...], compute: Callable[[Any], Any]
    ) -> None:
        self.z, self.version = z, z._version
        self.source, self.trail = z.source, z.trail
        self.logits = Snapshot(z.content)  # the logits as they are now
        self.name, self.options, self.wanted, self.compute = name, o, wanted, compute
        self.gradients: list[Tensor | None] | None = None  # of rows, weight and bias, for the first backward
        self.value: Any = None  # differentiable with respect to `leaves`
        self.leaves: Any = None  # detached copies of x, weight and bias

    def evaluate(self, parts: Parts) -> Any:
        """Compute the value from new leaves, and keep both for the gradients."""
        both = zip(parts, self.wanted, strict=True)
        self.leaves = [None if t is None else t.detach().requires_grad_(on) for t, on in both]
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            self.value = self.compute(self.leaves)
        return self.value

    def parts(self, grad: Tensor, wanted: Any) -> list[Tensor | None]:
        """The gradients of x, weight and bias: those computed with the loss, or computed again."""
        gradients, self.gradients = self.gradients, None  # not kept: the caller may write to them
        if gradients is not None:
            if grad != 1.0:
                gradients = [None if g is None else g.mul_(grad) for g in gradients]
            dx, dw, db = (g if on else None for g, on in zip(gradients, wanted, strict=True))
            return [None if dx is None else pulled_back(self.trail, self.source.shape, dx), dw, db]
        parts = self.source.parts()
        value = self.evaluate(parts) if self.value is None else self.value
        asked = [t for t, on in zip(self.leaves, wanted, strict=True) if on]
        found = iter(torch.autograd.grad(value, asked, grad, retain_graph=True))
        return [next(found) if on else None for on in wanted]

    def of(self, name: str, value: Tensor) -> Computation:
        """The same computation, for another result of the same leaves."""
        computation = copy(self)
        computation.name, computation.value = name, value
        return computation


class SavedLogits(Logits):
    """The logits that a node of the graph saves, as they were at its forward pass, with the computation."""

    computation: Computation

    def derived(self, func: Any, args: Any, kwargs: Any) -> Logits | None:
        if func is torch.ops.aten.detach.default:  # activation checkpointing saves detached tensors
            return _saved(self, self.computation)
        return super().derived(func, args, kwargs)


def _saved(z: Logits, computation: Computation) -> SavedLogits:
    known = {"source": z.source, "trail": z.trail, "product": z.product, "computation": computation}
    return SavedLogits.of(z.like(), computation.logits, **known)  # type: ignore[no-any-return]


class OfLogits(Function):
    """(logits, computation, [value], *target) -> the value; the gradient of the logits is lazy."""

    @staticmethod
    def forward(ctx: Any, z: Logits, computation: Computation, found: list[Tensor], *target: Any) -> Tensor:
        ctx.save_for_backward(_saved(z, computation), *target)
        ctx.name, ctx.options, ctx.dtype = computation.name, computation.options, z.dtype
        ctx.z = z if is_kept_elsewhere() else None  # hooks may return another tensor for the saved one
        return found.pop()  # in a list, because autograd treats an argument that is returned as a view

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        saved, *rest = ctx.saved_tensors
        target = Target(*rest) if rest else None
        computation: Computation | None = getattr(saved, "computation", None)
        if torch.is_grad_enabled() or not in_memory(grad):  # double backward, or batched gradients
            dz = _differentiable(ctx, saved, computation, target, grad)
        elif computation is None:
            dz = _of_logits(ctx, materialized(saved), target, grad)
        else:

            def compute() -> Tensor:
                return _of_logits(ctx, computation.logits.get(), target, grad)

            terms = [partial(computation.parts, grad)]
            known = {"token": computation.source.token, "trail": computation.trail, "terms": terms}
            dz = Gradient.of(saved.like().contiguous(), Values(compute), **known)
        return dz, *(None,) * (2 + len(rest))


def _differentiable(
    ctx: Any, saved: Tensor, computation: Computation | None, target: Target | None, grad: Tensor
) -> Tensor:
    """The gradient of the logits, as an ordinary tensor in autograd's graph."""
    again = torch.is_grad_enabled()
    numbers = saved.detach() if computation is None else computation.logits.get()
    with torch.enable_grad():
        if again:
            z = ctx.z if computation is None else computation.z
            if computation is not None and z._version != computation.version:
                raise RuntimeError(
                    "Logits: they have been modified by an inplace operation since a loss of them; expected "
                    "them as they were, to differentiate it twice; write logits.clone() before"
                )
            z = with_numbers(z, materialized(numbers))
        else:
            z = materialized(numbers).detach().requires_grad_()
        found = _of_plain(ctx.name, z, target, ctx.options)
        (dz,) = torch.autograd.grad(found, z, grad.to(found.dtype), create_graph=again)
    return dz


def _of_plain(name: str, z: Tensor, target: Target | None, o: Options) -> Tensor:
    """The value from materialized logits, by differentiable operations."""
    if name == "loss":
        assert target is not None
        return entry.loss_of(z, target, o)
    form = canonical.scores_form(z, o) if target is None else canonical.form_of(z, target, o)
    return rows.value(name, z, target, o, form)


def _of_logits(ctx: Any, z: Tensor, target: Target | None, grad: Tensor) -> Tensor:
    """The gradient of the logits by its formula, without autograd, which may be disabled."""
    o, name = ctx.options, ctx.name
    if name == "loss":
        assert target is not None
        dz = kernels.loss_gradient(grad, z, target, o)
    else:
        form = canonical.scores_form(z, o) if target is None else canonical.form_of(z, target, o)
        dz = rows.value_gradient(grad, (z, *(target or ())), name, o, form)
    return dz.to(ctx.dtype).contiguous()


@dataclass(frozen=True, slots=True, eq=False)
class LogitsRowStats(TensorRowStats):
    """Row statistics of deferred logits, differentiable with respect to these."""

    computation: Any = None
    given: Any = None  # the tensors of the target

    def _read(self, name: str) -> Tensor:
        state, z = self.computation.value, self.computation.z
        if not (isinstance(state, HeadRowStats) and name in state.values):
            self.computation.source.parts()  # raises if the features or weights have changed
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            value: Tensor = getattr(state, name)
        if not torch.is_grad_enabled():
            return value.detach()
        unchanged(self.computation.options.function, (self.computation.version,), z)
        computation = self.computation.of(name, value)
        found = OfLogits.apply(z, computation, [value.detach()], *(self.given or ()))  # type: ignore[no-untyped-call]
        return found  # type: ignore[no-any-return]


# --- PyTorch's cross-entropy --------------------------------------------------------------------------------


def _cross_entropy(func: Any, args: Any, kwargs: Any) -> Tensor:
    """``torch.nn.functional.cross_entropy`` of deferred logits."""
    found = _torch_loss(*args, **kwargs)
    if found is None:
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
    return found


def _torch_loss(
    input: Any = None,  # noqa: A002 - PyTorch's name
    target: Any = None,
    weight: Any = None,
    size_average: Any = None,
    ignore_index: Any = -100,
    reduce: Any = None,
    reduction: Any = "mean",
    label_smoothing: Any = 0.0,
    *others: Any,
    **unknown: Any,
) -> Tensor | None:
    """The loss of class indices; None if PyTorch's own function has to be called."""
    if (
        type(input) is not Logits
        or input.ndim > 2
        or not (size_average is None is reduce)
        or others
        or unknown
    ):
        return None
    if not isinstance(target, Tensor) or target.dtype not in (torch.int64, torch.uint8):
        return None
    if target.shape != input.shape[:-1] or (isinstance(weight, Tensor) and weight.requires_grad):
        return None
    o = Options("cross_entropy", -1, ignore_index, label_smoothing, reduction=reduction)
    found = loss(input, target, weight, None, o)
    return None if found is None else found.to(dtype_of_loss(input))


Logits.functions = {**Logits.functions, torch.nn.functional.cross_entropy: _cross_entropy}
entry.DEFERRED[Logits] = sys.modules[__name__]
