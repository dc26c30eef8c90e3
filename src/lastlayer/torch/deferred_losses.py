"""What is known of deferred logits without them. In: logits, options. Out: losses, row statistics, classes.

Each function gives what the same function of the materialized logits gives, or None where that is to be
called. Values come from the functions of the linear head. Where autograd records, each is the output of
`OfLogits`, a node on the logits whose backward pass returns a lazy `Gradient`.
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
from lastlayer.options import AMONG, OF_TARGETS, Options
from lastlayer.row_statistics import RowStats

from .arguments import dtype_of_loss
from .deferred import Gradient, Logits
from .trail import canon_of, pulled_back, rows_of

__all__ = ["loss", "row_stats", "top_k"]

Parts = tuple[Tensor, Tensor, Tensor | None]  # x, weight, bias
Canon = tuple[Any, Any]  # temperature, softcap
T = TypeVar("T")


def loss(z: Logits, y: Any, w: Any, s: Any, o: Options) -> Tensor | None:
    """The cross-entropy that ``o`` describes."""
    canon = _canon(z, o)
    if canon is None:
        return None
    parts = z.source.parts()
    more = {"z_loss": o.z_loss, "reduction": o.reduction, "denominator": o.denominator}
    options = _of_targets(w, s, o) | more
    compute = partial(_call, linear_functional.linear_cross_entropy, z, y, canon, options)

    def run() -> Tensor | None:
        if not _is_recorded(z):
            return compute(parts)  # type: ignore[no-any-return]
        if (wanted := _wanted(z)) is None:
            return None
        x, weight, bias = parts
        temperature, softcap = canon
        own = o._replace(function="linear_cross_entropy", axis=-1, temperature=temperature, softcap=softcap)
        arrays = rows_of(z.trail, x), weight, bias, z.source.max_memory
        call = call_of(arrays, (y, w, s), own)
        assert call.target is not None
        if tracks(*call.target):
            return None
        work = Work(z, "loss", o, wanted, compute)
        if o.reduction == "none" or is_narrow(x) or is_kept_elsewhere() or not call.in_loop():
            found = [work.begun(parts).detach()]
        else:  # the gradients are computed now: what is written until the backward pass does not change them
            value, work.gradients = call.run(call.checked(), wanted)
            found = [value]
        return OfLogits.apply(z, work, found, *call.target)  # type: ignore[no-any-return, no-untyped-call]

    return _unless_wrong(run)


def row_stats(z: Logits, y: Any, w: Any, s: Any, o: Options) -> RowStats | None:
    """The statistics of rows that ``o`` describes."""
    canon = _canon(z, o)
    if canon is None:
        return None
    parts = z.source.parts()
    compute = partial(_call, linear_functional.linear_row_stats, z, y, canon, _of_targets(w, s, o))

    def run() -> RowStats | None:
        if not _is_recorded(z):
            return compute(parts)  # type: ignore[no-any-return]
        if (wanted := _wanted(z)) is None:
            return None
        target = None
        if y is not None:
            like = torch.zeros((), dtype=z.dtype).expand(z.shape)
            target = entry.arguments_of(like, (y, w, s), o)[1]
            if tracks(*target):
                return None
        work = Work(z, "", o, wanted, compute)
        state = work.begun(parts)
        own = {f.name: getattr(state, f.name) for f in fields(RowStats)}
        return LogitsRowStats(**own, work=work, given=target)

    return _unless_wrong(run)


def top_k(z: Logits, k: Any, o: Options) -> tuple[Tensor, Tensor] | None:
    """The k most probable classes of each row, and their probabilities."""
    canon = _canon(z, o)
    if canon is None:
        return None
    parts = z.source.parts()
    return _unless_wrong(lambda: _call(linear_functional.linear_top_k, z, k, canon, {}, parts))


# --- whether and how the head's functions are called --------------------------------------------------------


def _canon(z: Logits, o: Options) -> Canon | None:
    """Temperature and softcap for the head's functions; None where the logits are needed."""
    if not z.is_lazy() or o.axis not in (-1, z.ndim - 1) or z.ndim == 0:
        return None
    if torch.compiler.is_compiling() or is_transformed() or forward_ad._current_level >= 0:
        return None
    if torch._C._len_torch_dispatch_stack() > 0:  # a mode, which has to see operations
        return None
    if tracks(*(t for t in o[AMONG] if isinstance(t, Tensor))):
        return None
    canon = canon_of(z.trail)
    if canon == (1.0, None):
        return o.temperature, o.softcap
    return canon if o.softcap is None and o.temperature == 1.0 else None


