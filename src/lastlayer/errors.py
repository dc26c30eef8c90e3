"""What a wrong call raises. Every message reads ``function: argument is value; expected rule``.

A value in it is what the user gave, in whatever words: `quoted` marks it, so that who translates a message's
argument names (the drop-ins of PyTorch) leaves it alone. The marks are not part of the text that is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

__all__ = [
    "BackendError",
    "DtypeError",
    "LastlayerError",
    "OptionError",
    "ShapeError",
    "TargetError",
    "TensorClassError",
    "quoted",
    "reworded",
    "shown",
]

_OPEN, _CLOSE, _VALUE = "\x02", "\x03", "\x00"  # which repr() escapes
_QUOTED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


def quoted(value: Any) -> str:
    """What a user gave, for a message."""
    return _OPEN + re.sub(f"[{_OPEN}{_CLOSE}{_VALUE}]", "", str(value)) + _CLOSE


def shown(value: Any) -> str:
    """What a user gave, for a message, as Python writes it."""
    return quoted(repr(value))


def reworded(error: LastlayerError, change: Callable[[str], str]) -> str:
    """An error's text after a ``change`` that sees no value, only a NUL in the place of each."""
    values = iter(_QUOTED.findall(error.text))
    return re.sub(_VALUE, lambda _: quoted(next(values)), change(_QUOTED.sub(_VALUE, error.text)))


class LastlayerError(Exception):
    """The base of every error this package raises on purpose."""

    def __init__(self, text: str = "") -> None:
        super().__init__(_QUOTED.sub(r"\1", text))
        self.text = text  # with the marks of `quoted`


class ShapeError(LastlayerError, ValueError):
    """An array's shape, or an axis, does not fit the other arguments."""


class DtypeError(LastlayerError, TypeError):
    """An array holds the wrong kind of number."""


class TargetError(LastlayerError, ValueError):
    """A class index lies outside the classes, and is not ``ignore_index``."""


class OptionError(LastlayerError, ValueError):
    """An option has a value without meaning."""


class BackendError(LastlayerError, RuntimeError):
    """No installed backend can do what was asked."""


class TensorClassError(BackendError):
    """A tensor of a class or layout that lacks an operation of the call."""
