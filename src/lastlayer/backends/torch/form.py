"""The options of a call in canonical form, as the formulas read them: `Form`."""

from __future__ import annotations

from typing import NamedTuple

from .number_options import Number

__all__ = ["Form"]


class Form(NamedTuple):
    """The options of a loss, checked; see `problem`."""

    axis: int = -1
    temperature: Number = 1.0
    softcap: Number | None = None
    on: Number = 1.0
    off: Number = 0.0
    ignore_index: int | None = None
    z_loss: Number = 0.0
    reduction: str = "mean"
    denominator: Number | None = None
