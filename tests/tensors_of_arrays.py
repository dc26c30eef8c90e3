"""The public functions of logits on NumPy arrays, computed as PyTorch tensors by the kernels in Triton.

In: the arguments of the conformance suite. Out: NumPy arrays. So the suite tests the kernels, in Triton's
interpreter, on the same cases as the other backends. Arrays that no kernel computes (float64, integers) are
computed by PyTorch's operations, as they are on a GPU.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from unittest.mock import patch

import numpy as np

import lastlayer as ll
from lastlayer import selection

FUNCTIONS = (
    "cross_entropy",
    "cross_entropy_grad",
    "log_loss",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "predict",
    "row_stats",
    "softmax",
    "top_k",
)


@contextmanager
def by_kernels():
    """Compute the public functions of logits in this way."""
    with ExitStack() as stack:
        for name in FUNCTIONS:
            stack.enter_context(patch.object(ll, name, as_tensors(getattr(ll, name))))
        yield


def as_tensors(function):
    """The public function on arrays, by tensors that share their memory."""
    import torch

    def run(x, *arguments, **options):
        out = options.get("out")
        scores = tensor_of(scores_in(x))
        arguments = [argument_of(a) for a in arguments]
        options = {name: argument_of(value) for name, value in options.items()}
        kernels = scores.dtype in (torch.float32, torch.bfloat16, torch.float16)
        with selection.use("triton" if kernels else "composed"):
            found = function(scores, *arguments, **options)
        if out is not None:
            if not shares_memory(out):
                out[...] = array_of(found)
            return out
        return result_of(found)

    return run


def scores_in(x):
    """Logits as an array of floats: of integers, NumPy's default float, not PyTorch's."""
    x = np.asarray(x)
    return x if x.dtype.kind not in "biu" else x.astype(np.float64)


def shares_memory(a):
    """Whether PyTorch can read an array where it is."""
    return a.dtype.isnative and a.flags.aligned and all(step >= 0 for step in a.strides)


def tensor_of(a):
    """A tensor of an array; it shares its memory, and so has its strides, where that is possible."""
    import torch

    if not (shares_memory(a) and all(step % a.itemsize == 0 for step in a.strides)):
        a = np.array(a, a.dtype.newbyteorder("="))
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
