"""`Evaluation`: the numbers of an evaluation. In: what `result` computes. Out: attributes, text and JSON.

Every attribute's name is its key in JSON.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lastlayer.errors import OptionError, errors_of

from .estimates import Estimate

if TYPE_CHECKING:
    from lastlayer.plots import (
        ConfidenceDisplay,
        ConfusionDisplay,
        GroupDisplay,
        LossByClassDisplay,
        PositionDisplay,
        RankDisplay,
        ReliabilityDisplay,
        TopKDisplay,
    )

__all__ = ["ByClass", "Calibration", "Evaluation", "RankCounts", "Run", "plain"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SCHEMA = "lastlayer.evaluation/1"


@dataclass(frozen=True)
class ByClass:
    """One number for each class; NaN where it is 0 / 0."""

    precision: Floats  #: (V,)
    recall: Floats  #: (V,)
    f1: Floats  #: (V,)
    support: Floats  #: (V,): the weight of the rows of the class
    macro_precision: float
    macro_recall: float
    macro_f1: float


@dataclass(frozen=True)
class Calibration:
    """The bins of a reliability diagram: the rows by their confidence."""

    edges: Floats  #: (B + 1,)
    weight: Floats  #: (B,)
    confidence: Floats  #: (B,), mean of each bin; NaN of an empty one
    accuracy: Floats  #: (B,)


@dataclass(frozen=True)
class RankCounts:
    """The rows by the rank of their target: how many classes rank above it; 0 if the prediction is right.

    ::

        top-(last_i + 1) accuracy = sum of weight_j for j <= i / `Evaluation.weight`

    Ranks up to 127 are counted one by one; the buckets of larger ranks begin at ``128 * 2^(k/4)``, rounded
    up. Invalid rows and rows whose label is not a class have no rank. They are in no bucket, so with them the
    weights add up to less than `Evaluation.weight`.
    """

    first: Ints  #: (B,): the smallest rank of each bucket
    last: Ints  #: (B,): the largest rank of each bucket, inclusive; of the last one V - 1
    weight: Floats  #: (B,): the sum of the weights of its rows


@dataclass(frozen=True)
class Run:
    """How an evaluation was computed: from which data, when, and by which versions.

    ``source`` is the path as it was given, ``"2 files of shards/*.npz"``, or an array:
    ``"float32 array of shape (1000, 10)"``. ``n_bytes`` is how many bytes of scores were read, including
    those before a checkpoint; None if nothing was read now. ``seconds`` is the time of the call, ``started``
    its start in UTC (ISO 8601). ``versions`` has those of "lastlayer", "Python" and "NumPy", and under
    "backend" the backend and its number of threads.
    """

    source: str
    n_bytes: int | None
    seconds: float
    started: str
    versions: dict[str, str]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The numbers of an evaluation; each mean is an `Estimate`: value, stderr, low, high (95 %).

    ::

        log_loss  = sum w nll / sum w           perplexity = exp(log_loss)      bits = log_loss / log 2
        brier     = mean of sum_j (p_j - q_j)^2
        ece       = sum_b W_b / W |accuracy_b - confidence_b|                   mce: the largest of them
        skill     = 1 - log_loss / baseline     baseline: the loss of predicting the classes' frequencies

    ``reliability - resolution + uncertainty`` is Murphy's decomposition of the mean of (confidence -
    right)^2, up to the differences of the confidences within a bin.

    `undefined` names the numbers that are 0 / 0, and so NaN. `findings` are those of `check`.

    `run` says how `evaluate` computed it; `Tally.result` has none. The JSON contains it, but ``==`` does not
    compare it: the same rows give equal evaluations, and ``dataclasses.replace(evaluation,
    run=None).to_json()`` is the same for them, byte by byte.
    """

    n: int  #: rows that count
    weight: float  #: the sum of their weights; without weights `n`
    ignored: int  #: rows without a target, or of weight 0
    invalid: int  #: rows with NaN or +inf: they count as wrong
    unknown: int  #: rows whose label is no class
    log_loss: Estimate  #: mean loss, nats
    bits: Estimate  #: mean loss, bits
    perplexity: Estimate  #: exp of the mean loss
    document_perplexity: float  #: the mean over documents of each one's perplexity
    bits_per_byte: Estimate  #: bits of all rows divided by their bytes of text
    accuracy: Estimate  #: share of rows whose prediction is the target
    balanced_accuracy: float  #: the mean over the classes of their recall
    top_k_accuracy: dict[int, Estimate]  #: by k: share of rows whose target is in the top k
    mean_reciprocal_rank: Estimate  #: the mean of 1 / (rank + 1)
    matthews: float  #: Matthews' correlation of targets and predictions
    brier: Estimate  #: mean squared distance of probabilities and target
    reliability: float  #: of Murphy's decomposition; 0 is best
    resolution: float  #: of Murphy's decomposition; more is better
    uncertainty: float  #: of Murphy's decomposition; of the rows alone
    ece: float  #: expected calibration error, bins of equal width
    mce: float  #: the largest error of a bin
    ece_equal_mass: float  #: the same as ece, bins of equal weight
    ece_equal_mass_bound: float  #: the largest possible error of `ece_equal_mass`
    classwise_ece: float | None  #: with classwise=True: the mean over the classes
    roc_auc: float | None  #: binary, or with classwise=True the mean over the classes, each against the rest
    roc_auc_bound: float | None  #: the largest possible error of `roc_auc`; 0: exact
    average_precision: float | None  #: as `roc_auc`
    average_precision_bound: float | None  #: as `roc_auc_bound`
    mean_confidence: Estimate  #: of the largest probability
    mean_entropy: Estimate  #: of the probabilities, nats
    overconfidence: float  #: mean confidence less accuracy
    baseline: float  #: the loss of predicting the classes' frequencies, nats
    skill: float  #: 1 - log_loss / baseline
    by_class: ByClass  #: precision, recall, f1, support
    calibration: Calibration  #: the bins of `ece`
    ranks: RankCounts  #: the rows by their target's rank
    confusion: Any  #: (V, V): targets by predictions; or [(target, predicted, weight), ...]; or None
    loss_by_class: Floats  #: (V,): mean loss of each target class, nats
    roc_auc_by_class: Floats | None  #: (V,), each against the rest
    average_precision_by_class: Floats | None  #: (V,), each against the rest
    loss_by_group: dict[Any, Estimate]  #: nats
    accuracy_by_group: dict[Any, Estimate]  #: by group: share of right rows
    weight_by_group: dict[Any, float]  #: the sum of the rows' weights; without weights how many rows
    loss_by_position: Floats  #: nats, by place in the sequence
    loss_by_position_stderr: Floats  #: as if rows were independent
    weight_by_position: Floats  #: the sum of the rows' weights
    hardest: list[tuple[int, float, int, int]]  #: row, loss, target, predicted
    labels: tuple[Any, ...] | None  #: names of the classes
    kind: str  #: of the scores
    temperature: float  #: the number that divided the logits
    unknown_labels: tuple[str, ...] = ()  #: labels that are not a class
    undefined: tuple[str, ...] = ()  #: names of the numbers that are 0 / 0
    notes: tuple[str, ...] = ()  #: what was left out, and why
    findings: tuple[Any, ...] = field(default=())  #: of `check`
    run: Run | None = None  #: how `evaluate` computed it

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same, whatever `run`; NaN is the same as NaN."""
        if not isinstance(other, Evaluation):
            return NotImplemented
        a, b = (replace(one, run=None).to_dict() for one in (self, other))
        return a == b

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """The numbers as values of JSON; infinities and NaN as text."""
        return {"schema": SCHEMA} | {f.name: plain(getattr(self, f.name)) for f in fields(self)}

    def to_json(self, **options: Any) -> str:
        """JSON text; ``options`` are those of ``json.dumps``."""
        return json.dumps(self.to_dict(), allow_nan=False, **options)

    def plot_reliability(self, ax: Any = None) -> ReliabilityDisplay:
        """Plot accuracy against confidence on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.reliability import ReliabilityDisplay

        return ReliabilityDisplay.from_evaluation(self, ax=ax)

    def plot_confidence(self, ax: Any = None) -> ConfidenceDisplay:
        """Plot the histogram of confidence on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.confidence import ConfidenceDisplay

        return ConfidenceDisplay.from_evaluation(self, ax=ax)

    def plot_top_k(self, ax: Any = None) -> TopKDisplay:
        """Plot top-k accuracy against k on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.top_k import TopKDisplay

        return TopKDisplay.from_evaluation(self, ax=ax)

    def plot_rank(self, ax: Any = None) -> RankDisplay:
        """Plot the distribution of the target's rank on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.rank import RankDisplay

        return RankDisplay.from_evaluation(self, ax=ax)

    def plot_confusion(self, ax: Any = None) -> ConfusionDisplay:
        """Plot the confusion matrix on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.confusion import ConfusionDisplay

        return ConfusionDisplay.from_evaluation(self, ax=ax)

    @errors_of("Evaluation.save_html")
    def save_html(
        self, path: Any, *, before: Any = None, comparison: Any = None, title: str | None = None
    ) -> None:
        """Write the report: one self-contained HTML file with all numbers, tables and pictures.

        Parameters
        ----------
        path : path
            The file. An existing file stays until the new one is complete.
        before : Evaluation, optional
            An evaluation of the same rows before calibration, or before another change; shown beside this
            one.
        comparison : Comparison, optional
            A comparison of two models on these rows; it becomes a section of the report.
        title : str, optional
            The heading, "Evaluation" if not given.

        Raises
        ------
        OptionError
            If the path cannot be written, or an evaluation is of other rows.
        ImportError
            Without Jinja2 or matplotlib (extra ``[report]``).

        Examples
        --------
        >>> import pathlib, tempfile
        >>> import lastlayer as ll
        >>> result = ll.evaluate([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9], [0.1, 0.2, 0.3]], [2, 0, 0])
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "report.html"
        >>> result.save_html(path)
        >>> path.read_text(encoding="utf-8").startswith("<!doctype html>")
        True
        """
        from lastlayer.report.page import page_of

        from .writing import write_whole

        _check(self, before, comparison)
        page = page_of(self, before=before, comparison=comparison, title=title)
        write_whole("path", os.fspath(path), page.encode("utf-8", "replace"))

    def _repr_html_(self) -> str | None:
        """The numbers as tables, in a notebook; without Jinja2 the notebook shows them as text."""
        from lastlayer.report.page import fragment_of

        try:
            return fragment_of(self)
        except ImportError:
            return None

    def plot_loss_by_class(self, ax: Any = None) -> LossByClassDisplay:
        """Plot the mean loss of each class on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.loss_by_class import LossByClassDisplay

        return LossByClassDisplay.from_evaluation(self, ax=ax)

    def plot_group(self, ax: Any = None) -> GroupDisplay:
        """Plot loss and accuracy by group on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.group import GroupDisplay

        return GroupDisplay.from_evaluation(self, ax=ax)

    def plot_position(self, ax: Any = None) -> PositionDisplay:
        """Plot the mean loss at each position on ``ax``, or on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.position import PositionDisplay

        return PositionDisplay.from_evaluation(self, ax=ax)

    def __str__(self) -> str:
        lines = [f"{self.n} rows ({self.ignored} ignored, {self.invalid} invalid)"]
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (Estimate, float)) and f.name != "weight":
                lines.append(f"{f.name:<22} {value if isinstance(value, Estimate) else f'{value:.6g}'}")
        lines += [f"{f'top_{k}_accuracy':<22} {v}" for k, v in self.top_k_accuracy.items()]
        return "\n".join(lines)

    __repr__ = __str__


def _check(result: Evaluation, before: Any, comparison: Any) -> None:
    """Refuse what is of other rows."""
    name = "Evaluation.save_html"
    if before is not None and not isinstance(before, Evaluation):
        raise OptionError(name, "before", f"a {type(before).__name__}", "an Evaluation")
    if comparison is not None and not hasattr(comparison, "mcnemar"):
        raise OptionError(name, "comparison", f"a {type(comparison).__name__}", "a Comparison")
    for argument, other in (("before", before), ("comparison", comparison)):
        if other is not None and other.n != result.n:
            raise OptionError(name, argument, f"of {other.n:,} rows", f"of the same {result.n:,} rows")
    classes = [len(one.by_class.support) for one in (result, before or result)]
    if classes[0] != classes[1]:
        raise OptionError(name, "before", f"of {classes[1]:,} classes", f"of {classes[0]:,} classes")


def plain(value: Any) -> Any:
    """Numbers as JSON has them; infinities and NaN as text."""
    if isinstance(value, Estimate):
        return {k: plain(v) for k, v in value._asdict().items()}
    if isinstance(value, (ByClass, Calibration, RankCounts, Run)):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "_asdict"):
        return {k: plain(v) for k, v in value._asdict().items()}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if number - number == 0 else str(number)
    return value.item() if isinstance(value, np.generic) else value