def _is_recorded(z: Logits) -> bool:
    return torch.is_grad_enabled() and z.requires_grad


def _wanted(z: Logits) -> tuple[bool, bool, bool] | None:
    """Which of x, weight and bias have gradients; None if the graph does not lead from ``z`` to the head."""
    node = z.grad_fn
    for _ in range(_FAR):
        if node is None:
            return None
        if getattr(node, "product_token", None) == z.source.token:
            return node.needs_input_grad[:3]  # type: ignore[attr-defined,no-any-return]
        node = node.next_functions[0][0] if node.next_functions else None
    return None


_FAR = 64  # nodes; no model does more to its logits


def _of_targets(w: Any, s: Any, o: Options) -> dict[str, Any]:
    """What every function of targets takes."""
    return {"class_weight": w, "sample_weight": s} | {name: getattr(o, name) for name in OF_TARGETS}


def _call(
    function: Callable[..., Any], z: Logits, argument: Any, canon: Canon, options: Any, parts: Parts
) -> Any:
    """A function of the linear head, of the rows that the logits have."""
    x, weight, bias = parts
    temperature, softcap = canon
    return function(
        rows_of(z.trail, x), weight, argument, bias=bias, temperature=temperature, softcap=softcap,
        max_memory=z.source.max_memory, **options,
    )  # fmt: skip


def _unless_wrong(function: Callable[[], T]) -> T | None:
    """What it returns; None for a wrong call: whoever gets the logits says what is wrong in its own words."""
    try:
        with torch.autocast("cpu", enabled=False):  # the head was called with it, or without
            return function()
    except LastlayerError as error:
        if "max_memory" in str(error):  # the logits would take more
            raise
        return None


# --- in autograd's graph ------------------------------------------------------------------------------------


class Work:
    """How a value of some logits was computed without them, and how its gradients are.

    A node of the graph has it as long as autograd keeps what it saved: until the backward pass is over.
    """

    def __init__(
        self, z: Logits, name: str, o: Options, wanted: tuple[bool, ...], compute: Callable[[Any], Any]
    ) -> None:
        self.z, self.version = z, z._version
        self.source, self.trail = z.source, z.trail
        self.logits = Snapshot(z.content)  # as they are now
        self.name, self.options, self.wanted, self.compute = name, o, wanted, compute
        self.gradients: list[Tensor | None] | None = None  # of the rows, weight and bias, until they are used
        self.value: Any = None  # differentiable in the leaves
        self.leaves: Any = None

    def begun(self, parts: Parts) -> Any:
        """The value, computed of leaves: what it keeps for its gradients is kept here."""
        both = zip(parts, self.wanted, strict=True)
        self.leaves = [None if t is None else t.detach().requires_grad_(on) for t, on in both]
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            self.value = self.compute(self.leaves)
        return self.value

    def parts(self, grad: Tensor, wanted: Any) -> list[Tensor | None]:
        """The gradients in x, weight and bias: those that are there, or of the same numbers again."""
        gradients, self.gradients = self.gradients, None  # given away: whoever has them may write to them
        if gradients is not None:
            if grad != 1.0:
                gradients = [None if g is None else g.mul_(grad) for g in gradients]
            dx, dw, db = (g if on else None for g, on in zip(gradients, wanted, strict=True))
            return [None if dx is None else pulled_back(self.trail, self.source.shape, dx), dw, db]
        parts = self.source.parts()
        value = self.begun(parts) if self.value is None else self.value
        asked = [t for t, on in zip(self.leaves, wanted, strict=True) if on]
        found = iter(torch.autograd.grad(value, asked, grad, retain_graph=True))
        return [next(found) if on else None for on in wanted]

    def of(self, name: str, value: Tensor) -> Work:
        """The same for a statistic that was computed of the same leaves."""
        work = copy(self)
        work.name, work.value = name, value
        return work


