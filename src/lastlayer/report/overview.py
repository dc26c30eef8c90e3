"""The numbers of an evaluation in the order in which they are shown, with what each of them is.

In: an `Evaluation`. Out: names, values and sentences, for the terminal and for the report.
"""

from __future__ import annotations

from typing import Any

from lastlayer.evaluation.estimates import Estimate

__all__ = ["MEANINGS", "OPTIONAL", "SECTIONS", "values_of"]

SECTIONS = (
    ("loss", (
        "log_loss", "bits", "perplexity", "document_perplexity", "bits_per_byte", "brier", "baseline",
        "skill", "mean_entropy",
    )),
    ("accuracy", (
        "accuracy", "top_k_accuracy", "balanced_accuracy", "matthews", "mean_reciprocal_rank", "roc_auc",
        "average_precision",
    )),
    ("calibration", (
        "ece", "mce", "ece_equal_mass", "classwise_ece", "mean_confidence", "overconfidence", "reliability",
        "resolution", "uncertainty",
    )),
)  # fmt: skip
# Left out where they were not asked for.
OPTIONAL = ("document_perplexity", "bits_per_byte", "classwise_ece", "roc_auc", "average_precision")

MEANINGS = {
    "log_loss": "Mean of -log p of the target, in nats. Lower is better.",
    "bits": "The log-loss in bits: log_loss / log 2.",
    "perplexity": "exp(log_loss).",
    "document_perplexity": "Mean over the documents of each one's perplexity.",
    "bits_per_byte": "Bits of loss for each byte of text.",
    "brier": "Mean squared distance between the probabilities and the target, 0 to 2. Lower is better.",
    "baseline": "The log-loss of always predicting the frequencies of the classes.",
    "skill": "1 - log_loss / baseline. 0: no better than the frequencies; 1: perfect.",
    "mean_entropy": "Mean entropy of the predicted distribution, in nats.",
    "accuracy": "Share of the rows whose target has the largest score.",
    "top_k_accuracy": "Share of the rows whose target is among the k largest scores.",
    "balanced_accuracy": "Mean over the classes of their recall: every class counts the same.",
    "matthews": "Matthews' correlation of targets and predictions. 0: none; 1: perfect.",
    "mean_reciprocal_rank": "Mean of 1 / r, where the target has the r-th largest score.",
    "roc_auc": "Area under the ROC curve. 0.5: chance; 1: perfect.",
    "average_precision": "Area under the precision-recall curve, as average precision.",
    "ece": "Expected calibration error: mean of |accuracy - confidence| over bins of equal width.",
    "mce": "The largest |accuracy - confidence| of a bin.",
    "ece_equal_mass": "The calibration error over bins with equally many rows.",
    "classwise_ece": "Mean over the classes of the calibration error of each one's probability.",
    "mean_confidence": "Mean of the largest probability of each row.",
    "overconfidence": "mean_confidence - accuracy. Positive: overconfident.",
    "reliability": "Brier score lost to miscalibration, of the confidence. Lower is better.",
    "resolution": "How far the accuracy of the bins differs from the mean. Higher is better.",
    "uncertainty": "Variance of \"the prediction is right\".",
}  # fmt: skip


def values_of(result: Any, name: str) -> list[tuple[str, Any]]:
    """What is shown under a name: none if it was not asked for, several for the top-k accuracies."""
    value = getattr(result, name)
    if name == "top_k_accuracy":
        return [(f"top_{k}_accuracy", v) for k, v in value.items() if k > 1]
    number = value.value if isinstance(value, Estimate) else value
    if name in OPTIONAL and (number is None or number != number):
        return []
    return [(name, value)]
