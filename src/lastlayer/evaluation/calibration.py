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
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import inf, nan, sqrt
from typing import Any

from lastlayer.errors import DtypeError, OptionError, errors_of

from .derivatives import Derivatives, Loss
from .estimates import Z
from .partitions.divide import divided
from .partitions.passes import Given, PartitionedLoss
from .progress import shown
from .readers.linear import OF_ONE
from .readers.paths import Request, source_of
from .stream import Progress
from .writing import write_whole

__all__ = ["Temperature", "fit_temperature"]

SCHEMA = "lastlayer.temperature/1"
_LOW, _HIGH = 1e-3, 1e3  # of T
_STEPS = 100
_CLOSE = 1e-10  # relative, of the last step: the error is its square


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature: divide logits by it, or pass it as ``temperature=``.

    ``stderr``, ``low`` and ``high`` (95 %) are from the observed information ``sum s Var_p[z]``, with weights
    ``s`` scaled to a sum of ``n_eff = (sum s)^2 / sum s^2``.
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
        """The values as JSON; infinities and NaN as text."""
        found: dict[str, Any] = {"schema": SCHEMA}
        for name, value in asdict(self).items():
            odd = isinstance(value, float) and value - value != 0
            found[name] = str(value) if odd else value
        return found

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Temperature:
        """Read what `to_dict` returned.

        Raises
        ------
        OptionError
            For another schema, and for a name or a value that `to_dict` does not write.
        """
        schema = saved.get("schema") if isinstance(saved, dict) else None
        if schema != SCHEMA:
            raise OptionError("Temperature.from_dict", "schema", repr(schema), repr(SCHEMA))
        found: dict[str, Any] = {name: value for name, value in saved.items() if name != "schema"}
        for name, value in found.items():
            if value in ("inf", "-inf", "nan"):
                found[name] = float(value)
        try:
            _check_saved(made := cls(**found))
        except (TypeError, ValueError) as error:
            rule = f"what Temperature.to_dict gave ({error})"
            raise OptionError("Temperature.from_dict", "saved", "damaged", rule) from error
        return made

    @errors_of("Temperature.save")
    def save(self, path: Any) -> None:
        """Write it as JSON; an existing file stays until the new one is complete."""
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


def _check_saved(made: Temperature) -> None:
    """The types of the fields, and a temperature above 0."""
    for name, value in asdict(made).items():
        usual = str if name == "warning" else int if name in ("n", "steps") else (int, float)
        if not isinstance(value, usual) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}")
    if not 0 < made.value < inf:
        raise ValueError(f"value is {made.value!r}")


@errors_of("fit_temperature", "evaluate", "Tally")  # of the readers and of the options
def fit_temperature(
    scores: Any,
    targets: Any = None,
    *,
    kind: str = "logits",
    weight: Any = None,
    bias: Any = None,
    progress: Any = None,
    label: str | None = None,
    columns: Any = None,
    sample_weight: Any = None,
    labels: Any = None,
    axis: int = -1,
    binary: bool = False,
    ignore_index: int | None = -100,
    invalid: str = "error",
    client: Any = None,
) -> Temperature:
    """Find the temperature with the smallest log-loss on held-out logits and labels.

    ::

        log_loss(T) = cross_entropy(logits / T, targets)

    Parameters
    ----------
    scores : array, table, batches or path
        Logits, in any form that `evaluate` takes; features (N, D) if ``weight`` is given. Batches are read
        once for each step: pass a list or a DataLoader, not a generator.
    kind : {"logits", "log-probabilities"}
        What the scores are. Log-probabilities are logits too; for probabilities pass their logarithms.
    targets, label, columns, sample_weight, labels, axis, binary, ignore_index
        As in `evaluate`.
    invalid : {"error", "skip"}
        Whether a row with NaN or +inf is an error or is left out.
    progress : bool or function, optional
        As in `evaluate`; it starts again with each pass over the data.
    weight, bias : array (V, D), array (V,), optional
        The logits are ``scores @ weight.T + bias``, computed some rows at a time.
    client : dask.distributed.Client, optional
        As in `evaluate`. Its workers keep data of Dask from pass to pass, and read files again.

    Returns
    -------
    Temperature
        ``float(t)`` is T, within [0.001, 1000]. T is one of these bounds, with a warning, if the loss has no
        minimum between them: it falls as T goes to 0 if every row is right, and as T goes to infinity if the
        logits do not predict the targets.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError
        OptionError also for a row with NaN or +inf, and for a target whose logit is -inf.

    See Also
    --------
    evaluate : how well the probabilities fit before and after.
    lastlayer.sklearn.TemperatureScaling : the same for a classifier of scikit-learn.

    Notes
    -----
    Each step of Newton's method is one pass over the data in constant memory; there are about ten steps.
    scikit-learn's ``beta`` is 1 / T.

    Examples
    --------
    >>> import numpy as np
    >>> import lastlayer as ll
    >>> rng = np.random.default_rng(0)
    >>> true = rng.normal(size=(2000, 3))
    >>> labels = (true + rng.gumbel(size=true.shape)).argmax(1)
    >>> t = ll.fit_temperature(2.0 * true, labels)  # logits that are twice too large
    >>> print(t)
    T = 1.90892 [1.77466, 2.06515]
    >>> bool(t.log_loss_after < t.log_loss_before)
    True
    """
    facts = {} if sample_weight is None else {"sample_weight": sample_weight}
    if bias is not None and weight is None:
        raise OptionError("fit_temperature", "bias", "given", "None without weight=")
    if weight is not None and binary:
        raise OptionError("fit_temperature", "binary", "True", "False with weight=")
    _check_kind(kind, binary, weight is not None)
    if invalid not in ("error", "skip"):
        raise OptionError("fit_temperature", "invalid", repr(invalid), "'error' or 'skip'")
    said = None if kind == "logits" else kind  # of logits the data may say that they are log-probabilities
    request = Request(scores, targets, label, columns, axis, binary, facts, said)
    options: dict[str, Any] = {
        "axis": axis if weight is None else -1, "binary": binary, "ignore_index": ignore_index,
        "invalid": "skip", "labels": labels,
    }  # fmt: skip
    given = Given(options, invalid == "skip", weight, bias, axis)
    with shown(progress) as tell:
        loss = _loss(request, given, client, tell)
        beta, found, steps, warning = _minimum(loss)
        before, after = (loss.tally(temperature).result() for temperature in (1.0, 1 / beta))
    if warning:
        warnings.warn(f"fit_temperature: {warning}", stacklevel=3)  # above `errors_of` is the user
    # As in `evaluate`, the scale of the weights changes no interval: n_eff = (sum s)^2 / sum s^2.
    information = found.second * found.weight / found.squares if found.squares > 0 else 0.0
    t, error = 1 / beta, 1 / sqrt(information) if information > 0 else nan
    low = 1 / (beta + Z * error)
    high = 1 / (beta - Z * error) if beta > Z * error else inf
    return Temperature(
        t, t * t * error, low, high if error == error else nan, before.n, before.log_loss.value,
        after.log_loss.value, before.ece, after.ece, steps, warning,
    )  # fmt: skip


def _check_kind(kind: str, binary: bool, is_linear: bool) -> None:
    if kind not in (kinds := ("logits", "log-probabilities")):
        remedy = "pass their logarithms, with kind='log-probabilities'" if kind == "probabilities" else ""
        rule = " or ".join(map(repr, kinds))
        raise OptionError("fit_temperature", "kind", repr(kind), rule, remedy)
    if kind == "logits":
        return
    if is_linear:
        raise OptionError("fit_temperature", "kind", repr(kind), "'logits' with weight=")
    if binary:
        raise OptionError("fit_temperature", "kind", repr(kind), "'logits' with binary=True", OF_ONE)


def _loss(request: Request, given: Given, client: Any, tell: Progress | None) -> Loss | PartitionedLoss:
    """The loss of data that is read once for each step."""
    if (division := divided(request, client)) is not None:
        return PartitionedLoss(division, given, tell)
    if isinstance(request.scores, Iterator) and not hasattr(request.scores, "shape"):
        found = f"a {type(request.scores).__name__}, which is read once"
        rule = "data that is read several times: a list of batches, a DataLoader, arrays, files"
        raise DtypeError("fit_temperature", "scores", found, rule)
    return given.loss(source_of(request), tell)


def _minimum(loss: Loss | PartitionedLoss) -> tuple[float, Derivatives, int, str]:
    """beta, the derivatives there, the number of passes, and a warning if it is a bound."""
    least, most = 1 / _HIGH, 1 / _LOW  # of beta
    low, high, beta = least, most, 1.0  # the minimum lies between; an end is a step where Newton leads there
    for step in range(1, _STEPS + 1):
        found = loss.derivatives(beta)
        if not found.weight:
            return 1.0, found, step, "there are no rows; the temperature is 1"
        if not found.differ:
            return 1.0, found, step, ""
        if found.all_right and beta < most:
            beta = most
            continue
        if beta in (least, most) and (found.all_right or (found.first > 0) == (beta == least)):
            return beta, found, step, _AT_BOUND[beta == most]
        newton = found.first / found.second if found.second > 0 else inf
        if found.first == 0.0 or abs(newton) <= _CLOSE * beta:
            return beta, found, step, ""
        low, high = (low, beta) if found.first > 0 else (beta, high)
        following = beta - newton if newton < inf else nan
        if not low < following < high:  # too far: to the bound once, else to the middle
            end = low if high == beta else high
            following = end if end in (least, most) else sqrt(low * high)
        beta = following
    return beta, found, step, "no minimum was found"


_AT_BOUND = (
    "the loss still falls at the largest temperature, 1000, which is the bound: the logits say nothing of "
    "the labels, or are very large",
    "the loss still falls at the smallest temperature, 0.001, which is the bound: every row is right, or "
    "the logits are very small",
)
