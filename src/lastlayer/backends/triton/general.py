"""The functions with any option, any class axis and any strides, by kernels that read the strides.

In: tensors, options in canonical form. Out: tensors. See `calls`. What no kernel here computes is composed of
PyTorch's operations: no elements, options that are tensors, more than 64 listed targets or top classes, and a
denominator of 0.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from math import e, log2
from struct import pack, unpack
from typing import Any

import torch
from torch import Tensor

from lastlayer.backends.torch import composed, losses
from lastlayer.backends.torch.form import Form
from lastlayer.backends.torch.targets import Target, rows_of, signed

from .backward import backward as backward_kernel
from .launching import processors, workspace
from .layout import Layout, Tiling, layout, tiling
from .online import DENSE, EACH, NOTHING
from .plan import power_of_two
from .ranking import top_k as top_k_kernel
from .rows import GRADIENT, LOG_SOFTMAX, LSE, SOFTMAX
from .statistics import ABSENT, INDEX, KEEP, LISTED, NO_RESULT, PREDICT, REPORT
from .statistics import statistics as statistics_kernel
from .sums import MEAN, NONE, SUM
from .visit import visit as visit_kernel

__all__ = [
    "cross_entropy",
    "cross_entropy_and_gradient",
    "cross_entropy_and_statistics",
    "gradient",
    "logsumexp",
    "logsumexp_backward",
    "predict",
    "softmax",
    "softmax_backward",
    "statistics",
    "top_k",
]

_MOST_LISTED = 64


def _programs(x: Tensor) -> int:
    """How many programs go through the rows: as many as run at once."""
    return 8 * processors(x)


def _launch(kernel: Any, programs: int, x: Tensor, *args: Any, **meta: Any) -> None:
    with torch.cuda.device_of(x) if x.is_cuda else nullcontext():
        kernel[(programs,)](*args, **meta)


class _Targets:
    """The arguments of the kernels that describe targets; None in place of tensors that are absent."""

    def __init__(self, x: Tensor, target: Target | None, form: Form) -> None:
        shape = rows_of(x, form.axis % x.ndim)
        self.y = self.p = self.q = self.left = self.w = self.s = None
        self.listed, self.s_stride, self.integer = 1, 0, False
        self.placed, self.each = ABSENT, NOTHING
        self.ignore = form.ignore_index
        if target is None:
            return
        if target.class_weight is not None:
            self.w = target.class_weight.contiguous()
        if target.sample_weight is not None:
            self.s, self.s_stride = _of_rows(target.sample_weight, shape)
        if target.is_top_k:
            assert target.probabilities is not None
            self.y, self.p = signed(target.y).contiguous(), target.probabilities.contiguous()
            self.placed, self.listed = LISTED, target.y.shape[-1]
            if target.rest is not None:
                self.left = target.rest.expand(shape).contiguous()
            if form.off or self.left is not None:
                self.each = EACH
        elif target.is_dense(x):
            self.q, self.each = target.y, DENSE
            self.integer = not target.y.is_floating_point()
        else:
            y = signed(target.y) if target.y.dtype is torch.uint64 else target.y
            self.y, self.placed = y.contiguous(), INDEX
            self.each = EACH if form.off else NOTHING


def _of_rows(t: Tensor, shape: torch.Size) -> tuple[Tensor, int]:
    """A tensor of one number a row, and its stride: 0 if all rows have the same number."""
    if t.shape != shape:
        t = t.expand(shape)
    if not any(t.stride()):
        return t, 0
    return t.contiguous(), 1


def _numbers(form: Form) -> bool:
    """Whether all options are Python numbers."""
    return not any(isinstance(value, Tensor) for value in form)


def _pair(value: float) -> tuple[float, float]:
    """A number as the sum of two of float32."""
    high: float = unpack("f", pack("f", value))[0]
    return high, value - high


@lru_cache(64)
def _how_of(temperature: float, softcap: float) -> tuple[float, ...]:
    scale, scale_low = _pair(log2(e) / temperature)
    per_scale = temperature / log2(e)
    return scale, scale_low, per_scale, *_pair(1 / temperature), *_pair(softcap), *_pair(1 / softcap)


def _how(form: Form) -> tuple[float, ...]:
    """The numbers that `scores` makes of temperature and softcap."""
    return _how_of(float(form.temperature), 1.0 if form.softcap is None else float(form.softcap))


def _most(form: Form) -> int:
    """The classes of a tile: as many as registers hold."""
    return 2048 if form.softcap is None else 1024


def _in_range(form: Form) -> bool:
    """Whether temperature and softcap, their inverses, and what is lost by rounding them are in float32."""
    return all(2.0**-90 < number < 2.0**90 for number in (form.temperature, form.softcap or 1.0))


def _can(x: Tensor, target: Target | None, form: Form) -> bool:
    """Whether the kernels compute this call."""
    if not x.numel() or not _numbers(form) or not _in_range(form):
        return False
    return target is None or not target.is_top_k or target.y.shape[-1] <= _MOST_LISTED


def _laid_out(axis: int, x: Tensor, *others: Tensor | None) -> tuple[Layout, list[Any]]:
    """The layout of x and other tensors of its shape, or of contiguous copies of them; None stays None."""
    given: list[Any] = [x, *others]
    found = layout(axis, *(t for t in given if t is not None))
    if found is None:
        given = [None if t is None else t.contiguous() for t in given]
        found = layout(axis, *(t for t in given if t is not None))
        assert found is not None
    strides, at = [], iter(found.strides)
    for t in given:
        strides.append((0, 0, 0) if t is None else next(at))
    return found._replace(strides=tuple(strides)), given


def _tiles(found: Layout, tile: Tiling) -> int:
    """How many tiles of rows there are."""
    return found.rows // found.inner * -(-found.inner // tile.rows)


def _meta(x: Tensor, found: Layout, form: Form, t: _Targets, tile: Tiling) -> dict[str, Any]:
    """The compile-time arguments that both kernels share."""
    transformed = form.softcap is not None or form.temperature != 1.0
    return {
        "CAPPED": form.softcap is not None,
        "PLACED": t.placed,
        "T": t.each,
        "LEFT": t.left is not None,
        "WEIGHTED": t.w is not None,
        "SAMPLED": t.s is not None,
        "IGNORED": t.ignore is not None and t.y is not None,
        "Z_LOSS": form.z_loss != 0.0,
        "R": tile.rows,
        "C": tile.classes,
        "KP": power_of_two(t.listed),
        "WIDE": x.dtype is torch.float32 or transformed,
        "LONG": found.is_long(*tile),
    }


def _options(form: Form, t: _Targets, classes: int) -> tuple[Any, ...]:
    """``how``, on, off, left_share, ignore, z_loss."""
    return (
        *_how(form),
        float(form.on),
        float(form.off),
        float(form.on) / classes,
        0 if t.ignore is None else t.ignore,
        float(form.z_loss),
    )


def _factor(form: Form) -> float:
    """What the sum over rows is multiplied with."""
    return 1.0 / float(form.denominator) if form.reduction == "mean" and form.denominator else 1.0


def _reduction(form: Form) -> Any:
    if form.reduction == "none":
        return NONE
    return MEAN if form.reduction == "mean" and form.denominator is None else SUM


_FIELDS = ("peak", "rest", "gap", "mass", "weight", "target_weight", "spread", "square")


def _run(
    x: Tensor, target: Target | None, form: Form, found: Any, rows: bool, where: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """Launch `statistics`: (rows, found, numbers, result)."""
    t = _Targets(x, target, form)
    if where is not None:
        where = where.expand(x.shape)
    lay, (x, q, mask) = _laid_out(form.axis, x, t.q, where)
    tile = tiling(lay, power_of_two(t.listed), 1024 if found >= REPORT else _most(form))
    n, shape = lay.rows, rows_of(x, form.axis % x.ndim)
    reduce = NONE if target is None else _reduction(form)
    out = x.new_empty(shape, dtype=torch.float32) if rows else None
    fields = {NO_RESULT: 0, KEEP: 3, REPORT: 8, PREDICT: 1}[found]
    kept = x.new_empty((fields, *shape), dtype=torch.float32) if fields else None
    numbers = x.new_empty((2, *shape), dtype=torch.int64) if found >= REPORT else None
    result = None if reduce == NONE else x.new_empty(2, dtype=torch.float32)
    programs = min(_tiles(lay, tile), _programs(x))
    parts, counters, _ = workspace(x, programs)
    _launch(
        statistics_kernel,
        programs,
        x,
        *(x, _or(q, x), _or(mask, x), _or(t.y, x), _or(t.p, x), _or(t.left, x), _or(t.w, x), _or(t.s, x)),
        *(_or(out, x), _or(kept, x), _or(numbers, x), _or(result, x), parts, counters),
        *(n, lay.inner, lay.classes, t.listed),
        *(number for strides in lay.strides for number in strides),
        t.s_stride,
        *_options(form, t, lay.classes),
        _factor(form),
        ROWS=rows,
        REDUCE=reduce,
        FOUND=found,
        MASKED=mask is not None,
        INTEGER=t.integer,
        **_meta(x, lay, form, t, tile),
    )
    return out, kept, numbers, result


def _or(t: Tensor | None, other: Tensor) -> Tensor:
    """A tensor to pass; one that is not read in place of None."""
    return other if t is None else t


def _visit(
    mode: Any,
    x: Tensor,
    target: Target | None,
    form: Form,
    where: Tensor | None = None,
    grad: Tensor | None = None,
    kept: Tensor | None = None,
    total: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Launch `visit`: a tensor of the shape of x."""
    t = _Targets(x, target, form)
    if where is not None:
        where = where.expand(x.shape)
    wanted = out
    out = torch.empty_like(x) if out is None else out
    lay, given = _laid_out(form.axis, x, out, t.q, where)
    x, out, q, mask = given
    tile = tiling(lay, power_of_two(t.listed), _most(form))
    grad, grad_stride = (x, 0) if grad is None else _of_rows(grad, rows_of(x, form.axis % x.ndim))
    tiles = _tiles(lay, tile)
    spans, span = 1, lay.classes
    if kept is not None and tiles < _programs(x):
        spans = min(-(-lay.classes // tile.classes), -(-_programs(x) // tiles))
        span = -(-lay.classes // (spans * tile.classes)) * tile.classes
        spans = -(-lay.classes // span)
    _launch(
        visit_kernel,
        tiles * spans,
        x,
        *(
            x,
            out,
            _or(q, x),
            _or(mask, x),
            _or(t.y, x),
            _or(t.p, x),
            _or(t.left, x),
            _or(t.w, x),
            _or(t.s, x),
        ),
        *(grad, _or(kept, x), _or(total, x)),
        *(lay.rows, lay.inner, lay.classes, t.listed, span),
        *(number for strides in lay.strides for number in strides),
        t.s_stride,
        grad_stride,
        *_options(form, t, lay.classes),
        _factor(form),
        MODE=mode,
        REDUCE=NONE if target is None else _reduction(form),
        FRESH=kept is None,
        MASKED=mask is not None,
        **_meta(x, lay, form, t, tile),
    )
    return out if wanted is None or wanted is out else wanted.copy_(out)


def softmax(
    x: Tensor, where: Tensor | None, axis: int, temperature: Any, log: bool, out: Tensor | None = None
) -> Tensor:
    """See `composed.softmax`; ``out`` may be ``x``."""
    form = Form(axis, temperature)
    if not _can(x, None, form):
        y = composed.softmax(x, axis, where, temperature, log)
        return y if out is None else out.copy_(y)
    return _visit(LOG_SOFTMAX if log else SOFTMAX, x, None, form, where, out=out)


def softmax_backward(
    grad: Tensor, y: Tensor, where: Tensor | None, axis: int, temperature: Any, log: bool
) -> Tensor:
    """See `composed.softmax_backward`."""
    if not _can(y, None, Form(axis, temperature)):
        return composed.softmax_backward(grad, y, where, axis, temperature, log)
    where = where.expand(y.shape) if where is not None and log else None
    lay, given = _laid_out(axis, y, grad.expand(y.shape), torch.empty_like(y), where)
    y, grad, out, mask = given
    tile = tiling(lay, most=4096)
    _launch(
        backward_kernel,
        _tiles(lay, tile),
        y,
        *(grad, y, out, _or(mask, y), lay.inner, lay.classes),
        *(number for i in (1, 0, 2, 3) for number in lay.strides[i]),
        float(temperature),
        LOG=log,
        MASKED=mask is not None,
        TEMPERED=temperature != 1.0,
        ONCE=lay.classes <= tile.classes,
        R=tile.rows,
        C=tile.classes,
        LONG=lay.is_long(*tile),
    )
    dx: Tensor = out
    return dx


def logsumexp(x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """See `composed.logsumexp`."""
    if not _can(x, None, form):
        return composed.logsumexp(x, form, where)
    lse = _run(x, None, form, NO_RESULT, True, where)[0]
    assert lse is not None
    return lse


def logsumexp_backward(grad: Tensor, x: Tensor, form: Form, where: Tensor | None = None) -> Tensor:
    """See `composed.logsumexp_backward`."""
    if not _can(x, None, form):
        return composed.logsumexp_backward(grad, x, form, where)
    return _visit(LSE, x, None, form, where, grad)


def _computes(x: Tensor, target: Target, form: Form) -> bool:
    return _can(x, target, form) and not (form.reduction == "mean" and form.denominator == 0)


def _loss(x: Tensor, target: Target, form: Form, found: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """(loss, statistics, total)."""
    rows, kept, _, result = _run(x, target, form, found, form.reduction == "none")
    if result is None:
        assert rows is not None
        return rows, kept, None
    return result[0], kept, result[1:]


def cross_entropy(x: Tensor, target: Target, form: Form) -> Tensor:
    """See `losses.cross_entropy`."""
    if not _computes(x, target, form):
        return losses.cross_entropy(x, target, form)
    return _loss(x, target, form, NO_RESULT)[0]


def cross_entropy_and_statistics(x: Tensor, target: Target, form: Form) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss, and statistics of the rows from which `gradient` needs one visit less."""
    if not _computes(x, target, form):
        return losses.cross_entropy_and_statistics(x, target, form)
    loss, kept, total = _loss(x, target, form, KEEP)
    assert kept is not None
    return loss, (kept,) if total is None else (kept, total)


def cross_entropy_and_gradient(x: Tensor, target: Target, form: Form) -> tuple[Tensor, Tensor]:
    """The loss, and the gradient of the loss (of its sum for "none")."""
    if not _computes(x, target, form):
        return losses.cross_entropy_and_gradient(x, target, form)
    loss, kept = cross_entropy_and_statistics(x, target, form)
    return loss, gradient(loss.new_ones(()), x, target, form, kept)


def gradient(
    grad: Tensor, x: Tensor, target: Target, form: Form, kept: tuple[Tensor, ...] | None = None
) -> Tensor:
    """d(grad . loss)/dx; see `losses.gradient`."""
    if not _computes(x, target, form):
        return losses.gradient(grad, x, target, form, kept or ())
    if not kept:
        kept = cross_entropy_and_statistics(x, target, form)[1]
    total = kept[1] if len(kept) > 1 else None
    return _visit(GRADIENT, x, target, form, grad=grad, kept=kept[0], total=total)


def statistics(x: Tensor, target: Target | None, form: Form) -> dict[str, Tensor]:
    """See `losses.statistics`."""
    if not _can(x, target, form):
        return losses.statistics(x, target, form)
    _, found, numbers, _ = _run(x, target, form._replace(reduction="none"), REPORT, False)
    assert found is not None
    assert numbers is not None
    result = dict(zip(_FIELDS, found, strict=True)) | {"argmax": numbers[0]}
    if form.temperature < 1:  # it may be beyond float32
        result["peak"] = result["peak"].double() / form.temperature
    names = ["peak", "rest", "argmax", "spread", "square"]
    if target is not None:
        names += ["gap", "mass", "weight"]
        if not target.is_top_k and not target.is_dense(x):
            names += ["target_weight", "rank"]
            result["rank"] = numbers[1]
    return {name: result[name] for name in names}


def predict(x: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """See `composed.predict`."""
    if not _can(x, None, form):
        return composed.predict(x, form)
    _, found, numbers, _ = _run(x, None, form, PREDICT, False)
    assert found is not None
    assert numbers is not None
    return numbers[0], found[0]


def top_k(x: Tensor, k: int, form: Form) -> tuple[Tensor, Tensor]:
    """See `composed.top_k`."""
    if not _can(x, None, form) or not 0 < k <= min(_MOST_LISTED, x.shape[form.axis]):
        return composed.top_k(x, k, form)
    lay, given = _laid_out(form.axis, x)
    (x,) = given
    tile = tiling(lay, most=_most(form))
    shape = (*rows_of(x, form.axis % x.ndim), k)
    classes, p = x.new_empty(shape, dtype=torch.int64), x.new_empty(shape, dtype=torch.float32)
    transformed = form.softcap is not None or form.temperature != 1.0
    _launch(
        top_k_kernel,
        _tiles(lay, tile),
        x,
        *(x, classes, p, lay.inner, lay.classes, k, *lay.strides[0], *_how(form)),
        CAPPED=form.softcap is not None,
        ONCE=lay.classes <= tile.classes,
        R=tile.rows,
        C=tile.classes,
        WIDE=x.dtype is torch.float32 or transformed,
        LONG=lay.is_long(*tile),
    )
    return classes, p
