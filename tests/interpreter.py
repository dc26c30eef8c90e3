"""Triton's interpreter, which runs the kernels on CPU tensors: in processes where ``TRITON_INTERPRET=1``."""

from __future__ import annotations

import os
import warnings

import numpy as np

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def mend():
    """Let the interpreter of Triton 3.6 run with NumPy 2.4, and compute as a GPU does.

    NumPy 2.4 converts no array with an axis to a number.

    The interpreter holds the numbers of a kernel in arrays of one element.
    """
    from triton.runtime import interpreter

    patched = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        patched(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch

    def fused(self, x, y, z):
        """As on a GPU, where x y is not rounded; the interpreter rounds it."""
        a, b, c = (t.data.astype(np.float64) if t.data.dtype == np.float32 else t.data for t in (x, y, z))
        return interpreter.TensorHandle((a * b + c).astype(z.data.dtype), z.dtype.scalar)

    interpreter.InterpreterBuilder.create_fma = fused
    converted = interpreter._convert_float

    def convert(x, source, to, rounding):
        """Round to bfloat16 to nearest, as a GPU does; the interpreter cuts digits off."""
        if (source.name, to.name) != ("fp32", "bf16"):
            return converted(x, source, to, rounding)
        bits = np.ascontiguousarray(x).view(np.uint32)
        nearest = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
        return np.where(x != x, 0x7FC0, nearest).astype(np.uint16)

    interpreter._convert_float = convert
    launched = interpreter.GridExecutor.__call__

    def launch(self, *arguments, **options):
        with np.errstate(all="ignore"), warnings.catch_warnings():  # a GPU does not warn of NaN
            warnings.simplefilter("ignore", RuntimeWarning)
            return launched(self, *arguments, **options)

    interpreter.GridExecutor.__call__ = launch
