"""Tensors of a class that answers operations itself. In: a module of functions. Out: its functions for them.

Such a class decides which operations it has; those of DTensor and of nested tensors do not suffice for most
functions. A failure then names the class. Fake tensors have every operation, inside their mode.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import Parameter

from lastlayer.errors import LastlayerError
from lastlayer.options import Options
from lastlayer.problem.tensor_errors import lacks_operation

from .tensors import class_of, is_own

__all__ = ["functions_for", "mode_of"]


def mode_of(x: Tensor) -> Any:
    """The mode that a tensor's operations need: that of a fake tensor, in which constants are fake too."""
    return x.fake_mode if isinstance(x, FakeTensor) else nullcontext()


def functions_for(module: Any, *tensors: Any) -> Any:
    """The functions of ``module`` for these tensors."""
    for x in tensors:
        kind = type(x)
        if kind is Tensor or kind is Parameter or torch.compiler.is_compiling():
            continue
        if isinstance(x, FakeTensor) or is_own(x):
            return _Functions(module, x)
    return module


class _Functions:
    """The functions of a module for a tensor of a class of its own."""

    def __init__(self, module: Any, x: Tensor) -> None:
        self._module, self._x = module, x

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)
        x = self._x

        @wraps(function)
        def run(*arguments: Any) -> Any:
            if isinstance(x, FakeTensor):
                with mode_of(x):
                    return function(*arguments)
            try:
                return function(*arguments)
            except LastlayerError:
                raise
            except (RuntimeError, TypeError, AttributeError) as error:
                lacks_operation(_named(name, arguments), x, class_of(x), error)

        return run


def _named(name: str, arguments: Any) -> str:
    """The public function of a call, for its message."""
    if type(arguments[0]) is str:  # of the softmaxes
        return arguments[0]
    options = (a for a in arguments if isinstance(a, tuple) and len(a) == len(Options._fields))
    return next((function for function, *_ in options), name)
