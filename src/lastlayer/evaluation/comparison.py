"""`Comparison`: two models on the same rows. In: a `PairedTally`. Out: differences with error bars."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lastlayer.errors import OptionError, errors_of

from .divergence import Quantile, quantile
from .estimates import Estimate
from .mcnemar import exact_test
from .numbers import plain
from .paired import Flips, GroupComparison, Paired, by_group, paired
from .paired_tally import PairedTally
from .result import SMALLEST, have_keys

if TYPE_CHECKING:
    from lastlayer.plots import ComparisonDisplay

__all__ = ["SCHEMA", "Comparison", "comparison_of"]

SCHEMA = "lastlayer.comparison/1"
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_GROUPS = 20  # shown


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two models, a and b, on the same rows; every difference is b minus a, with a 95 % interval.

    b is better where the difference of the log-loss or the Brier score is negative, or that of the accuracy
    positive. Comparisons of different rows can be added, with ``+`` or ``sum``.

    ::

        difference = sum w (x_b - x_a) / sum w        its interval is that of the rows' differences, or of the
                                                      documents' where all rows have a document
        mcnemar    = min(1, 2 sum_{k <= min(only_a, only_b)} C(n, k) / 2^n)          n = only_a + only_b
        kl         = mean of KL(a || b) = sum_j p_j log(p_j / q_j)                   nats
    """

    n: int
    weight: float
    ignored: int
    invalid_a: int
    invalid_b: int
    unknown: int
    log_loss: Paired
    accuracy: Paired  # the interval of the difference is Agresti and Min's (2005)
    brier: Paired
    flips: Flips  # rows, without weights
    flipped: Estimate  # the share of rows that one model alone has right
    mcnemar: float  # p-value of the exact test, two-sided; it takes the rows as independent
    kl: Estimate
    kl_quantiles: dict[float, Quantile]
    by_group: dict[Any, GroupComparison]
    labels: tuple[Any, ...] | None
    kind: tuple[str, str]
    temperature: tuple[float, float]
    notes: tuple[str, ...]
    tally: PairedTally  # what the numbers are of

    @classmethod
    def of(cls, tally: PairedTally) -> Comparison:
        """The numbers of a tally as it is now."""
        return comparison_of(copy.deepcopy(tally))

    def __add__(self, other: Comparison) -> Comparison:
        """The comparison of the rows of both."""
        if not isinstance(other, Comparison):
            return NotImplemented
        return comparison_of(self.tally + other.tally)

    def __radd__(self, other: Any) -> Comparison:
        """So that ``sum(comparisons)`` works."""
        return self if other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same; NaN is the same as NaN."""
        return self.numbers() == other.numbers() if isinstance(other, Comparison) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def numbers(self) -> dict[str, Any]:
        """The numbers as values of JSON; infinities and NaN as text."""
        names = [f.name for f in fields(self) if f.name != "tally"]
        return {"schema": SCHEMA} | {name: plain(getattr(self, name)) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """The numbers, and under "tally" the sums that `from_dict` reads."""
        return self.numbers() | {"tally": self.tally.to_dict()}

    def to_json(self, **options: Any) -> str:
        """The numbers as JSON text; ``options`` are those of ``json.dumps``."""
        return json.dumps(self.numbers(), allow_nan=False, **options)

    def to_bytes(self) -> bytes:
        """The sums as JSON text: the same bytes for the same rows."""
        return self.tally.to_bytes()

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Comparison:
        """Read what `to_dict` returned; anything else is an `OptionError`."""
        schema = saved.get("schema") if isinstance(saved, dict) else None
        if schema != SCHEMA:
            raise OptionError("Comparison.from_dict", "schema", repr(schema), repr(SCHEMA))
        return comparison_of(PairedTally.from_dict(saved.get("tally", {})))

    @classmethod
    def from_bytes(cls, text: bytes) -> Comparison:
        """Read what `to_bytes` returned; anything else is an `OptionError`."""
        return comparison_of(PairedTally.from_bytes(text))

    @errors_of("Comparison.save_html")
    def save_html(self, path: Any, *, title: str | None = None) -> None:
        """Write the report, one self-contained HTML file, as `Evaluation.save_html` does."""
        from lastlayer.report.page import page_of

        from .writing import write_whole

        page = page_of(comparison=self, title=title)
        write_whole("path", os.fspath(path), page.encode("utf-8", "replace"))

    def _repr_html_(self) -> str | None:
        """The differences as tables, in a notebook; without Jinja2 the notebook shows them as text."""
        from lastlayer.report.page import fragment_of

        try:
            return fragment_of(comparison=self)
        except ImportError:
            return None

    def plot(self, ax: Any = None) -> ComparisonDisplay:
        """Plot the differences on ``ax``, or with those of groups on a new figure (extra ``[plot]``)."""
        from lastlayer.plots.comparison import ComparisonDisplay

        return ComparisonDisplay.from_comparison(self, ax=ax)

    def __str__(self) -> str:
        rows = f"{self.n} rows ({self.ignored} ignored, {self.invalid_a} invalid in a, {self.invalid_b} in b)"
        lines = [rows, f"{'':<10}{'a':>12}{'b':>12}{'b - a':>14}   95 % interval"]
        for name in ("log_loss", "accuracy", "brier"):
            a, b, d = getattr(self, name)
            interval = f"[{d.low:+.6f}, {d.high:+.6f}]"
            lines.append(f"{name:<10}{a.value:>12.6f}{b.value:>12.6f}{d.value:>+14.6f}   {interval}")
        f = self.flips
        lines.append(
            f"right in a alone {f.only_a}, in b alone {f.only_b}, in both {f.both}, neither {f.neither}"
        )
        lines.append(f"McNemar's exact test: p = {self.mcnemar:.4g}")
        lines.append(f"KL(a || b): mean {self.kl} nats")
        shown = (f"{100 * q:g} % {x.value:.3g}" for q, x in self.kl_quantiles.items())
        lines.append(f"its quantiles: {', '.join(shown)}")
        for key, group in list(self.by_group.items())[:_GROUPS]:
            lines.append(f"group {key}: {group.n} rows, b - a")
            for name in ("log_loss", "accuracy", "brier"):
                d = getattr(group, name)
                lines.append(f"  {name:<8}{d.value:>+38.6f}   [{d.low:+.6f}, {d.high:+.6f}]")
        if len(self.by_group) > _GROUPS:
            lines.append(f"... {len(self.by_group) - _GROUPS} more groups")
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__


def comparison_of(tally: PairedTally) -> Comparison:
    """The numbers of a `PairedTally`."""
    weight = tally.moments.total
    if weight < tally.n * SMALLEST:
        rule, remedy = "2^-48 or more: sums are exact to 2^-120", "multiply them by one number"
        found = f"{weight / tally.n:g} in the mean"
        raise OptionError("Comparison.of", "sample_weight", found, rule, remedy)
    documents = None
    if have_keys(tally.documents, tally.moments):
        documents = [tally.documents.column(i) for i in range(len(tally.documents.columns))]
    notes: tuple[str, ...] = ()
    if tally.documents.places:
        notes = (
            ("documents: some rows have none; the intervals are those of independent rows",)
            if documents is None
            else ("mcnemar takes rows as independent; the intervals, not those of groups, know of documents",)
        )
    means: dict[str, Any] = {
        name: paired(name, tally.moments, documents)
        for name in ("log_loss", "accuracy", "brier", "flipped", "kl")
    }
    bins, (first, second) = tally.divergences.values(), tally.options
    neither = tally.n - tally.only_a - tally.only_b - tally.both_right
    return Comparison(
        n=tally.n,
        weight=weight,
        ignored=tally.ignored,
        invalid_a=tally.invalid_a,
        invalid_b=tally.invalid_b,
        unknown=tally.unknown,
        **means,
        flips=Flips(tally.only_a, tally.only_b, tally.both_right, neither),
        mcnemar=exact_test(tally.only_a, tally.only_b),
        kl_quantiles={q: quantile(bins, q) for q in _QUANTILES},
        by_group=by_group(tally.groups),
        labels=first.labels,
        kind=(first.kind, second.kind),
        temperature=(first.temperature, second.temperature),
        notes=notes,
        tally=tally,
    )
