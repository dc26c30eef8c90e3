"""Options of estimators as JSON has them. In: numbers, text, lists, dicts. Out: JSON, and the values again.

JSON has no infinity, and only text for keys: so odd numbers are ``{"float": "inf"}``, dicts
``{"dict": [[key, value], ...]}`` and tuples ``{"tuple": [...]}``. Arrays become lists, and paths text.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

__all__ = ["from_plain", "to_plain"]


def to_plain(value: Any) -> Any:
    """A value as JSON; `TypeError` says what it is if it has no such form."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        value = float(value)
        return value if math.isfinite(value) else {"float": str(value)}
    if type(value) is list:
        return [to_plain(item) for item in value]
    if type(value) is tuple:
        return {"tuple": [to_plain(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    raise TypeError(f"a {type(value).__name__}")


def from_plain(saved: Any) -> Any:
    """The value that `to_plain` gave."""
    if isinstance(saved, list):
        return [from_plain(item) for item in saved]
    if not isinstance(saved, dict):
        return saved
    ((form, content),) = saved.items()
    if form == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if form == "tuple":
        return tuple(from_plain(content))
    if form == "dict":
        return {from_plain(key): from_plain(item) for key, item in content}
    raise ValueError(f"a value is of an unknown form {form!r}")
