"""The public functions on tensors. In: the arguments that `functional` got. Out: differentiable tensors.

Each function chooses one of three ways to compute a call:

- `loss_rules` and `softmax_rules`: the core on the tensor's own memory, with a `Rule` for autograd. The
  normal case;
- `composed` and `losses`: PyTorch's own operations, where weights or dense targets require a gradient;
- `ops`: operations registered with PyTorch, under ``torch.compile`` or ``torch.export``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from lastlayer import problem, selection
from lastlayer.options import (
    AXIS,
    IGNORE_INDEX,
    REDUCTION,
    Given,
    Options,
    OptionValues,
    has_defaults,
)
from lastlayer.problem import tensor_errors
from lastlayer.row_statistics import RowStats

from . import canonical, composed, fast_path, kernel_rules, kernels, number_options, ops, shards
from . import row_stats as rows
from .canonical import resolve
from .choice import COMPOSED, TRITON, may_use_kernels, on_core, way_of
from .composed import Form
from .lazy import materialized
from .loss_rules import Loss, LossBackward, SoftLoss
from .rule import call
from .softmax_rules import LogSumExp, Softmax
from .targets import Target
from .tensor_classes import functions_for
from .tensors import (
    as_tensor,
    can_write,
    holds_nan,
    in_memory,
    in_strides,
    is_autocast,
    is_transformed,
    is_watched,
    memory,
    shape_of,
    tracks,
    why_unreadable,
)

__all__ = [
    "arguments_of",
    "functions_for",
    "logsumexp",
    "loss",
    "loss_and_gradient",
    "outside_graphs",
    "predict",
    "row_stats",
    "softmax",
    "top_k",
    "validate",
    "validate_arguments",
]

_HALVES = (torch.float16, torch.bfloat16)
_FLOATS = (*_HALVES, torch.float32, torch.float64)


# Class of deferred logits -> the module with its own loss, row_stats and top_k. Those return None where the
# logits have to be materialized. The module registers the class here, since it is above this one: it calls
# the functions below.
DEFERRED: dict[type, Any] = {}


def floating_scores(function: str, x: Tensor) -> Tensor:
    """``x`` as a floating-point tensor, without a subclass that leaves PyTorch's operations as they are."""
    name = tensor_errors.scores_name(function)
    x = in_strides(function, name, materialized(x))
    if type(x) is not Tensor and type(x).__torch_dispatch__ is Tensor.__torch_dispatch__:
        x = x.as_subclass(Tensor)
    if not x.is_floating_point():
        if x.is_complex():
            tensor_errors.not_floating(function, name, x)
        x = x.to(torch.get_default_dtype())
    if x.dtype not in _FLOATS:
        tensor_errors.not_floating(function, name, x)
    return x


# --- softmax ------------------------------------------------------------------------------------------------


def softmax(
    function: str, x: Tensor, axis: Any, where: Any, temperature: float, out: Tensor | None
) -> Tensor:
    """``lastlayer.softmax`` or ``lastlayer.log_softmax``."""
    if where is None and out is None and type(temperature) is float and temperature == 1.0:
        found = fast_path.softmax(x, axis, function == "log_softmax")
        if found is not None:
            return found
    x = _for_autocast(floating_scores(function, x))
    if out is not None:
        _check_out(function, x, out, temperature)
    if type(axis) is not int:
        x, where, folding = _folded(function, x, where, axis)
        y = _unfolded(softmax(function, x, -1, where, temperature, None), folding)
        return y if out is None else out.copy_(y)
    options = number_options.read(Options(function, axis, temperature=temperature), x)
    form = canonical.scores_form(x, options)
    where = None if where is None else _where(function, x, where)
    log = function == "log_softmax"
    if isinstance(form.temperature, Tensor):
        y = composed.softmax(x, form.axis, where, form.temperature, log)
        return y if out is None else out.copy_(y)
    arguments = x, where, form.axis, form.temperature, log
    if out is None:
        if is_watched(x):
            if is_transformed():  # as in `loss_of`: registered operations have no rule for transforms
                return composed.softmax(x, form.axis, where, form.temperature, log)
            return ops.softmax(*arguments)  # type: ignore[no-any-return]
        return call(Softmax, *arguments)  # type: ignore[no-any-return]
    if way_of(x) is not COMPOSED and can_write(out, x, where):
        kernels.softmax(*arguments, out)
        if not out.is_inference():  # inference tensors have no version counter
            torch.autograd.graph.increment_version(out)
        return out
    return out.copy_(kernels.softmax(*arguments))


