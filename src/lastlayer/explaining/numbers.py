"""The numbers of an explanation. In: one row of logits, target, options. Out: every step to the gradient."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

import lastlayer as ll
from lastlayer.backends import reference
from lastlayer.errors import errors_of
from lastlayer.options import Options
from lastlayer.problem import scores
from lastlayer.resolving import resolve

__all__ = ["Numbers"]

Floats = npt.NDArray[np.float64]


class Numbers:
    """One row, from logits to gradient. The library computes the results, this class the steps between."""

    def __init__(
        self,
        logits: Floats,
        labels: tuple[str, ...],
        target: int | Floats | None,
        *,
        temperature: float = 1.0,
        softcap: float | None = None,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.logits, self.labels, self.notes = logits, labels, notes
        self.target = target if isinstance(target, int) else None
        self.temperature, self.softcap = temperature, softcap
        self.label_smoothing, self.class_weight = label_smoothing, class_weight
        self._given = target
        with errors_of("explain"):
            ll.row_stats(logits, temperature=temperature, softcap=softcap)  # checks them without a target too
            self.probabilities: Floats = ll.softmax(self.capped, temperature=temperature)
            self.prediction = int(np.argmax(logits))
            self.loss, self.gradient, self.loss_terms = (
                float("nan"),
                np.full_like(logits, np.nan),
                (np.nan,) * 3,
            )
            if target is not None:
                self._set_loss(target)

    def _set_loss(self, target: int | Floats) -> None:
        options: dict[str, Any] = {
            "temperature": self.temperature,
            "softcap": self.softcap,
            "label_smoothing": self.label_smoothing,
            "class_weight": self.class_weight,
        }
        loss, self.gradient = ll.cross_entropy_grad(self.logits, target, reduction="sum", **options)
        self.loss = float(loss)
        stats = ll.row_stats(self.logits, target, **options)
        gap, rest, mass = (float(np.asarray(value)) for value in (stats.gap, stats.rest, stats.mass))
        self.loss_terms = gap, rest, mass

    @property
    def has_target(self) -> bool:
        """Whether there is a target: a class, or probabilities."""
        return self._given is not None

    @property
    def is_plain(self) -> bool:
        """Whether the loss is -log p of a class, without smoothing and weights."""
        return self.target is not None and not self.label_smoothing and self.class_weight is None

    @cached_property
    def capped(self) -> Floats:
        """The logits after the softcap; without one, the logits: (V,)."""
        if self.softcap is None:
            return self.logits
        return np.asarray(self.softcap * np.tanh(self.logits / self.softcap))

    @cached_property
    def shifted(self) -> Floats:
        """Logits after the softcap, divided by the temperature, minus the largest: (V,)."""
        scaled = self.capped / self.temperature
        return np.asarray(scaled - scaled[self.prediction])

    @cached_property
    def exponentials(self) -> Floats:
        """The exponentials of the shifted logits: (V,)."""
        return np.asarray(np.exp(self.shifted))

    @cached_property
    def targets(self) -> Floats:
        """The effective target t: (V,); NaN without a target."""
        if self._given is None:
            return np.full_like(self.logits, np.nan)
        problem = resolve(
            scores("explain", self.logits),
            reference,
            (self._given, self.class_weight, None),
            Options("explain", label_smoothing=self.label_smoothing),
        )
        return np.asarray(reference.effective_targets(problem)[0])
