"""The temperature that calibrates a model's logits. In: logits and labels. Out: `Temperature`.

::

    T = argmin_T  sum_i s_i nll_i(z_i / T)

It is from Guo et al., *On Calibration of Modern Neural Networks* (2017). With ``beta = 1 / T`` the loss is
convex: its derivatives are ``sum s (E_p[z] - z_y)`` and ``sum s Var_p[z]``, with p = softmax(beta z).
Newton's steps use both, one pass over the data each.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import asdict, dataclass
from math import inf, nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from lastlayer import functional
from lastlayer.errors import OptionError
from lastlayer.labels import Labels

from .exact import Sums
from .inputs import facts_of, scores_of, targets_of
from .readers.linear import LinearSource
from .readers.paths import Request, source_of
from .readers.source import Source
from .tally import Tally
from .writing import write_whole

__all__ = ["Temperature", "fit_temperature"]

Floats = npt.NDArray[np.float64]

SCHEMA = "lastlayer.temperature/1"
_LOW, _HIGH = 1e-3, 1e3  # of T
_STEPS = 100
_CLOSE = 1e-10  # relative, of the last step: the error is its square
_Z = 1.959963984540054  # of a 95 % interval of the normal distribution


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature: divide logits by it, or pass it as ``temperature=``.

    ``stderr``, ``low`` and ``high`` (95 %) are from the observed information ``sum s Var_p[z]``.
    """

    value: float
    stderr: float
    low: float
    high: float
    n: int
    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float
    steps: int
    warning: str = ""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"T = {self.value:.6g} [{self.low:.6g}, {self.high:.6g}]"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; infinities and NaN as text."""
        found: dict[str, Any] = {"schema": SCHEMA}
        for name, value in asdict(self).items():
            odd = isinstance(value, float) and value - value != 0
            found[name] = str(value) if odd else value
        return found

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Temperature:
        """What `to_dict` gave."""
        schema = saved.get("schema") if isinstance(saved, dict) else None
        if schema != SCHEMA:
            raise OptionError("Temperature.from_dict", "schema", repr(schema), repr(SCHEMA))
        found: dict[str, Any] = {name: value for name, value in saved.items() if name != "schema"}
        for name, value in found.items():
            if isinstance(value, str) and name != "warning":
                found[name] = float(value)
        return cls(**found)

    def save(self, path: Any) -> None:
        """Write it as JSON; the file is never seen half-written."""
        write_whole("path", os.fspath(path), json.dumps(self.to_dict(), indent=2).encode())

    @classmethod
    def load(cls, path: Any) -> Temperature:
        """Read what `save` wrote."""
        try:
            with open(path, encoding="utf-8") as file:
                saved = json.load(file)
        except (OSError, ValueError) as error:
            rule = f"a saved temperature ({error})"
            raise OptionError("Temperature.load", "path", repr(os.fspath(path)), rule) from error
        return cls.from_dict(saved)


def fit_temperature(
    scores: Any,
    targets: Any = None,
    *,
    weight: Any = None,
    bias: Any = None,
    label: str | None = None,
    columns: Any = None,
    sample_weight: Any = None,
    labels: Any = None,
    axis: int = -1,
    binary: bool = False,
    ignore_index: int | None = -100,
) -> Temperature:
    """The temperature with the smallest log-loss on held-out logits and labels.

    ::

        log_loss(T) = cross_entropy(logits / T, targets)

    Parameters
    ----------
    scores : array, table or path
        Logits, from where `evaluate` takes them; with ``weight`` features (N, D).
    targets, label, columns, sample_weight, labels, axis, binary, ignore_index
        As in `evaluate`.
    weight, bias : array (V, D), array (V,), optional
        The logits are ``scores @ weight.T + bias``, computed some rows at a time.

    Returns
    -------
    Temperature
        ``float(t)`` is T, within [0.001, 1000]. It is the bound, and there is a warning, where the loss falls
        all the way: every row right for T to 0, or no information for T to infinity.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError
        OptionError also for a row with NaN or infinity, which has no loss.

    Notes
    -----
    One pass over the data for each step of Newton's method, some ten in all, in constant memory.
    scikit-learn's ``beta`` is 1 / T.

    Examples
    --------
    >>> import numpy as np
    >>> import lastlayer as ll
    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(size=(2000, 3))
    >>> labels = (true + rng.gumbel(size=true.shape)).argmax(1)
    >>> t = ll.fit_temperature(2.0 * true, labels)  # logits that are twice as sure as they should be
    >>> print(t)
    T = 1.90892 [1.77466, 2.06515]
    >>> bool(t.log_loss_after < t.log_loss_before)
    True
    """
    facts = {} if sample_weight is None else {"sample_weight": sample_weight}
    source: Source = source_of(
        Request(scores, targets, label, columns, axis, binary, facts, "logits" if weight is None else None)
    )
    if weight is not None:
        source = LinearSource(source, weight, bias)
    options: dict[str, Any] = {"axis": axis, "binary": binary, "ignore_index": ignore_index}
    options["labels"] = source.labels if labels is None else labels
    beta, found, steps, warning = _minimum(_Loss(source, options))
    if warning:
        warnings.warn(f"fit_temperature: {warning}", stacklevel=2)
    t, error = 1 / beta, 1 / sqrt(found.second) if found.second > 0 else nan
    low = 1 / (beta + _Z * error)
    high = 1 / (beta - _Z * error) if beta > _Z * error else inf
    before, after = (_evaluated(source, options, temperature) for temperature in (1.0, t))
    return Temperature(
        t, t * t * error, low, high if error == error else nan, before.n, before.log_loss.value,
        after.log_loss.value, before.ece, after.ece, steps, warning,
    )  # fmt: skip


@dataclass(frozen=True)
class _Derivatives:
    """Of the sum of the rows' losses in beta."""

    weight: float
    first: float
    second: float


