"""Tensor subclasses with ``__torch_dispatch__``. In: a module of functions. Out: the same for such tensors.

Such a class decides which operations it supports; DTensor and nested tensors lack some that most functions
need. The error then names the class. Fake tensors support every operation inside their mode.
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

from .tensors import class_of, has_own_operations

__all__ = ["functions_for", "mode_of"]


def mode_of(x: Tensor) -> Any:
    """The context for operations on ``x``: for a fake tensor its mode, so that constants are fake too."""
    return x.fake_mode if isinstance(x, FakeTensor) else nullcontext()


def functions_for(module: Any, *tensors: Any) -> Any:
    """The functions of ``module`` for these tensors."""
    for x in tensors:
        kind = type(x)
        if kind is Tensor or kind is Parameter or torch.compiler.is_compiling():
            continue
        if isinstance(x, FakeTensor) or has_own_operations(x):
            return _Functions(module, x)
    return module


class _Functions:
    """The functions of a module, wrapped for a tensor subclass."""

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
    """The name of the public function of a call, for an error message."""
    if type(arguments[0]) is str:  # softmax and log_softmax get their name
        return arguments[0]
    options = (a for a in arguments if isinstance(a, tuple) and len(a) == len(Options._fields))
    return next((function for function, *_ in options), name)
