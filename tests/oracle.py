"""The true results, computed independently of the package: the definitions, with many more digits.

``truth`` works on NumPy arrays of mpmath numbers (``exact=True``: small inputs, any number of digits), or of
``longdouble`` (large inputs; 64 bits of mantissa on x86-64, tested against mpmath). It is written from the
table of options in ``docs/semantics.md``, with targets spelled out as dense rows, and shares no code with the
package.
"""

from __future__ import annotations

from typing import NamedTuple

import mpmath
import numpy as np

_exp, _log1p, _tanh = (np.frompyfunc(f, 1, 1) for f in (mpmath.exp, mpmath.log1p, mpmath.tanh))


class Truth(NamedTuple):
    """All results of each row in longdouble, with the class axis of the logits."""

    softmax: np.ndarray
    log_softmax: np.ndarray
    lse: np.ndarray
    peak: np.ndarray
    losses: np.ndarray | None
    loss: np.ndarray | None  # reduced
    gradient: np.ndarray | None  # of the reduced loss, with respect to the raw logits
    gradient_size: (
        np.ndarray | None
    )  # the larger of its p term and itself: what its error is measured against
    entropy: np.ndarray
    sum_p2: np.ndarray


def truth(
    logits,
    targets=None,
    *,
    axis=-1,
    where=None,
    class_weight=None,
    sample_weight=None,
    ignore_index=-100,
    label_smoothing=0.0,
    temperature=1.0,
    softcap=None,
    z_loss=0.0,
    reduction="mean",
    denominator=None,
    exact=True,
):
    raw = np.moveaxis(np.asarray(logits).astype(np.float64), axis, -1)
    mask = None if where is None else np.moveaxis(np.broadcast_to(where, np.shape(logits)), axis, -1)
    shape, classes = raw.shape, raw.shape[-1]
    rows = raw.reshape(-1, classes)
    masks = np.ones_like(rows, bool) if mask is None else mask.reshape(-1, classes)
    digits = 40
    if exact:
        finite = rows[np.isfinite(rows)]
        spread = float(np.ptp(finite)) / min(1.0, temperature) if finite.size else 0.0
        digits += int(spread / 2.3)
    t = s = total = None
    if targets is not None:
        t, s, total = effective_targets(
            shape, targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, exact
        )
    with mpmath.workdps(digits), np.errstate(all="ignore"):
        number = mpmath.mpf if exact else np.longdouble
        out = [
            _row(
                r,
                m,
                None if t is None else t[i],
                None if s is None else s[i],
                z_loss,
                temperature,
                softcap,
                number,
            )
            for i, (r, m) in enumerate(zip(rows, masks, strict=True))
        ]
        columns = list(zip(*out, strict=True)) if out else [()] * 9  # no row at all
        p, logp, lse, peak, losses, gradient, size, entropy, sum_p2 = columns

        def wide(values):  # class axis restored
            values = np.asarray([_longdouble(v) for v in values], np.longdouble).reshape(shape)
            return np.moveaxis(values, -1, axis)

        def narrow(values):
            return _longdouble(np.asarray(values, dtype=object if exact else np.longdouble)).reshape(
                shape[:-1]
            )

        loss = None
        scale = number(1)
        if targets is not None:
            loss = sum(losses, number(0))
            if reduction == "mean":
                total = total if denominator is None else number(denominator)
                scale = 1 / total if total else number(0)
            loss = scale * loss if scale else number(0)
            gradient, size = ([g * scale if scale else g * 0 for g in column] for column in (gradient, size))
            if reduction == "none":
                loss = None
        return Truth(
            wide(p),
            wide(logp),
            narrow(lse),
            narrow(peak),
            None if t is None else narrow(losses),
            None if loss is None else _longdouble(np.asarray(loss)),
            None if t is None else wide(gradient),
            None if t is None else wide(size),
            narrow(entropy),
            narrow(sum_p2),
        )


