"""Fold several class axes into one last axis, and unfold results. In: arrays, axes. Out: arrays, `Axes`."""

from __future__ import annotations

from typing import Any, NamedTuple

from lastlayer.arrays import Array, namespace
from lastlayer.errors import OptionError

from .check_arrays import floating, mask
from .check_numbers import class_axis

__all__ = ["Axes", "axes", "folding"]


class Axes(NamedTuple):
    """Folds several class axes into one last axis, and unfolds results."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]  # of the array before folding
    order: tuple[int, ...]  # the other axes, then the class axes

    def fold(self, x: Array) -> Array:
        """``x`` with its class axes as one last axis: a view where the strides allow it."""
        xp = namespace(x)
        rows = len(self.order) - len(self.axes)
        x = xp.permute_dims(x, self.order)
        classes = 1
        for n in x.shape[rows:]:
            classes *= n
        return xp.reshape(x, (*x.shape[:rows], classes))

    def unfold(self, y: Array) -> Array:
        """``y``, of the folded shape, in the shape of the array before folding."""
        xp = namespace(y)
        y = xp.reshape(y, tuple(self.shape[i] for i in self.order))
        return xp.permute_dims(y, tuple(self.order.index(i) for i in range(len(self.order))))

    def keep(self, y: Array) -> Array:
        """``y``, of the rows' shape, with an axis of length 1 for every class axis."""
        return namespace(y).reshape(y, tuple(1 if i in self.axes else n for i, n in enumerate(self.shape)))


def axes(function: str, x: Any, where: Any, axis: Any) -> tuple[Array, Array | None, Axes]:
    """``x`` and ``where`` with the given class axes (a tuple, an int, or None for all) as one last axis."""
    x = floating(function, x)
    form = folding(function, x, axis)
    return form.fold(x), None if where is None else form.fold(mask(function, x, where)), form


def folding(function: str, x: Array, axis: Any) -> Axes:
    """How to fold the given class axes of ``x``."""
    if x.ndim == 0 and axis is None:  # one class
        return Axes((), (), ())
    if x.ndim == 0:
        class_axis(function, x, -1)
    given = range(x.ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    chosen = tuple(sorted(class_axis(function, x, a) for a in given))
    if not chosen or len(set(chosen)) != len(chosen):
        raise OptionError(function, "axis", repr(axis), "one or more different axes")
    rows = tuple(i for i in range(x.ndim) if i not in chosen)
    return Axes(chosen, tuple(x.shape), (*rows, *chosen))