def logsumexp(x: Tensor, axis: Any, where: Any, keepdims: bool) -> Tensor:
    """``lastlayer.logsumexp``."""
    x = floating_scores("logsumexp", x)
    if type(axis) is not int:
        x, where, folding = _folded("logsumexp", x, where, axis)
        shape = [1 if i in folding.axes else n for i, n in enumerate(folding.shape)]
        folded = logsumexp(x, -1, where, False)
        return folded.reshape(shape) if keepdims else folded
    axis = canonical.scores_form(x, Options("logsumexp", axis)).axis
    where = None if where is None else _where("logsumexp", x, where)
    lse: Tensor
    if not is_watched(x):
        lse = call(LogSumExp, x, where, Form(axis))
    elif is_transformed():  # as in `loss_of`
        lse = composed.logsumexp(x, Form(axis), where)
    else:
        lse = ops.logsumexp(x, where, axis)
    return lse.unsqueeze(axis) if keepdims else lse


def _for_autocast(x: Tensor) -> Tensor:
    """``x`` in float32 where autocast computes softmax in it: on GPUs, not on CPUs. Losses always are."""
    return x.float() if x.dtype in _HALVES and not x.is_cpu and is_autocast(x) else x


def _folded(function: str, x: Tensor, where: Any, axis: Any) -> tuple[Tensor, Tensor | None, problem.Axes]:
    """``x`` and ``where`` with several class axes folded into one last axis; and `problem.Axes` to unfold."""
    folding = problem.folding(function, x, axis)
    where = None if where is None else _where(function, x, where)
    rows = len(folding.order) - len(folding.axes)

    def fold(x: Tensor) -> Tensor:
        x = x.permute(folding.order)
        return x.reshape(*x.shape[:rows], math.prod(x.shape[rows:]))

    return fold(x), None if where is None else fold(where), folding


def _unfolded(y: Tensor, folding: problem.Axes) -> Tensor:
    y = y.reshape([folding.shape[i] for i in folding.order])
    return y.permute([folding.order.index(i) for i in range(y.ndim)])


def _where(function: str, x: Tensor, where: Any) -> Tensor:
    """``where`` as bools in the shape of ``x``."""
    where = as_tensor(function, "where", where, x)
    if not torch.compiler.is_compiling():
        problem.mask(function, shape_of(x), shape_of(where))
    return where.expand(x.shape)  # type: ignore[no-any-return]


def _check_out(function: str, x: Tensor, out: Any, temperature: Any) -> None:
    """Raise unless ``out`` can hold the result."""
    known = isinstance(out, Tensor) and not torch.compiler.is_compiling() and out.layout is torch.strided
    learned = temperature if isinstance(temperature, Tensor) else None
    records = isinstance(out, Tensor) and tracks(x, out, learned)
    problem.check_tensor_out(function, x, out, out.stride() if known else None, records)


# --- losses -------------------------------------------------------------------------------------------------