def effective_targets(
    shape, targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, exact=True
):
    """The effective targets as dense rows (rows, V), the weights of the rows, and the mean's denominator."""
    classes, rows = shape[-1], shape[:-1]
    number = mpmath.mpf if exact else np.longdouble
    kind = object if exact else np.longdouble
    targets = np.asarray(targets)
    dense = targets.shape == np.moveaxis(np.empty(shape, bool), -1, axis).shape
    w = _numbers(np.ones(classes) if class_weight is None else class_weight, number, kind)
    s = 1.0 if sample_weight is None else sample_weight
    s = _numbers(np.broadcast_to(np.asarray(s, np.float64), rows).reshape(-1), number, kind)
    e = number(label_smoothing)
    if dense:
        q = _numbers(np.moveaxis(targets.astype(np.float64), axis, -1).reshape(-1, classes), number, kind)
        t = w * ((1 - e) * q + e / classes)
        total = s.sum() if s.size else number(0)
    else:
        t = np.empty((s.size, classes), kind)
        total = number(0)
        for i, y in enumerate(int(v) for v in targets.reshape(-1)):
            if y == ignore_index:
                s[i] = number(0)
                y = 0
            t[i] = e / classes * w
            t[i, y] += (1 - e) * w[y]
            total += s[i] * w[y]
    return s[:, None] * t, s, total


def _row(raw, possible, t, s, z_loss, temperature, softcap, number):
    """The fields of ``Truth`` for one row."""
    exact = number is mpmath.mpf
    nan, inf = number("nan"), number("inf")
    exp, log1p, tanh = (_exp, _log1p, _tanh) if exact else (np.exp, np.log1p, np.tanh)
    kind = object if exact else np.longdouble
    raw = _numbers(raw, number, kind)
    z, slope = raw, np.asarray([number(1)] * raw.size, kind)
    if softcap is not None:
        cap = tanh(raw / number(softcap))
        z, slope = number(softcap) * cap, 1 - cap * cap
    z, slope = z / number(temperature), slope / number(temperature)
    z = np.where(possible, z, -inf)
    ignored = t is not None and s == 0
    peak = nan if (z != z).any() else z.max()
    zero, blank = np.zeros_like(z) + number(0), np.zeros_like(z) + nan
    if peak != peak or not abs(peak) < inf:  # no probabilities
        p, logp = (blank, blank) if possible.any() else (zero, zero - inf)
        loss, gradient = (number(0), zero) if ignored else (nan, blank)
        return p, logp, peak, peak, loss, gradient, gradient, nan, nan
    top = np.argmax(z == peak)
    e = exp(z - peak)
    rest = np.delete(e, top).sum() + number(0)
    lse = peak + log1p(rest)
    p = e / (1 + rest)
    logp = (z - peak) - log1p(rest)
    entropy = -np.where(p == 0, zero, p * logp).sum()
    if t is None:
        return p, logp, lse, peak, nan, blank, blank, entropy, (p * p).sum()
    if ignored:
        return p, logp, lse, peak, number(0), zero, zero, entropy, (p * p).sum()
    loss = -np.where(t == 0, zero, t * logp).sum() + s * number(z_loss) * lse * lse
    pull = (t.sum() + 2 * s * number(z_loss) * lse) * p * slope
    gradient = pull - t * slope
    return p, logp, lse, peak, loss, gradient, np.maximum(abs(pull), abs(gradient)), entropy, (p * p).sum()


def _numbers(values, number, kind):
    values = np.asarray(values, np.float64)
    if kind is object:
        out = np.empty(values.shape, object)
        out.reshape(-1)[:] = [number(float(v)) for v in values.reshape(-1)]
        return out
    return values.astype(np.longdouble)


def _longdouble(values):
    """Numbers of mpmath or NumPy as longdouble, with all its digits."""
    values = np.asarray(values)
    if values.dtype != object:
        return values.astype(np.longdouble)
    flat = []
    for v in values.reshape(-1):
        if not mpmath.isfinite(v):
            flat.append(np.longdouble(float(v)))
            continue
        high = float(v)  # two parts carry 106 bits
        low = float(v - high)
        flat.append(np.longdouble(high) + np.longdouble(low))
    return np.asarray(flat, np.longdouble).reshape(values.shape)
