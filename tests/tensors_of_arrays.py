"""The public functions of logits on NumPy arrays, computed as PyTorch tensors by the kernels in Triton.

In: the arguments of the conformance suite. Out: NumPy arrays. So the suite tests the kernels, in Triton's
interpreter, on the same cases as the other backends. What no kernel computes (float64, integers, an ``out``
that no tensor can share) is computed as arrays.
"""

from __future__ import annotations

import inspect
import warnings
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps

import numpy as np

import lastlayer as ll
from lastlayer import selection

OF_TARGETS = ("cross_entropy", "cross_entropy_grad", "log_loss", "nll_loss", "row_stats")
OF_SCORES = ("log_softmax", "logsumexp", "predict", "softmax", "top_k")
KERNELS = ("float32", "float16", "bfloat16")

active = False  # whether the wrapped functions compute by tensors


def install():
    """Wrap the functions, once, before the tests are imported, since some keep them in lists."""
    for name in (*OF_TARGETS, *OF_SCORES):
        setattr(ll, name, as_tensors(getattr(ll, name)))


@contextmanager
def by_kernels():
    """Compute the public functions of logits in this way."""
    global active
    before, active = active, True
    try:
        yield
    finally:
        active = before


def as_tensors(function):
    """The public function on arrays, by tensors that share their memory."""
    name = function.__name__
    # Targets out of range are NaN on a GPU, unless it is asked to find them.
    validates = name in OF_TARGETS and "validate" in inspect.signature(function).parameters

    @wraps(function)
    def run(x, *arguments, **options):
        out = options.get("out")
        if not active or not is_for_kernels(x) or not (out is None or shares_memory(out)):
            return function(x, *arguments, **options)
        if validates and (arguments or options.get("targets") is not None):
            options = {"validate": True} | options
        arguments = [argument_of(a) for a in arguments]
        with selection.use("triton"):
            found = function(
                tensor_of(np.asarray(x)), *arguments, **{k: argument_of(v) for k, v in options.items()}
            )
        return result_of(found) if out is None else out

    return run


def is_for_kernels(x):
    return isinstance(x, np.ndarray) and x.dtype.name in KERNELS


def shares_memory(a):
    """Whether PyTorch can read an array where it is."""
    whole = all(step >= 0 and step % a.itemsize == 0 for step in a.strides)
    return whole and a.dtype.isnative and a.flags.aligned


def tensor_of(a):
    """A tensor of an array; it shares its memory, and so has its strides, where that is possible."""
    import torch

    if not shares_memory(a):
        a = np.array(a, a.dtype.newbyteorder("="))
    if a.dtype.kind in "iu":
        a = a.view(f"{a.dtype.kind}{a.itemsize}")  # PyTorch does not know the other integers of the same size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of arrays that are read-only: nothing writes to them
        if a.dtype.name == "bfloat16":
            return torch.from_numpy(a.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(a)


def argument_of(value):
    """An argument besides the scores: arrays, and tuples of them, as tensors."""
    if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return tuple(argument_of(part) for part in value)
    return tensor_of(value) if isinstance(value, np.ndarray) else value


def array_of(x):
    """The array of a tensor, with its memory; a NumPy number where it has no axis."""
    import ml_dtypes
    import torch

    x = x.detach()
    a = x.view(torch.uint16).numpy().view(ml_dtypes.bfloat16) if x.dtype is torch.bfloat16 else x.numpy()
    return a if a.ndim else a[()]


def result_of(found):
    """What the function of arrays would return: arrays, tuples of them, or `RowStats` with the fields."""
    import torch

    if isinstance(found, tuple):
        return tuple(result_of(part) for part in found)
    if isinstance(found, torch.Tensor):
        return array_of(found)
    if isinstance(found, ll.RowStats):
        values = {f.name: getattr(found, f.name) for f in fields(ll.RowStats)}
        values["dtype"] = np.dtype(str(found.dtype).removeprefix("torch."))
        return ll.RowStats(
            **{n: array_of(v) if isinstance(v, torch.Tensor) else v for n, v in values.items()}
        )
    return found
