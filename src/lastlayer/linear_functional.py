"""The public functions of a linear head. In: features and weights. Out: what the selected backend returns.

They are the functions of `functional` for the logits ``x @ weight.T + bias``, which are not materialized:
they are computed in tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from . import dispatch, problem
from .arrays import Array
from .options import Options
from .row_statistics import RowStats

if TYPE_CHECKING:  # for the overloads: what a call gives, by the kind of its arrays
    from typing_extensions import Unpack

    from .typing import (
        AnyArray,
        Float,
        Floats,
        Foreign,
        LinearRowStatsOptions,
        LinearTopKOptions,
        LossOnly,
        NDArray,
        Ranked,
        Reduced,
        Reduction,
        WithStats,
    )

__all__ = ["linear_cross_entropy", "linear_cross_entropy_grad", "linear_row_stats", "linear_top_k"]

R = TypeVar("R")  # an array of another library than NumPy

_ndarray = np.ndarray
_arrays: Any = None  # lastlayer.linear_arrays, imported at the first call that needs it


@overload
def linear_cross_entropy(
    x: Foreign[R], weight: AnyArray, targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[LossOnly]
) -> R: ...
@overload
def linear_cross_entropy(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[LossOnly]
) -> Float: ...
@overload
def linear_cross_entropy(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[LossOnly]
) -> Floats: ...
@overload
def linear_cross_entropy(
    x: Foreign[R], weight: AnyArray, targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[WithStats]
) -> tuple[R, RowStats[R]]: ...
@overload
def linear_cross_entropy(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[WithStats]
) -> tuple[Float, RowStats[NDArray[Any]]]: ...
@overload
def linear_cross_entropy(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[WithStats]
) -> tuple[Floats, RowStats[NDArray[Any]]]: ...
def linear_cross_entropy(
    x: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    max_memory: float | None = None,
    shift: int = 0,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
    z_loss: float | Any = 0.0,
    reduction: str = "mean",
    denominator: float | Any | None = None,
    return_stats: bool = False,
    validate: bool = False,
) -> Array:
    """Loss of a linear classifier from its features and weights, without materializing the logits.

    ::

        linear_cross_entropy(x, weight, targets, bias=bias) = cross_entropy(x @ weight.T + bias, targets)

    Parameters
    ----------
    x : array, (..., D)
        Features, D for each row.
    weight : array, (V, D)
        A row for each class.
    targets : array of integers, (...); or array, (..., V); or tuple of arrays, (..., K)
        Class indices, dense targets or top-k targets, as in `cross_entropy`.
    bias : array, (V,), optional
        Added to the logits.
    max_memory : number of bytes, optional
        Memory that the call may use besides its arguments and results. Default: 1/32 of the machine's memory,
        at least 64 and at most 512 MiB. With less, more is computed twice; results change by rounding only.
    shift : int, 0 or more
        Pair each position with the target ``shift`` positions later, along the last axis of the rows: 1 for a
        causal language model whose tokens are passed as ``targets``. The result is the loss of
        ``x[..., :-shift, :]`` and ``targets[..., shift:]`` (and ``sample_weight[..., shift:]``), without a
        copy of ``x``. The last ``shift`` positions have no target and are ignored. Dense targets are copied.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, z_loss, reduction, \