class Saved(Logits):
    """What a node of the graph saves: logits as they were when a value of them was computed, and its work."""

    work: Work

    def derived(self, func: Any, args: Any, kwargs: Any) -> Logits | None:
        if func is torch.ops.aten.detach.default:  # activation checkpointing keeps what is detached
            return _saved(self, self.work)
        return super().derived(func, args, kwargs)


def _saved(z: Logits, work: Work) -> Saved:
    known = {"source": z.source, "trail": z.trail, "product": z.product, "work": work}
    return Saved.of(z.like(), work.logits, **known)  # type: ignore[no-any-return]


class OfLogits(Function):
    """(logits, work, [value], *target) -> the value; its gradient in the logits is lazy."""

    @staticmethod
    def forward(ctx: Any, z: Logits, work: Work, found: list[Tensor], *target: Any) -> Tensor:
        ctx.save_for_backward(_saved(z, work), *target)
        ctx.name, ctx.options, ctx.dtype = work.name, work.options, z.dtype
        ctx.z = z if is_kept_elsewhere() else None  # what was saved may come back as another tensor
        return found.pop()  # a tensor that was an argument would be taken for a view of it

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        saved, *rest = ctx.saved_tensors
        target = Target(*rest) if rest else None
        work: Work | None = getattr(saved, "work", None)
        if torch.is_grad_enabled() or not in_memory(grad):  # differentiated again; many at once
            dz = _differentiable(ctx, saved, work, target, grad)
        elif work is None:
            dz = _of_logits(ctx, materialized(saved), target, grad)
        else:

            def compute() -> Tensor:
                return _of_logits(ctx, work.logits.get(), target, grad)

            known = {"token": work.source.token, "trail": work.trail, "terms": [partial(work.parts, grad)]}
            dz = Gradient.of(saved.like().contiguous(), Values(compute), **known)
        return dz, *(None,) * (2 + len(rest))


def _differentiable(
    ctx: Any, saved: Tensor, work: Work | None, target: Target | None, grad: Tensor
) -> Tensor:
    """The gradient in logits, as an ordinary tensor of autograd's graph."""
    again = torch.is_grad_enabled()
    numbers = saved.detach() if work is None else work.logits.get()
    with torch.enable_grad():
        if again:
            z = ctx.z if work is None else work.z
            if work is not None and z._version != work.version:
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
    """The value of logits, in operations that autograd knows."""
    if name == "loss":
        assert target is not None
        return entry.loss_of(z, target, o)
    form = canonical.scores_form(z, o) if target is None else canonical.form_of(z, target, o)
    return rows.value(name, z, target, o, form)


def _of_logits(ctx: Any, z: Tensor, target: Target | None, grad: Tensor) -> Tensor:
    """The gradient in logits by its formula: where it is asked for, autograd may not record."""
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
    """Row statistics of deferred logits, differentiable in these."""

    work: Any = None
    given: Any = None  # the target's tensors

    def _read(self, name: str) -> Tensor:
        state, z = self.work.value, self.work.z
        if not (isinstance(state, HeadRowStats) and name in state.values):
            self.work.source.parts()  # which it is computed of
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            value: Tensor = getattr(state, name)
        if not torch.is_grad_enabled():
            return value.detach()
        unchanged(self.work.options.function, (self.work.version,), z)
        found = OfLogits.apply(z, self.work.of(name, value), [value.detach()], *(self.given or ()))  # type: ignore[no-untyped-call]
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
    """The loss of class indices; None where PyTorch's own function is to be called."""
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
