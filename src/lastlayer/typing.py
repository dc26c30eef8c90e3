"""Types for annotations: the words and arrays that the functions take, what they return, and their options.

In: nothing. Out: names for the annotations of your own functions; the public ones use the same. They are not
imported when a program runs, unless it imports this module itself.

>>> from lastlayer.typing import Reduction
>>> def loss_of_a_batch(logits, targets, reduction: Reduction = "mean"): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Literal, Protocol, SupportsFloat, TypedDict, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "AnyArray",
    "Axes",
    "ChunkOptions",
    "CrossEntropyOptions",
    "Defer",
    "Float",
    "Floats",
    "Foreign",
    "KindOfScores",
    "LinearRowStatsOptions",
    "LinearTopKOptions",
    "LogitOptions",
    "LossOnly",
    "LossOptions",
    "NDArray",
    "PredictOptions",
    "Ranked",
    "Reduced",
    "Reduction",
    "RowStatsOptions",
    "SoftmaxOptions",
    "TargetOptions",
    "TopKOptions",
    "WithStats",
]

# --- words ---

Reduction = Literal["mean", "sum", "none"]
Reduced = Literal["mean", "sum"]  # the reductions to one number
KindOfScores = Literal["logits", "probabilities", "log-probabilities"]  # of `lastlayer.check`
Defer = Literal["training", "always", "never"]  # of `lastlayer.torch.LinearHead`

# --- arrays ---

R_co = TypeVar("R_co", covariant=True)


class _Standard(Protocol[R_co]):
    """An array of a library of the array API standard, PyTorch among them, but not of NumPy.

    The standard's kinds of devices are an Enum, NumPy's an int. The results of a library are of the class of
    ``-x``: for a ``torch.nn.Parameter`` that is ``torch.Tensor``.
    """

    def __dlpack_device__(self) -> tuple[Enum, int]: ...
    def __neg__(self) -> R_co: ...


class _Jax(Protocol[R_co]):
    """An array of JAX, whose annotations lack ``__dlpack_device__``."""

    @property
    def addressable_shards(self) -> Any: ...
    def __neg__(self) -> R_co: ...


class _Dask(Protocol[R_co]):
    """An array of Dask."""

    def __dask_graph__(self) -> Any: ...
    def __neg__(self) -> R_co: ...


class _Shaped(Protocol):
    """An array of any library."""

    @property
    def shape(self) -> Any: ...


class _Exporting(Protocol):
    """An object that NumPy reads by DLPack."""

    def __dlpack__(self) -> Any: ...


# An array of another library than NumPy, whose functions give arrays of R.
Foreign = Union[_Standard[R_co], _Jax[R_co], _Dask[R_co]]
# An array of any library, what NumPy makes an array of, and a tuple of top-k targets.
AnyArray = Union[_Shaped, _Exporting, Sequence[Any], float]
Axes = Union[int, tuple[int, ...], None]


class ChunkOptions(Protocol):
    """What `lastlayer.torch.linear_cross_entropy` reads of a ``torch.nn.LinearCrossEntropyOptions``."""

    @property
    def batch_chunk_size(self) -> int | None: ...


# --- results for NumPy arrays, lists and numbers ---

Float = np.floating[Any]
Floats = NDArray[np.floating[Any]]  # a number of NumPy where the scores are of a single row
Ranked = tuple[NDArray[np.int64], Floats]  # labels and their probabilities

# --- options, as keywords: for Unpack. Their meaning and defaults are those of the functions. ---


class SoftmaxOptions(TypedDict, total=False):
    """Of `softmax` and `log_softmax`, besides ``out``."""

    where: AnyArray | None
    temperature: SupportsFloat


class TargetOptions(TypedDict, total=False):
    """Of every function of targets."""

    class_weight: AnyArray | None
    sample_weight: AnyArray | None
    ignore_index: int | None
    label_smoothing: SupportsFloat
    validate: bool


class LogitOptions(TypedDict, total=False):
    """Of most functions of logits."""

    temperature: SupportsFloat
    softcap: SupportsFloat | None


class LossOptions(TargetOptions, total=False):
    """Of `nll_loss` and `log_loss`, besides ``reduction``."""

    axis: int
    denominator: SupportsFloat | None


class CrossEntropyOptions(LossOptions, LogitOptions, total=False):
    """Of `cross_entropy` and `cross_entropy_grad`, besides ``reduction``."""

    z_loss: SupportsFloat


class RowStatsOptions(TargetOptions, LogitOptions, total=False):
    """Of `row_stats`."""

    axis: int
    class_offset: int | None
    target_logits: AnyArray | None


class PredictOptions(LogitOptions, total=False):
    """Of `predict`."""

    axis: int


class TopKOptions(TypedDict, total=False):
    """Of `top_k`."""

    axis: int
    temperature: SupportsFloat


class LinearTopKOptions(LogitOptions, total=False):
    """Of `linear_top_k`."""

    bias: AnyArray | None
    max_memory: float | None


class LinearRowStatsOptions(TargetOptions, LinearTopKOptions, total=False):
    """Of `linear_row_stats`."""

    shift: int
    class_offset: int | None


class _LinearLossOptions(TargetOptions, LinearTopKOptions, total=False):
    shift: int
    z_loss: SupportsFloat
    denominator: SupportsFloat | None


class LossOnly(_LinearLossOptions, total=False):
    """Of `linear_cross_entropy` and `linear_cross_entropy_grad`, besides ``reduction``."""

    return_stats: Literal[False]


class WithStats(_LinearLossOptions):
    """The same where the statistics of the rows are returned too."""

    return_stats: Literal[True]