class _Loss:
    """The log-loss of a source's logits times beta."""

    def __init__(self, source: Source, options: dict[str, Any]) -> None:
        self.source = source
        self.options = Tally(source.classes, **options).options
        names = self.options.labels
        self.labels = None if names is None else Labels("fit_temperature", names, source.classes)

    def derivatives(self, beta: float) -> _Derivatives:
        """One pass over the data."""
        sums, o, function = Sums(3), self.options, "fit_temperature"
        for block in self.source.blocks(0):
            z, shape = scores_of(function, block.scores, o)
            targets = targets_of(function, block.targets, shape, o, self.labels)
            w = facts_of(function, shape, **block.facts).weights
            kept = ~targets.ignored if w is None else ~targets.ignored & (w > 0)
            z, y = np.asarray(z, np.float64)[kept], targets.classes[kept]
            if not (top := np.isfinite(z.max(axis=1))).all() or np.isnan(z).any():
                row = int(np.flatnonzero(kept)[int(np.argmin(top & ~np.isnan(z).any(axis=1)))]) + block.first
                rule = "finite logits: a row with NaN or infinity has no loss"
                raise OptionError(function, f"scores[{row}]", "not finite", rule)
            q = None if targets.dense is None else targets.dense[kept]
            parts = _row_derivatives(z, y, q, beta)
            w = np.ones(len(z)) if w is None else w[kept]
            for place, part in enumerate((np.ones(len(z)), *parts)):
                sums.add(w * part, place)
        return _Derivatives(*(sums.value(k) for k in range(3)))


@np.errstate(invalid="ignore")
def _row_derivatives(z: Floats, y: Any, q: Floats | None, beta: float) -> tuple[Floats, Floats]:
    """Of each row ``mass E_p[z] - sum_j q_j z_j`` and ``mass Var_p[z]``; of an index target q is one-hot."""
    peak = z.max(axis=1, keepdims=True)
    p = functional.softmax(z, temperature=1 / beta)
    fall = np.where(p == 0, 0.0, peak - z)  # of -inf: 0 times infinity is 0
    mean = (p * fall).sum(axis=1)
    variance = (p * (fall - mean[:, None]) ** 2).sum(axis=1)
    if q is None:
        return peak[:, 0] - z[np.arange(len(z)), y] - mean, variance
    gap, mass = np.where(q == 0, 0.0, q * (peak - z)).sum(axis=1), q.sum(axis=1)
    return gap - mass * mean, mass * variance


def _minimum(loss: _Loss) -> tuple[float, _Derivatives, int, str]:
    """beta, the derivatives there, the number of passes, and a warning if it is a bound."""
    least, most = 1 / _HIGH, 1 / _LOW  # of beta
    low, high, beta = (
        least,
        most,
        1.0,
    )  # the minimum lies between; an end is looked at where Newton leads there
    for step in range(1, _STEPS + 1):
        found = loss.derivatives(beta)
        if not found.weight:
            return 1.0, found, step, "there are no rows; the temperature is 1"
        flat = step > 1 and found.first == found.second == 0.0  # what is left of the loss has underflowed
        if beta in (least, most) and (flat or (found.first > 0) == (beta == least)):
            return beta, found, step, _AT_BOUND[beta == most]
        newton = found.first / found.second if found.second > 0 else inf
        if (found.first == 0.0 and not flat) or abs(newton) <= _CLOSE * beta:
            return beta, found, step, ""
        low, high = (low, beta) if found.first > 0 or (flat and beta < 1) else (beta, high)
        following = beta - newton if newton < inf else nan
        if not low < following < high:  # too far: to the bound once, else to the middle
            end = low if high == beta else high
            following = end if end in (least, most) else sqrt(low * high)
        beta = following
    return beta, found, step, "no minimum was found"


_AT_BOUND = (  # no information, all right
    "the loss falls as the temperature goes to infinity: the logits say nothing of the labels; "
    "it is the bound",
    "the loss falls as the temperature goes to 0: every row is right; it is the bound",
)


def _evaluated(source: Source, options: dict[str, Any], temperature: float) -> Any:
    tally = Tally(source.classes, temperature=temperature, **options)
    for block in source.blocks(0):
        tally.update(block.scores, block.targets, **block.facts)
    return tally.result()
