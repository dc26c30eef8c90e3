"""Triton's interpreter, which runs the kernels on CPU tensors: in processes where ``TRITON_INTERPRET=1``."""

from __future__ import annotations

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def mend():
    """Let the interpreter of Triton 3.6 run with NumPy 2.4, which converts no array with an axis to a number.

    The interpreter holds the numbers of a kernel in arrays of one element.
    """
    from triton.runtime import interpreter

    patched = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        patched(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch
