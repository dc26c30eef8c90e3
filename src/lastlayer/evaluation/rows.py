"""Scores and targets of some rows -> the numbers that are counted of each. In: (n, V). Out: `Rows`, float64.

Logits go through `row_stats`, one pass of the core. Log-probabilities and probabilities are taken as they
are: nothing is clipped, renormalized or guessed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lastlayer import functional
from lastlayer.arrays import BFLOAT16, from_bfloat
from lastlayer.backends.core import core
from lastlayer.row_statistics import RowStats

__all__ = ["Rows", "as_float64", "of_scores", "of_stats", "probabilities_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STATS = ("peak", "rest", "gap", "mass", "spread", "square")


class Rows(NamedTuple):
    """The numbers that are counted for each row; ignored rows have been left out."""

    target: Ints  # the class, or that of the largest probability of a dense target; -2: no class of the model
    predicted: Ints  # -1 in invalid rows
    rank: Ints  # how many classes beat the target; -1: unknown
    loss: Floats  # nats
    confidence: Floats
    entropy: Floats  # nats
    brier: Floats  # sum over the classes of (p - q)^2
    invalid: npt.NDArray[np.bool_]  # rows with a NaN or +inf, and of -inf throughout

    def select(self, index: Any) -> Rows:
        """Some of the rows."""
        return Rows(*(part[index] for part in self))


def as_float64(scores: Any) -> Floats:
    """Scores of any dtype as float64, in C order: the order of NumPy's sums depends on the memory layout.

    Those of a file may be the bits of bfloat16.
    """
    array = np.asarray(scores)
    plain = from_bfloat(array.view(np.uint16)) if array.dtype == BFLOAT16 else array
    return np.asarray(plain, np.float64, order="C")


def of_scores(scores: Any, target: Ints, kind: str, temperature: float, dense: Any = None) -> Rows:
    """The numbers of rows of scores (n, V); ``dense``: probabilities of which ``target`` is the argmax."""
    if kind == "logits":
        known = np.where(target >= 0, target, 0)
        stats = functional.row_stats(scores, known, ignore_index=None, temperature=temperature)
        if dense is None:
            return of_stats(stats, target)
        return _of_dense(stats, scores, target, dense, temperature)
    return _of_probabilities(scores, target, kind, dense)


def of_stats(stats: RowStats, target: Ints) -> Rows:
    """The numbers of rows whose statistics are known; the target's are those of its class."""
    given = {name: np.require(getattr(stats, name), np.float64, ["C", "A"]).reshape(-1) for name in _STATS}
    found = _metrics_of_core(given) if core.in_use() else row_metrics(**given)
    return _checked(
        target,
        np.asarray(stats.argmax, np.int64),
        np.asarray(stats.rank, np.int64),
        found["loss"],
        found["confidence"],
        found["entropy"],
        found["brier"],
        ~np.isfinite(given["peak"]),
    )


def _metrics_of_core(stats: dict[str, Floats]) -> dict[str, Floats]:
    """`row_metrics`, computed by the core."""
    found = {name: np.empty(len(stats["peak"])) for name in ("loss", "brier", "confidence", "entropy")}
    core.row_metrics(stats, found)
    return found


@np.errstate(all="ignore")
def row_metrics(
    peak: Floats, rest: Floats, gap: Floats, mass: Floats, spread: Floats, square: Floats
) -> dict[str, Floats]:
    """The numbers of rows from their statistics: the specification of the core's, which rounds alike.

    Only `exp` and `log1p` may differ, in their last bit. So a tally has the same bytes with and without the
    core as far as these agree.
    """
    odd = peak - peak  # NaN where the peak is infinite
    c, log = 1 / (1 + rest) + odd, np.log1p(rest) + odd
    loss = gap + mass * log
    brier = (1 + square) * c * c - 2 * np.exp(-loss) + 1
    return {"loss": loss, "confidence": c, "entropy": log + spread * c, "brier": np.maximum(brier, 0.0)}


def _checked(target: Ints, predicted: Ints, rank: Ints, *rest: Any) -> Rows:
    """Rows whose invalid ones count as wrong, and whose unknown targets have no loss."""
    loss, confidence, entropy, brier, invalid = rest
    unknown = target < 0
    if unknown.any():  # no class of the model: the row is wrong, and has no loss
        rank, loss = np.where(unknown, -1, rank), np.where(unknown, np.nan, loss)
        brier = np.where(unknown, np.nan, brier)
    if invalid.any():
        predicted, rank = np.where(invalid, -1, predicted), np.where(invalid, -1, rank)
        loss, confidence, entropy, brier = (
            np.where(invalid, np.nan, part) for part in (loss, confidence, entropy, brier)
        )
    return Rows(target, predicted, rank, loss, confidence, entropy, brier, invalid)


def _of_dense(stats: RowStats, scores: Any, target: Ints, dense: Floats, temperature: float) -> Rows:
    rows = of_stats(stats, target)
    loss = functional.cross_entropy(as_float64(scores), dense, reduction="none", temperature=temperature)
    p = functional.softmax(as_float64(scores), temperature=temperature)
    return rows._replace(
        loss=np.where(rows.invalid, np.nan, loss),
        brier=np.where(rows.invalid, np.nan, ((p - dense) ** 2).sum(axis=1)),
    )


@np.errstate(all="ignore")
def _of_probabilities(scores: Any, target: Ints, kind: str, dense: Any) -> Rows:
    """The numbers of rows of log-probabilities or probabilities."""
    given = as_float64(scores)
    p, log_p = (np.exp(given), given) if kind == "log-probabilities" else (given, np.log(given))
    n, at = np.arange(len(p)), np.where(target >= 0, target, 0)
    invalid = ~np.isfinite(p).all(axis=1)
    predicted, chosen = p.argmax(axis=1), given[n, at][:, None]
    before = np.arange(p.shape[1]) < at[:, None]  # of equal scores the lowest class comes first
    rank = ((given > chosen) | ((given == chosen) & before)).sum(axis=1)
    if dense is None:
        loss = -log_p[n, at]
        brier = (p * p).sum(axis=1) - 2 * p[n, at] + 1
    else:
        loss = -np.where(dense == 0, 0.0, dense * log_p).sum(axis=1)
        brier = ((p - dense) ** 2).sum(axis=1)
    entropy = -np.where(p == 0, 0.0, p * log_p).sum(axis=1)
    return _checked(target, predicted, rank, loss, p[n, predicted], entropy, brier, invalid)


def probabilities_of(scores: Any, kind: str, temperature: float) -> Floats:
    """The probabilities of every class."""
    given = as_float64(scores)
    if kind == "logits":
        return functional.softmax(given, temperature=temperature)
    return np.exp(given) if kind == "log-probabilities" else given
