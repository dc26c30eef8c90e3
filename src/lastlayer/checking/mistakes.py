"""The mistakes that `check` can find: code, severity and text. In: the facts of a mistake. Out: a `Finding`.

Severity: "error" (the result will be wrong, or the call will raise), "warning" (probably not intended),
"note" (harmless, but useful to know).
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["MISTAKES", "SEVERITIES", "Finding", "Findings", "finding"]

SEVERITIES = ("error", "warning", "note")

# code: (severity, message). In a message {rows} stands for "3 of 8 rows", {first} for the first such row,
# {entry} for the first such entry, {value} for its value. The callers of `finding` give the other fields.
MISTAKES: dict[str, tuple[str, str]] = {
    # the scores as an array
    "scores-array": ("error", "scores are no array ({what}); expected numbers."),
    "scores-dtype": ("error", "scores have dtype {dtype}; expected real numbers."),
    "no-class-axis": (
        "error",
        "scores are the single number {value}; expected at least one axis, of classes.",
    ),
    "no-classes": ("error", "scores have shape {shape}: no classes along axis {axis}."),
    "no-rows": ("note", "scores have shape {shape}: no rows; a mean over nothing is 0."),
    # rows without a softmax
    "nan-scores": (
        "error",
        "NaN in {rows}, first at {entry}; the results of such rows are NaN. Look for a division by zero or "
        "an overflow before the last layer.",
    ),
    "inf-scores": (
        "error",
        "+inf in {rows}, first at {entry}; softmax and loss of such rows are NaN. Look for an overflow "
        "before the last layer (float16?).",
    ),
    "impossible-rows": (
        "error",
        "every score is -inf in {rows}, first in {first}; softmax and loss of such rows are NaN. Leave a "
        "class possible, or mask the row with where=.",
    ),
    # scores of another kind than expected
    "probabilities-as-logits": (
        "warning",
        "every row lies in [0, 1] and sums to 1: probabilities where logits belong (softmax applied "
        "twice?). Pass the scores from before the softmax, or use log_loss.",
    ),
    "log-probabilities-as-logits": (
        "note",
        "every row is the logarithm of probabilities that sum to 1: log-probabilities where logits belong. "
        "Harmless, the results are the same; nll_loss says what is meant and spares the work.",
    ),
    "log-probabilities-as-probabilities": (
        "error",
        "every row is the logarithm of probabilities that sum to 1: log-probabilities where probabilities "
        "belong. Use nll_loss, or pass exp(scores).",
    ),
    "probabilities-as-log-probabilities": (
        "error",
        "every row lies in [0, 1] and sums to 1: probabilities where log-probabilities belong. Use "
        "log_loss, or pass log(scores).",
    ),
    # rows that are no distribution
    "negative-probabilities": (
        "error",
        "negative entries in {rows}, first {entry} = {value:.6g}; expected probabilities in [0, 1]. Are "
        "these logits? Use cross_entropy, or pass softmax(scores).",
    ),
    "probabilities-above-one": (
        "error",
        "entries above 1 in {rows}, first {entry} = {value:.6g}; expected probabilities in [0, 1]. {hint}",
    ),
    "rows-not-summing-to-one": (
        "error",
        "{many}{first} sums to {value:.6g}; expected probabilities that sum to 1 along axis {axis}. Divide "
        "each row by its sum, or make them with softmax(logits).",
    ),
    "positive-log-probabilities": (
        "error",
        "entries above 0 in {rows}, first {entry} = {value:.6g}; a log-probability is never above 0. Are "
        "these logits? Use cross_entropy, or pass log_softmax(scores).",
    ),
    "rows-not-log-normalised": (
        "error",
        "{many}{first} has logsumexp {value:.6g}; expected 0 along axis {axis}, that of log-probabilities. "
        "Pass log_softmax(scores), or use cross_entropy for logits.",
    ),
    # predictions
    "constant-scores": (
        "warning",
        "all {n} rows hold the same scores: the predictions do not depend on the input. Look for an "
        "untrained or disconnected last layer, or for an input repeated by broadcasting.",
    ),
    "one-class-predicted": (
        "note",
        "class {label} has the highest score in every row, while the targets hold {held} classes. Check the"
        " bias, or balance the classes.",
    ),
    "worse-than-uniform": (
        "warning",
        "the {mean} is {loss:.4g}, above log({classes}) = {bound:.4g}: worse than the same score for every "
        "class. Check the order of the classes, the labels and the sign of the scores.",
    ),
    "impossible-target": (
        "warning",
        "the target has {what} in {rows}, first in {first}; the loss of such rows is +inf. Do not forbid "
        "classes that occur, or leave such rows out.",
    ),
    # the class axis
    "class-axis": ("error", "{why} along axis {other}: pass axis={other}."),
    # the targets as an array
    "targets-array": ("error", "targets are no array ({what}); expected numbers."),
    "targets-dtype": ("error", "targets have dtype {dtype}; expected class indices or dense targets.{hint}"),
    "unknown-labels": (
        "error",
        "{entry} is {value!r}, which is none of labels ({labels}), as in {rows}. Correct the targets, or the "
        "names of the classes.",
    ),
    "bool-targets": (
        "error",
        "targets are bool; expected class indices. Pass targets.astype(np.int64): False is class 0.",
    ),
    "float-targets": (
        "error",
        "targets have shape {given}, one per row, and dtype {dtype}; expected integer class indices. Pass "
        "targets.astype(np.int64), of a tensor targets.long(), or dense targets of shape {shape}.{hint}",
    ),
    "target-shape": (
        "error",
        "targets have shape {given}; expected class indices of shape {rows_shape} or dense targets of shape"
        " {shape}.{hint}",
    ),
    "arguments-exchanged": (
        "error",
        "scores are integers of shape {shape} and targets have shape {given}: are the two exchanged? Pass "
        "check(scores, targets).",
    ),
    "one-hot-scores": (
        "warning",
        "every row of scores is one-hot and the targets are not: are the two exchanged? Pass scores first, "
        "then targets.",
    ),
    # index targets
    "all-ignored": (
        "warning",
        "all {n} targets are {what}: the loss is 0 and so is the gradient. {hint}",
    ),
    "labels-start-at-1": (
        "error",
        "labels start at 1: the targets lie in [1, {classes}]; expected [0, {classes}). Pass targets - 1.",
    ),
    "target-out-of-range": (
        "error",
        "{entry} is {value}; expected a class in [0, {classes}){ignore} ({rows} out of range). {hint}",
    ),
    "class-never-occurs": ("warning", "{which} among {n} targets{example}. {hint}"),
    # dense targets
    "one-hot-targets": (
        "note",
        "the targets are one-hot rows: the result is right (but a mean with class weights divides by the"
        " rows, not by their weights); class indices, targets.argmax({axis}), give it faster, in less memory,"
        " and with ignore_index.",
    ),
    "nan-targets": (
        "error",
        "NaN or inf in the targets of {rows}, first at {entry}; the loss of such rows is NaN.",
    ),
    "negative-targets": (
        "error",
        "negative targets in {rows}, first {entry} = {value:.6g}; expected probabilities. Are these logits?"
        " Pass softmax(targets).",
    ),
    "targets-not-one-hot": (
        "error",
        "{many}{first} has integer targets that sum to {value:.6g}; integers of the scores' shape are one-"
        "hot rows. Were class indices meant? They have one axis fewer.",
    ),
    "listed-targets": ("error", "{what}."),
    "soft-targets-sum": (
        "warning",
        "{many}{first} has targets that sum to {value:.6g}; expected distributions. Divide each row by its "
        "sum, or use sample_weight for weights.",
    ),
}


class Finding(NamedTuple):
    """One mistake: its ``code``, its ``severity``, a message with the remedy, and its first position."""

    code: str
    severity: str
    message: str
    where: tuple[int, ...] | None = None

    def __str__(self) -> str:
        return f"{self.severity}: {self.message} [{self.code}]"


class Findings(tuple[Finding, ...]):
    """The findings, most severe first; empty (and false) if there is none."""

    __slots__ = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes alone, in order."""
        return tuple(finding.code for finding in self)

    def __str__(self) -> str:
        return "\n".join(map(str, self)) or "no findings"

    __repr__ = __str__


def finding(code: str, where: tuple[int, ...] | None = None, severity: str = "", **facts: Any) -> Finding:
    """The finding of this code; ``facts`` fill the fields of its text, ``severity`` overrides the default."""
    usual, text = MISTAKES[code]
    return Finding(code, severity or usual, text.format(**facts), where)