def loss(x: Tensor, given: Given, values: OptionValues) -> Tensor:
    """``lastlayer.cross_entropy``, ``nll_loss`` or ``log_loss``: the function that the options name."""
    y, w, s = given
    function, ignore_index, reduction = values[0], values[IGNORE_INDEX], values[REDUCTION]
    if (
        w is None
        and s is None
        and has_defaults(values)
        and (found := fast_path.loss(function, x, y, values[AXIS], ignore_index, reduction)) is not None
    ):
        return found
    o = Options(*values)
    if (
        function == "cross_entropy"
        and (deferred := DEFERRED.get(type(x))) is not None
        and (found := deferred.loss(x, *given, o)) is not None
    ):
        return found  # type: ignore[no-any-return]
    return loss_of(*arguments_of(x, given, o))


def loss_of(x: Tensor, target: Target, o: Options) -> Tensor:
    """The loss, from checked tensors: see `arguments_of`."""
    if isinstance(o.denominator, Tensor) and o.reduction == "mean":
        return number_options.over(loss_of(x, target, summed(o)), o.denominator)
    if not (only_scores_learn(*target) and number_options.are_read(o)):
        if _learns_dense(x, target, o):
            return SoftLoss.apply(x, *target[:3], o)  # type: ignore[no-any-return, no-untyped-call]
        if on_core(x):
            resolve(x, target, number_options.stand_ins(o))  # for its errors
        return kernels.composed_loss(x, target, o)
    if is_watched(x):
        if is_transformed():  # transforms of torch.func in a graph cannot differentiate registered operations
            return kernels.composed_loss(x, target, o)
        if kernel_rules.with_gradient_in_graph(x, o):
            return ops.loss_and_gradient(x, *target, *o[:-1])[0]  # type: ignore[no-any-return]
        return ops.loss(x, *target, *o[:-1])  # type: ignore[no-any-return]
    if (
        o.function == "cross_entropy"
        and may_use_kernels(x)
        and kernel_rules.tracks_only_backward(x)
        and way_of(x) is TRITON
    ):
        return kernel_rules.differentiable_loss(x, target, canonical.form_of(x, target, o), o)
    return call(Loss, x, *target, o)  # type: ignore[no-any-return]


def _learns_dense(x: Tensor, target: Target, o: Options) -> bool:
    """Whether `SoftLoss` applies: dense targets may require a gradient, but nothing else than the scores."""
    y, w, s, *_ = target
    return (
        o.function == "cross_entropy"
        and o.softcap is None
        and number_options.are_read(o)
        and not target.is_top_k
        and y.shape == x.shape
        and y.dtype is x.dtype
        and x.dtype not in _HALVES
        and not (is_watched(x) or is_transformed() or forward_ad._current_level >= 0)
        and on_core(x)
        and in_memory(y)
        and not any(t is not None and (t.requires_grad or not in_memory(t)) for t in (w, s))
    )


def loss_and_gradient(x: Tensor, given: Given, o: Options) -> tuple[Tensor, Tensor]:
    """``lastlayer.cross_entropy_grad``."""
    return loss_and_gradient_of(*arguments_of(x, given, o))


def loss_and_gradient_of(x: Tensor, target: Target, o: Options) -> tuple[Tensor, Tensor]:
    """The loss and its gradient, from checked tensors."""
    if number_options.are_read(o) and not (is_watched(x) or tracks(x, *target)):
        return kernels.loss_and_gradient(x, target, o)
    value = loss_of(x, target, o)
    ones = torch.ones_like(value)
    if isinstance(o.denominator, Tensor) and o.reduction == "mean":
        o, ones = summed(o), number_options.over(ones, o.denominator)
    if only_scores_learn(*target) and number_options.are_read(o):
        if is_watched(x) and is_transformed():  # as in `loss_of`
            return value, kernels.composed_gradient(ones, x, target, o)
        if is_watched(x):
            return value, ops.loss_backward(ones, x, *target, *o[:-1])
        return value, call(LossBackward, ones, x, *target, o)
    return value, kernels.composed_gradient(ones, x, target, o)