denominator
        As in `cross_entropy`.
    return_stats : bool
        Whether to return the rows' statistics as well.
    validate : bool
        As in `cross_entropy`.

    Returns
    -------
    loss : float, or for "none" an array of the shape of ``x`` without its last axis
        In nats; float64 where one of the arrays is of float64, else float32.
    stats : RowStats, if ``return_stats``
        As `linear_row_stats` returns them, from the same pass, but not differentiable. Ignored rows are
        computed too, since their statistics are defined.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    linear_cross_entropy_grad : the loss and its gradients.

    Notes
    -----
    For PyTorch tensors the loss is differentiable in ``x``, ``weight`` and ``bias``. If all logits fit into
    the call's memory, they are kept for the first backward pass; otherwise the gradients are computed with
    the loss and returned by that pass. Ignored rows are left out of the matrix products. With
    ``reduction="none"`` the backward pass computes the tiles again.

    The logits are materialized where no tiled computation exists: for gradients in ``class_weight``,
    ``sample_weight`` or targets, second derivatives, tensors on a GPU (or other accelerator), and arrays of
    other libraries. 16-bit NumPy arrays are multiplied as float32. The logits of bfloat16 tensors are rounded
    to bfloat16, as those of ``x @ weight.T`` are.

    Examples
    --------
    >>> import numpy as np
    >>> import lastlayer as ll
    >>> x, weight = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
    >>> float(ll.linear_cross_entropy(x, weight, [1, 2]).round(6))
    0.615488
    >>> float(ll.cross_entropy(x @ weight.T, [1, 2]).round(6))
    0.615488
    """
    given = targets, class_weight, sample_weight
    options = Options(
        "linear_cross_entropy", -1, ignore_index, label_smoothing, temperature, softcap, z_loss, reduction,
        denominator, shift,
    )  # fmt: skip
    if type(x) is not _ndarray and (tensors := dispatch.heads_of_tensors(x, weight)):
        if validate:
            tensors.validate((x, weight, bias, max_memory), given, options)
        return tensors.loss((x, weight, bias, max_memory), given, options, return_stats)
    head = problem.head("linear_cross_entropy", x, weight, bias, max_memory)
    return _heads().loss(head, given, options, return_stats)


@overload
def linear_cross_entropy_grad(
    x: Foreign[R], weight: AnyArray, targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[LossOnly]
) -> tuple[R, tuple[R, R, R | Any]]: ...
@overload
def linear_cross_entropy_grad(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[LossOnly]
) -> tuple[Float, tuple[NDArray[Any], NDArray[Any], NDArray[Any] | Any]]: ...
@overload
def linear_cross_entropy_grad(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[LossOnly]
) -> tuple[Floats, tuple[NDArray[Any], NDArray[Any], NDArray[Any] | Any]]: ...
@overload
def linear_cross_entropy_grad(
    x: Foreign[R], weight: AnyArray, targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[WithStats]
) -> tuple[R, tuple[R, R, R | Any], RowStats[R]]: ...
@overload
def linear_cross_entropy_grad(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[WithStats]
) -> tuple[Float, tuple[NDArray[Any], NDArray[Any], NDArray[Any] | Any], RowStats[NDArray[Any]]]: ...
@overload
def linear_cross_entropy_grad(
    x: AnyArray, weight: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[WithStats]
) -> tuple[Floats, tuple[NDArray[Any], NDArray[Any], NDArray[Any] | Any], RowStats[NDArray[Any]]]: ...
def linear_cross_entropy_grad(
    x: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    max_memory: float | None = None,
    shift: int = 0,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
    z_loss: float | Any = 0.0,
    reduction: str = "mean",
    denominator: float | Any | None = None,
    return_stats: bool = False,
    validate: bool = False,
) -> Any:
    """Loss of a linear classifier and its gradients, without materializing the logits.

    ::

        g = dloss/dlogits     dx = g @ weight     dweight = g.T @ x     dbias = sum of g over the rows

    Parameters
    ----------
    x, weight, targets, bias, max_memory, shift, class_weight, sample_weight, ignore_index, label_smoothing, \
temperature, softcap, z_loss, reduction, denominator, return_stats, validate
        As in `linear_cross_entropy`.

    Returns
    -------
    loss : float or array
        As `linear_cross_entropy` returns it.
    gradients : tuple of dx, dweight, dbias
        Gradients of the reduced loss; for "none", of the sum of the losses. Each has the shape and dtype of
        its argument; dbias is None without a bias. 0 for ignored rows, and everywhere if the mean's
        denominator is 0.
    stats : RowStats, if ``return_stats``
        As `linear_cross_entropy` returns it.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    linear_cross_entropy : the loss alone.
    cross_entropy_grad : the gradient of the logits.

    Notes
    -----
    Sums over tiles are accumulated in float32, or float64 for float64 arrays.

    Examples
    --------
    >>> import numpy as np
    >>> import lastlayer as ll
    >>> x, weight = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
    >>> loss, (dx, dweight, dbias) = ll.linear_cross_entropy_grad(x, weight, [1, 2])
    >>> dx.round(4).tolist(), dbias
    ([[-0.0771, -0.0771], [0.4721, -0.0777]], None)
    """
    given = targets, class_weight, sample_weight
    options = Options(
        "linear_cross_entropy_grad", -1, ignore_index, label_smoothing, temperature, softcap, z_loss,
        reduction, denominator, shift,
    )  # fmt: skip
    if type(x) is not _ndarray and (tensors := dispatch.heads_of_tensors(x, weight)):
        if validate:
            tensors.validate((x, weight, bias, max_memory), given, options)
        return tensors.loss_and_gradients((x, weight, bias, max_memory), given, options, return_stats)
    head = problem.head("linear_cross_entropy_grad", x, weight, bias, max_memory)
    return _heads().gradients(head, given, options, return_stats)


@overload
def linear_row_stats(
    x: Foreign[R], weight: AnyArray, targets: AnyArray | None = ..., **o: Unpack[LinearRowStatsOptions]
) -> RowStats[R]: ...
@overload
def linear_row_stats(
    x: AnyArray, weight: AnyArray, targets: AnyArray | None = ..., **o: Unpack[LinearRowStatsOptions]
) -> RowStats[NDArray[Any]]: ...
def linear_row_stats(
    x: Any,
    weight: Any,
    targets: Any = None,
    *,
    bias: Any = None,
    max_memory: float | None = None,
    shift: int = 0,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
    class_offset: int | None = None,
    validate: bool = False,
) -> RowStats:
    """`row_stats` of the logits ``x @ weight.T + bias``, without materializing them.

    Parameters
    ----------
    x, weight, targets, bias, max_memory, shift, class_weight, sample_weight, ignore_index, label_smoothing, \
