"""What a wrong call raises. Every message reads ``function: argument is value; expected rule``."""

from __future__ import annotations

__all__ = [
    "BackendError",
    "DtypeError",
    "LastlayerError",
    "OptionError",
    "ShapeError",
    "TargetError",
]


class LastlayerError(Exception):
    """The base of every error this package raises on purpose."""


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