def validate(x: Tensor, given: Given, values: OptionValues, shard: Any = None) -> None:
    """Read targets, weights and options, and raise the error of the same call in CPU memory.

    It synchronizes. No effect where the call itself checks; an error where nothing can be read.
    """
    if type(x) in DEFERRED:
        return
    if not torch.compiler.is_compiling():
        _validate(x, given, Options(*values), shard)
    elif not (x.is_cpu and selection.native_tensors):  # else the operation checks when it runs
        _validate_outside(x, given, Options(*values), shard)


def _validate(was: Tensor, given: Given, o: Options, shard: Any) -> None:
    x, target, checked = floating_scores(o.function, was), None, o
    if given[0] is not None:
        x, target, checked = arguments_of(was, given, o)
    first = None
    if shard is not None:
        index = target is not None and not target.is_top_k and not target.is_dense(x)
        offset, target_logits = shard
        first = problem.class_offset(o.function, offset, target_logits, index)
    if target is not None and not was.is_floating_point() and target.is_dense(x):
        _require_numbers(o.function, was, target.y)
        problem.not_exchanged(o.function, memory(was.cpu()), o.axis, memory(target.y.detach().cpu()))
    validate_arguments(x, target, number_options.as_passed(checked, o), first)


# As by torch.compiler.disable, which would import the compiler here.
outside_graphs: Any = torch._disable_dynamo  # type: ignore[attr-defined]
_validate_outside = outside_graphs(_validate)


def validate_arguments(x: Tensor, target: Target | None, o: Options, first: int | None = None) -> None:
    """`validate` of tensors; of ``x`` only the shape, dtype and device are read."""
    if number_options.are_read(o) and on_core(x):
        return
    numbers = number_options.tensors(o)
    _require_numbers(o.function, x, *(target or ()), *numbers.values())
    read: dict[str, Any] = {name: t.detach().item() for name, t in numbers.items()}
    canonical.validate(x, target, o._replace(**read), first)


def _require_numbers(function: str, *tensors: Tensor | None) -> None:
    """Raise unless the numbers of all tensors can be read, by synchronizing."""
    for t in tensors:
        if t is not None and (kind := why_unreadable(t)) is not None:
            tensor_errors.cannot_validate(function, kind)


def row_stats(x: Tensor, given: Given, o: Options, shard: Any = None) -> RowStats:
    """``lastlayer.row_stats``; ``shard``: class_offset and target_logits."""
    if shard is not None:
        return _row_stats_of_shard(x, given, o, *shard)
    deferred = DEFERRED.get(type(x))
    if deferred is not None and (found := deferred.row_stats(x, *given, o)) is not None:
        return found  # type: ignore[no-any-return]
    if given[0] is None:
        x = floating_scores(o.function, x)
        return row_stats_of(x, None, number_options.read(o, x))
    return row_stats_of(*arguments_of(x, given, o))


def _row_stats_of_shard(x: Tensor, given: Given, o: Options, offset: Any, target_logits: Any) -> RowStats:
    """The statistics of a shard of the classes."""
    target: Target | None = None
    if given[0] is None:
        x = floating_scores(o.function, x)
        o = number_options.read(o, x)
    else:
        x, target, o = arguments_of(x, given, o)
    index = target is not None and not target.is_top_k and target.y.shape != x.shape
    first = problem.class_offset(o.function, offset, target_logits, index)
    z_y = None
    if target_logits is not None:
        z_y = as_tensor(o.function, "target_logits", target_logits, x)
        if not torch.compiler.is_compiling():
            problem.target_logits(canonical.scores_of(x, o), shape_of(z_y))
    own = None if target is None else shards.own_targets(x, target, o, first)
    stats = row_stats_of(x, own, shards.own_options(own, x, o))
    stats = shards.placed(stats, own, first, x, o.axis)
    return stats if target is None or z_y is None else shards.with_ranks(stats, x, target.y, z_y, o, first)


def row_stats_of(x: Tensor, target: Target | None, o: Options) -> RowStats:
    """The statistics, from checked tensors."""
    composing = not number_options.are_read(o) or (target is not None and not only_scores_learn(*target))
    return rows.row_stats(x, target, o, composing)


