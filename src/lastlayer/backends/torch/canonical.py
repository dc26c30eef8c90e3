"""Check calls on tensors. In: tensors and options. Out: a checked problem, or a `Form`; or an error.

For the core, `problem` checks the tensors' memory as NumPy arrays (`resolve`). Where numbers cannot be read,
on GPUs (that would synchronize) and inside `torch.func`, only shapes and dtypes are checked (`form_of`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lastlayer import problem, resolving, selection
from lastlayer.backends import reference
from lastlayer.backends.core import native
from lastlayer.options import Options, shares

from . import number_options
from .choice import on_core
from .composed import Form
from .targets import Target
from .tensors import in_memory, memory, shape_of

__all__ = ["form_of", "resolve", "scores_form", "scores_in_memory", "scores_of", "shard_of", "validate"]

_UNKNOWN_TOTALS = -1, 1.0  # stands for `target_totals` where the targets cannot be read


def resolve(x: Tensor, target: Target, o: Options) -> problem.Problem:
    """The checked problem of a loss, on the tensors' memory."""
    _, w, s, *_ = target
    given = _given(target, memory), _weights(w), _weights(s)
    return resolving.resolve(scores_in_memory(x, o), native, given, o)


def validate(x: Tensor, target: Target | None, o: Options, first: int | None = None) -> None:
    """Raise the error of the same call in CPU memory, to which targets and weights are copied.

    Of the scores and of dense floats only shape and dtype are checked, as in CPU memory. ``first``: the first
    class of a shard.
    """
    scores = scores_of(x, o)
    if target is None:
        return

    def look(t: Tensor) -> Any:
        return shape_of(t) if t.shape == x.shape and t.is_floating_point() else memory(t.detach().cpu())

    def weights(t: Tensor | None) -> Any:
        return None if t is None else _weights(t.detach().cpu())

    totals = native if "native" not in selection.missing else reference
    y, w, s = _given(target, look), weights(target.class_weight), weights(target.sample_weight)
    if first is not None:
        _, y, s, ignore_index = problem.shard(scores, first, y, s, o.ignore_index, o.label_smoothing)
        o = o._replace(ignore_index=ignore_index)
    resolving.resolve(scores, totals, (y, w, s), o)


def _given(target: Target, look: Callable[[Tensor], Any]) -> Any:
    """The targets as a user passes them, with each tensor replaced by the array ``look(tensor)``."""
    if not target.is_top_k:
        return look(target.y)
    parts = [t.float() if t.dtype is torch.bfloat16 else t for t in target[3:] if t is not None]
    return look(target.y), *(look(t) for t in parts)


def _weights(w: Tensor | None) -> Any:
    """Weights as a NumPy array; bfloat16 as float32."""
    if w is None:
        return None
    return memory(w.float() if w.dtype is torch.bfloat16 else w)


def form_of(x: Tensor, target: Target, o: Options) -> Form:
    """The options of a loss in canonical form, checked against the tensors' shapes and dtypes only."""
    if torch.compiler.is_compiling():  # shapes are symbolic: later operations raise the errors
        return Form(
            o.axis % x.ndim,
            o.temperature,
            o.softcap,
            *shares(o, x.shape[o.axis]),
            o.ignore_index if target.is_top_k or target.y.shape != x.shape else None,
            o.z_loss,
            o.reduction,
            o.denominator,
        )
    key = _key(x, target, o)
    if key is not None and (known := _forms.get(key)) is not None:
        return known
    form = _checked_form(x, target, o)
    if key is not None:
        if len(_forms) >= _MOST_FORMS:
            _forms.clear()
        _forms[key] = form
    return form


# The forms of calls that were checked before: a check takes as long as a kernel of a few thousand logits.
_forms: dict[Any, Form] = {}
_MOST_FORMS = 256
_PLAIN = frozenset((int, float, str, type(None)))


def _key(x: Tensor, target: Target, o: Options) -> Any:
    """What a `Form` follows from; None if an option is not a plain number, or a tensor not a plain one."""
    if type(x) is not Tensor or type(o.axis) is not int or type(o.ignore_index) is float:
        return None
    for value in o:
        if type(value) not in _PLAIN:
            return None
    return o, x.shape, x.dtype, *[None if t is None else (t.shape, t.dtype) for t in target]


def _checked_form(x: Tensor, target: Target, o: Options) -> Form:
    _, w, s, *_ = target
    given, o = o, number_options.stand_ins(o)
    scores = problem.scores(o.function, shape_of(x), o.axis, None, o.temperature, o.softcap)
    w, s = (None if t is None else shape_of(t) for t in (w, s))
    t = problem.effective_targets(scores, (_given(target, shape_of), w, s), o)
    checked = problem.finish(scores, t, _UNKNOWN_TOTALS, o)
    total = None if o.denominator is None else float(o.denominator)
    form = Form(
        scores.axis,
        scores.temperature,
        scores.softcap,
        t.on,
        t.off,
        t.ignore_index,
        t.z_loss,
        checked.reduction,
        total,
    )
    return form if given is o else _with_tensors(form, given, x.shape[scores.axis])


def _with_tensors(form: Form, o: Options, classes: int) -> Form:
    """The canonical form with the options that stay tensors."""
    found: dict[str, Any] = {
        name: number
        for name in ("temperature", "softcap", "z_loss", "denominator")
        if isinstance(number := getattr(o, name), Tensor)
    }
    on, off = shares(o, classes)
    return form._replace(**found, **({"on": on, "off": off} if isinstance(off, Tensor) else {}))


def scores_of(x: Tensor, o: Options) -> problem.Scores:
    """The scores, checked by the tensor's shape and dtype; their array has zeros for numbers."""
    o = number_options.stand_ins(o)
    return problem.scores(o.function, shape_of(x), o.axis, None, o.temperature, o.softcap)


def shard_of(x: Tensor, target: Target, o: Options, first: int) -> None:
    """Check the targets of a shard of the classes; their values too, if these are in CPU memory."""
    look = memory if on_core(x) and all(t is None or in_memory(t) for t in target) else shape_of
    if isinstance(o.label_smoothing, Tensor):
        problem.no_smoothing(o.function, "a tensor")
    s = target.sample_weight
    given = _given(target, look), None if s is None else shape_of(s)
    problem.shard(scores_of(x, o), first, *given, o.ignore_index, o.label_smoothing)


def scores_form(x: Tensor, o: Options) -> Form:
    """The options of scores, without targets, in canonical form; checked by the tensor's shape and dtype."""
    if torch.compiler.is_compiling():
        return Form(o.axis % x.ndim, o.temperature, o.softcap, reduction="none")
    given, o = o, number_options.stand_ins(o)
    _, _, axis, _, temperature, softcap = problem.scores(
        o.function, shape_of(x), o.axis, None, o.temperature, o.softcap
    )
    form = Form(axis, temperature, softcap, reduction="none")
    return (
        form
        if given is o
        else form._replace(
            temperature=given.temperature if isinstance(given.temperature, Tensor) else temperature,
            softcap=given.softcap if isinstance(given.softcap, Tensor) else softcap,
        )
    )


def scores_in_memory(x: Tensor, o: Options) -> problem.Scores:
    """The checked scores, as a NumPy array on the tensor's memory."""
    return problem.scores(o.function, memory(x), o.axis, None, o.temperature, o.softcap)