temperature, softcap
        As in `linear_cross_entropy`. Without targets, the result has no ``nll``.
    class_offset : int, 0 or more, optional
        For a shard of the classes, whose rows of ``weight`` and ``bias`` are passed: the index of its first
        class among all classes (see `row_stats`). Statistics of shards have no ``rank``; ``correct`` then
        compares ``argmax`` with the target.
    validate : bool
        As in `cross_entropy`.

    Returns
    -------
    RowStats
        As `row_stats` returns it, in the shape of ``x`` without its last axis.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    row_stats : the same from logits.
    linear_top_k : the k best classes.

    Notes
    -----
    Cost: one matrix product and one pass over its tiles. ``rank`` compares each logit with the target's,
    which comes from a separate product: a class whose logit equals it up to rounding may count or not.
    ``rank`` is 0 exactly where ``argmax`` is the target.

    For tensors ``nll``, ``lse``, ``entropy`` and ``confidence`` are differentiable: the backward pass
    computes the tiles again. Differentiating ``sum_p2`` materializes the logits, and so do the cases in which
    `linear_cross_entropy` does.

    Examples
    --------
    >>> import numpy as np
    >>> import lastlayer as ll
    >>> x, weight = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
    >>> stats = ll.linear_row_stats(x, weight, [1, 2])
    >>> stats.argmax.tolist(), stats.nll.round(4).tolist(), stats.confidence.round(4).tolist()
    ([1, 1], [0.369, 0.862], [0.6914, 0.4223])
    """
    given = targets, class_weight, sample_weight
    options = Options(
        "linear_row_stats", -1, ignore_index, label_smoothing, temperature, softcap, 0.0, "none", None, shift
    )
    stats: RowStats
    if type(x) is not _ndarray and (tensors := dispatch.heads_of_tensors(x, weight)):
        if validate:
            tensors.validate((x, weight, bias, max_memory), given, options, class_offset)
        stats = tensors.row_stats((x, weight, bias, max_memory), given, options, class_offset)
        return stats
    head = problem.head("linear_row_stats", x, weight, bias, max_memory)
    stats = _heads().statistics(head, given, options, class_offset)
    return stats


@overload
def linear_top_k(x: Foreign[R], weight: AnyArray, k: int, **o: Unpack[LinearTopKOptions]) -> tuple[R, R]: ...
@overload
def linear_top_k(x: AnyArray, weight: AnyArray, k: int, **o: Unpack[LinearTopKOptions]) -> Ranked: ...
def linear_top_k(
    x: Any,
    weight: Any,
    k: int,
    *,
    bias: Any = None,
    max_memory: float | None = None,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
) -> tuple[Array, Array]:
    """The k most probable classes of each row of ``x @ weight.T + bias``, without materializing the logits.

    Parameters
    ----------
    x, weight, bias, max_memory, temperature, softcap
        As in `linear_cross_entropy`.
    k : int in [1, V]
        How many.

    Returns
    -------
    labels : int64 array, the shape of ``x`` with k for its last axis
        Most probable first, ties by class index; -1 in a row with a NaN.
    probs : array of the same shape, float64 where one of the arrays is of float64, else float32
        Softmax over all classes, so their sum is below one unless k = V.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    top_k : the same from logits.

    Notes
    -----
    Cost: one matrix product and one pass over its tiles. Memory: ``max_memory`` for the tiles, and a hundred
    bytes for each of the k classes of a row. For tensors on a GPU (or other accelerator) and arrays of other
    libraries the logits are materialized. The results are not differentiable.

    Examples
    --------
    >>> import numpy as np
    >>> import lastlayer as ll
    >>> x, weight = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
    >>> labels, probs = ll.linear_top_k(x, weight, 2)
    >>> labels.tolist(), probs.round(4).tolist()
    ([[1, 0], [1, 2]], [[0.6914, 0.1543], [0.4223, 0.4223]])
    """
    options = Options("linear_top_k", temperature=temperature, softcap=softcap, reduction="none")
    found: tuple[Array, Array]
    if type(x) is not _ndarray and (tensors := dispatch.heads_of_tensors(x, weight)):
        found = tensors.top_k((x, weight, bias, max_memory), k, options)
        return found
    found = _heads().top_k(problem.head("linear_top_k", x, weight, bias, max_memory), k, options)
    return found


def _heads() -> Any:
    """The module that computes the linear head on arrays, imported at the first call."""
    global _arrays
    if _arrays is None:
        from . import linear_arrays

        _arrays = linear_arrays
    return _arrays