def predict(x: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """``lastlayer.predict``."""
    x = x.detach()
    with torch.no_grad():
        if (deferred := DEFERRED.get(type(x))) is not None and (
            found := deferred.row_stats(x, None, None, None, options)
        ) is not None:
            return found.argmax, found.confidence
        x = floating_scores("predict", x)
        return kernels.predict(x, number_options.read(options, x))


def top_k(x: Tensor, k: Any, options: Options) -> tuple[Tensor, Tensor]:
    """``lastlayer.top_k``."""
    x = x.detach()
    deferred = DEFERRED.get(type(x))
    if deferred is not None and (found := deferred.top_k(x, k, options)) is not None:
        return found  # type: ignore[no-any-return]
    x = floating_scores("top_k", x)
    with torch.no_grad():
        return kernels.top_k(x, k, number_options.read(options, x))


def summed(o: Options) -> Options:
    """The options of the sum, which the caller divides by the denominator."""
    return o._replace(reduction="sum", denominator=None)


def arguments_of(x: Tensor, given: Given, o: Options) -> tuple[Tensor, Target, Options]:
    """The tensors of a loss, on the device of the scores, and its options with numbers instead of tensors."""
    function, was, (y, w, s) = o.function, x, given
    x = floating_scores(function, x)
    o = number_options.read(o, x)
    if isinstance(o.ignore_index, Tensor):
        o = o._replace(ignore_index=number_options.integer(function, "ignore_index", o.ignore_index))
    y, *listed = _top_k(function, y, x) if problem.is_top_k(y) else [_targets(function, y, x, o)]
    if (
        was.dtype is not x.dtype
        and y.shape == x.shape
        and _is_axis(o.axis, x)
        and not torch.compiler.is_compiling()
        and in_memory(was)
        and in_memory(y)
    ):
        problem.not_exchanged(function, memory(was), o.axis, memory(y))
    w = None if w is None else as_tensor(function, "class_weight", w, x)
    s = None if s is None else as_tensor(function, "sample_weight", s, x)
    return x, Target(y, w, s, *listed), o


def _top_k(function: str, y: Any, x: Tensor) -> list[Tensor]:
    """The tensors of top-k targets."""
    parts = [as_tensor(function, f"targets[{i}]", part, x) for i, part in enumerate(y) if part is not None]
    dtype = parts[0].dtype
    if (dtype.is_floating_point and parts[0].numel()) or dtype is torch.bool:
        problem.not_indices(function, "targets[0]", parts[0])
    return [parts[0].long() if dtype.is_floating_point else parts[0], *parts[1:]]


def _targets(function: str, y: Any, x: Tensor, o: Options) -> Tensor:
    """The tensor of index or dense targets."""
    y = as_tensor(function, "targets", y, x)
    if y.is_floating_point() or y.dtype is torch.bool:
        rows = x.shape[: o.axis % x.ndim] + x.shape[o.axis % x.ndim + 1 :] if _is_axis(o.axis, x) else None
        if y.shape == rows and y.shape != x.shape:
            if y.numel() or not y.is_floating_point():
                problem.not_indices(function, "targets", y, holds_nan(y))
            y = y.long()  # torch.tensor([]) has no dtype of its own
    return y  # type: ignore[no-any-return]


def _is_axis(axis: Any, x: Tensor) -> bool:
    return type(axis) is int and -x.ndim <= axis < x.ndim


def only_scores_learn(y: Tensor, *others: Tensor | None) -> bool:
    """Whether only the scores can require a gradient, not targets or weights."""
    if not y.is_floating_point() and all(t is None for t in others):
        return True
    if not torch.compiler.is_compiling() and (is_transformed() or forward_ad._current_level >= 0):
        return False  # requires_grad does not tell what a transform differentiates
    return not (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (y, *others)))
