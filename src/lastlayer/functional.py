"""The public functions of logits. In: the user's arguments. Out: what the selected backend returns.

Each function checks its arguments, builds a problem, and passes it to the first backend that can compute it.
NumPy arrays, and whatever NumPy converts to an array, give NumPy arrays. Arrays of another library give
arrays of that library. Inputs are never written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np

from . import problem, shards
from .arrays import Array, namespace
from .dispatch import backend, tensor_functions
from .options import Options
from .resolving import resolve
from .row_statistics import RowStats

if TYPE_CHECKING:  # for the overloads: what a call gives, by the kind of its arrays
    from typing_extensions import Unpack

    from .typing import (
        AnyArray,
        Axes,
        CrossEntropyOptions,
        Float,
        Floats,
        Foreign,
        LossOptions,
        NDArray,
        PredictOptions,
        Ranked,
        Reduced,
        Reduction,
        RowStatsOptions,
        SoftmaxOptions,
        TopKOptions,
    )

__all__ = [
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
]

R = TypeVar("R")  # an array of another library than NumPy
F = TypeVar("F", bound=np.floating[Any])

_ndarray = np.ndarray
_ARGMAX = frozenset({"argmax"})
_NO_TARGETS = frozenset({"argmax", "spread", "square"})
_ALL = frozenset({"argmax", "nll", "rank", "spread", "square"})


@overload
def softmax(
    x: NDArray[F], axis: Axes = ..., *, out: NDArray[F] | None = ..., **o: Unpack[SoftmaxOptions]
) -> NDArray[F]: ...
@overload
def softmax(x: Foreign[R], axis: Axes = ..., *, out: R | None = ..., **o: Unpack[SoftmaxOptions]) -> R: ...
@overload
def softmax(
    x: AnyArray, axis: Axes = ..., *, out: NDArray[Any] | None = ..., **o: Unpack[SoftmaxOptions]
) -> NDArray[Any]: ...
def softmax(
    x: Any, axis: Any = -1, *, where: Any = None, temperature: float | Any = 1.0, out: Array | None = None
) -> Array:
    """Probabilities from logits: positive numbers that sum to one along the class axis.

    ::

        p_j = exp(z_j) / sum_k exp(z_k)        z = x / temperature

    Parameters
    ----------
    x : array, any shape with a class axis
        Logits, in nats. Integers and bools are taken as the library's default float.
    axis : int, tuple of ints or None
        The class axis. Several axes are treated as one; None means all of them. A single number with
        ``axis=None`` is one class.
    where : bool array that broadcasts to ``x``, optional
        False marks impossible classes: their probability is 0. A row without any possible class is all 0.
    temperature : float
        Positive; above 1 flattens, below 1 sharpens.
    out : array, shape and dtype of the result, optional
        Where to write the result; may be ``x`` itself.

    Returns
    -------
    array, shape and dtype of ``x``
        Empty where the class axis has no class.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    log_softmax : logarithms, also of probabilities that are 0 in floating point.
    cross_entropy : a loss from the same logits.

    Notes
    -----
    float16 and bfloat16 are computed in float32. A NaN or +inf in a row makes that row NaN, and so does -inf
    in all its classes. Temporary memory: a few rows per thread. Dividing by the temperature is from Hinton,
    Vinyals and Dean, *Distilling the knowledge in a neural network* (2015).

    Examples
    --------
    >>> import lastlayer as ll
    >>> ll.softmax([0.1, 0.9, 4.0]).round(4).tolist()
    [0.019, 0.0423, 0.9387]
    >>> ll.softmax([1000.0, 1001.0, 1002.0]).round(4).tolist()
    [0.09, 0.2447, 0.6652]
    """
    if type(x) is not _ndarray and (tensors := tensor_functions(x)):
        return tensors.softmax("softmax", x, axis, where, temperature, out)
    if type(axis) is not int:
        return _over_axes("softmax", x, axis, where, temperature, out)
    scores = problem.scores("softmax", x, axis, where, temperature)
    if out is None:
        return backend(scores).softmax(scores, None)
    return _into(backend(scores).softmax, scores, out)


@overload
def log_softmax(
    x: NDArray[F], axis: Axes = ..., *, out: NDArray[F] | None = ..., **o: Unpack[SoftmaxOptions]
) -> NDArray[F]: ...
@overload
def log_softmax(
    x: Foreign[R], axis: Axes = ..., *, out: R | None = ..., **o: Unpack[SoftmaxOptions]
) -> R: ...
@overload
def log_softmax(
    x: AnyArray, axis: Axes = ..., *, out: NDArray[Any] | None = ..., **o: Unpack[SoftmaxOptions]
) -> NDArray[Any]: ...
def log_softmax(
    x: Any, axis: Any = -1, *, where: Any = None, temperature: float | Any = 1.0, out: Array | None = None
) -> Array:
    """Logarithms of the softmax, computed from the logits, not from rounded probabilities.

    ::

        log p_j = z_j - log sum_k exp(z_k)        z = x / temperature

    Parameters
    ----------
    x, axis, where, temperature, out
        As in `softmax`.

    Returns
    -------
    array, shape and dtype of ``x``
        In nats; -inf where ``where`` is False.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    softmax : its exponential, where very small probabilities underflow to 0.

    Examples
    --------
    >>> import lastlayer as ll
    >>> ll.log_softmax([0.1, 0.9, 4.0]).round(4).tolist()
    [-3.9632, -3.1632, -0.0632]
    """
    if type(x) is not _ndarray and (tensors := tensor_functions(x)):
        return tensors.softmax("log_softmax", x, axis, where, temperature, out)
    if type(axis) is not int:
        return _over_axes("log_softmax", x, axis, where, temperature, out)
    scores = problem.scores("log_softmax", x, axis, where, temperature)
    if out is None:
        return backend(scores).log_softmax(scores, None)
    return _into(backend(scores).log_softmax, scores, out)


@overload
def logsumexp(
    x: Foreign[R], axis: Axes = ..., *, where: AnyArray | None = ..., keepdims: bool = ...
) -> R: ...
@overload
def logsumexp(
    x: AnyArray, axis: Axes = ..., *, where: AnyArray | None = ..., keepdims: bool = ...
) -> Floats: ...
def logsumexp(x: Any, axis: Any = -1, *, where: Any = None, keepdims: bool = False) -> Array:
    """Logarithm of the sum of exponentials along the class axis: a smooth maximum.

    ::

        lse = log sum_j exp(x_j)

    Parameters
    ----------
    x, axis, where
        As in `softmax`.
    keepdims : bool
        Keep the class axes, with length 1.

    Returns
    -------
    array, the shape of ``x`` without the class axes; float64 for float64, else float32
        In nats; -inf for a row of -inf, and for a row without any class or any possible class.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    softmax, log_softmax : what it normalizes.
    row_stats : it and more numbers of each row.

    Examples
    --------
    >>> import lastlayer as ll
    >>> float(ll.logsumexp([1.0, 1.1, 2.5]).round(4))
    2.8851
    """
    if type(x) is not _ndarray and (tensors := tensor_functions(x)):
        return tensors.logsumexp(x, axis, where, keepdims)
    if type(axis) is not int:
        x, where, axes = problem.axes("logsumexp", x, where, axis)
        result = logsumexp(x, where=where)
        return axes.keep(result) if keepdims else result
    scores = problem.scores("logsumexp", x, axis, where)
    result = backend(scores).logsumexp(scores)
    return namespace(result).expand_dims(result, axis=scores.axis) if keepdims else result


@overload
def cross_entropy(
    logits: Foreign[R], targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[CrossEntropyOptions]
) -> R: ...
@overload
def cross_entropy(
    logits: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[CrossEntropyOptions]
) -> Float: ...
@overload
def cross_entropy(
    logits: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[CrossEntropyOptions]
) -> Floats: ...
def cross_entropy(
    logits: Any,
    targets: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
    z_loss: float | Any = 0.0,
    reduction: str = "mean",
    denominator: float | Any | None = None,
    validate: bool = False,
) -> Array:
    """Cross-entropy loss of a classifier: the negative log-probability of the targets, in nats.

    ::

        loss_i = mass_i lse_i - sum_j t_ij z_ij + s_i z_loss lse_i^2        mass_i = sum_j t_ij
        t_ij   = s_i w_j ((1 - e) q_ij + e / V)                             e = label_smoothing
        z      = softcap tanh(logits / softcap) / temperature               lse = logsumexp(z)

    For an index target ``y`` and default options this is ``lse - z_y``.

    Parameters
    ----------
    logits : array, (..., V), or with the V classes on another ``axis``
        Unnormalized log-probabilities, in nats: the softmax is part of the loss.
    targets : array or tuple of arrays
        One of three kinds:

        - class indices in [0, V): integers, of the shape of ``logits`` without the class axis;
        - dense targets ``q``, of the shape of ``logits``: probabilities, or one-hot integers or bools;
        - top-k targets, a tuple ``(indices, probabilities)`` or ``(indices, probabilities, rest)``: K classes
          of each row and their probabilities, two arrays of the rows' shape with K as an additional last
          axis. ``rest`` (one number, or one per row; default 0) is spread evenly over all classes:
          ``q_j = sum_k p_k [index_k = j] + rest / V``.
    axis : int
        The class axis.
    class_weight : array, (V,), optional
        ``w``: finite, not negative.
    sample_weight : array that broadcasts to the shape of ``logits`` without the class axis, optional
        ``s``: finite, not negative. A row of weight 0 is ignored.
    ignore_index : int or None
        Rows with this class index are ignored: loss 0, gradient 0, whatever their logits are. In top-k
        targets, single entries with this index are ignored.
    label_smoothing : float in [0, 1]
        The share of each target that is spread evenly over all classes.
    temperature : float
        Positive; divides the logits.
    softcap : float, optional
        Positive; bounds the logits smoothly to (-softcap, softcap).
    z_loss : float
        Not negative; the weight of ``lse^2`` in the loss.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by ``sum_i s_i w[y_i]`` over the rows that are not ignored; for dense and top-k
        targets by ``sum_i s_i``. If that sum of weights is 0, the mean is 0.
    denominator : float, optional
        For "mean": a number to divide the sum by instead, such as the token count of a larger batch.
    validate : bool
        For tensors whose numbers are otherwise not read (on a GPU): read targets, weights and options, and
        raise the error that the CPU raises. This waits for the GPU. Without it, rows with a wrong target give
        NaN. No effect on arrays and on tensors in CPU memory, which are always checked.

    Returns
    -------
    float, or for "none" an array of the shape of ``logits`` without the class axis
        float64 for float64 logits, else float32.

    Raises
    ------
    ShapeError, DtypeError, OptionError
    TargetError
        For a class index outside [0, V) that is not ``ignore_index``; for integer dense targets with a row
        that is not one-hot; and for arguments that look swapped (``logits`` are one-hot integers, ``targets``
        are floats).

    See Also
    --------
    top_k : computes top-k targets from the logits of a teacher.
    cross_entropy_grad : the loss and its gradient together.
    nll_loss, log_loss : the same from log-probabilities and from probabilities.

    Notes
    -----
    Temporary memory: one number per row, and a few rows per thread; with top-k targets also about ten numbers
    for each of their entries. Label smoothing is from Szegedy et al., *Rethinking the Inception architecture*
    (2016); z-loss from de Brébisson and Vincent, *The Z-loss* (2016); the soft cap from Gemma 2 (2024).

    Examples
    --------
    >>> import lastlayer as ll
    >>> logits = [[1.0, 1.1, 2.5], [1.0, 3.1, 0.5], [2.1, 0.1, 0.5]]
    >>> float(ll.cross_entropy(logits, [2, 1, 0]).round(6))
    0.28509
    >>> ll.cross_entropy(logits, [2, 1, -100], reduction="none").round(4).tolist()
    [0.3851, 0.1796, 0.0]
    >>> listed = [[2, 0], [1, 0], [0, 2]], [[0.8, 0.1], [0.9, 0.1], [0.7, 0.1]], [0.1, 0.0, 0.2]
    >>> ll.cross_entropy(logits, listed, reduction="none").round(4).tolist()
    [0.6317, 0.3896, 0.6906]
    """
    given = targets, class_weight, sample_weight
    said = (
        "cross_entropy", axis, ignore_index, label_smoothing, temperature, softcap, z_loss, reduction,
        denominator, 0,
    )  # fmt: skip
    if type(logits) is not _ndarray and (tensors := tensor_functions(logits)):
        if validate:
            tensors.validate(logits, given, said)
        return tensors.loss(logits, given, said)
    scores = problem.scores("cross_entropy", logits, axis, None, temperature, softcap)
    chosen = backend(scores)
    return chosen.cross_entropy(resolve(scores, chosen, given, said))


@overload
def cross_entropy_grad(
    logits: Foreign[R], targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[CrossEntropyOptions]
) -> tuple[R, R]: ...
@overload
def cross_entropy_grad(
    logits: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[CrossEntropyOptions]
) -> tuple[Float, NDArray[Any]]: ...
@overload
def cross_entropy_grad(
    logits: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[CrossEntropyOptions]
) -> tuple[Floats, NDArray[Any]]: ...
def cross_entropy_grad(
    logits: Any,
    targets: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
    z_loss: float | Any = 0.0,
    reduction: str = "mean",
    denominator: float | Any | None = None,
    validate: bool = False,
) -> tuple[Array, Array]:
    """Loss of a classifier and its gradient with respect to the logits, computed together.

    ::

        dloss_i/dz_ij = (mass_i + 2 s_i z_loss lse_i) p_ij - t_ij        p = softmax(z)
        dz/dlogits    = (1 - tanh^2(logits / softcap)) / temperature

    For an index target and default options the gradient is the softmax minus 1 at the target.

    Parameters
    ----------
    logits, targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap, \
z_loss, reduction, denominator, validate
        As in `cross_entropy`.

    Returns
    -------
    loss : float or array
        As `cross_entropy` returns it.
    dlogits : array, shape and dtype of ``logits``
        Gradient of the reduced loss; for "none", of the sum of the losses. 0 in ignored rows, and everywhere
        if the mean's denominator is 0.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    cross_entropy : the loss alone.
    linear_cross_entropy_grad : gradients of features and weights, without the logits.

    Notes
    -----
    Temporary memory: one number per row, and a few rows per thread.

    Examples
    --------
    >>> import lastlayer as ll
    >>> loss, dlogits = ll.cross_entropy_grad([0.1, 0.9, 4.0], 2)
    >>> float(loss.round(4)), dlogits.round(4).tolist()
    (0.0632, [0.019, 0.0423, -0.0613])
    """
    given = targets, class_weight, sample_weight
    said = (
        "cross_entropy_grad", axis, ignore_index, label_smoothing, temperature, softcap, z_loss, reduction,
        denominator, 0,
    )  # fmt: skip
    if type(logits) is not _ndarray and (tensors := tensor_functions(logits)):
        if validate:
            tensors.validate(logits, given, said)
        found: tuple[Array, Array] = tensors.loss_and_gradient(logits, given, Options(*said))
        return found
    scores = problem.scores("cross_entropy_grad", logits, axis, None, temperature, softcap)
    chosen = backend(scores)
    return chosen.cross_entropy_grad(resolve(scores, chosen, given, said))


@overload
def nll_loss(
    log_probs: Foreign[R], targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[LossOptions]
) -> R: ...
@overload
def nll_loss(
    log_probs: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[LossOptions]
) -> Float: ...
@overload
def nll_loss(
    log_probs: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[LossOptions]
) -> Floats: ...
def nll_loss(
    log_probs: Any,
    targets: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    reduction: str = "mean",
    denominator: float | Any | None = None,
    validate: bool = False,
) -> Array:
    """Loss from log-probabilities, such as those that `log_softmax` returns.

    ::

        loss_i = -sum_j t_ij log p_ij        0 times -inf = 0

    Parameters
    ----------
    log_probs : array, (..., V), or with the V classes on another ``axis``
        Logarithms of probabilities, in nats. It is not checked that they are normalised (use `check`).
    targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, reduction, denominator, \
validate
        As in `cross_entropy`.

    Returns
    -------
    float, or for "none" an array of the shape of ``log_probs`` without the class axis
        float64 for float64, else float32.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    cross_entropy : from logits; more accurate, since a stored log-probability has been rounded.

    Notes
    -----
    For index targets without smoothing one number of each row is read.

    Examples
    --------
    >>> import lastlayer as ll
    >>> log_probs = ll.log_softmax([1.0, 1.1, 2.5])
    >>> float(ll.nll_loss(log_probs, 2).round(4))
    0.3851
    """
    given = targets, class_weight, sample_weight
    said = "nll_loss", axis, ignore_index, label_smoothing, 1.0, None, 0.0, reduction, denominator, 0
    if type(log_probs) is not _ndarray and (tensors := tensor_functions(log_probs)):
        if validate:
            tensors.validate(log_probs, given, said)
        return tensors.loss(log_probs, given, said)
    scores = problem.scores("nll_loss", log_probs, axis)
    chosen = backend(scores)
    return chosen.pick_loss(resolve(scores, chosen, given, said), False)


@overload
def log_loss(
    probs: Foreign[R], targets: AnyArray, *, reduction: Reduction = ..., **o: Unpack[LossOptions]
) -> R: ...
@overload
def log_loss(
    probs: AnyArray, targets: AnyArray, *, reduction: Reduced = ..., **o: Unpack[LossOptions]
) -> Float: ...
@overload
def log_loss(
    probs: AnyArray, targets: AnyArray, *, reduction: Literal["none"], **o: Unpack[LossOptions]
) -> Floats: ...
def log_loss(
    probs: Any,
    targets: Any,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    reduction: str = "mean",
    denominator: float | Any | None = None,
    validate: bool = False,
) -> Array:
    """Loss from probabilities: the negative logarithm of the probability of each row's target.

    ::

        loss_i = -sum_j t_ij log p_ij        0 log 0 = 0

    Parameters
    ----------
    probs : array, (..., V), or with the V classes on another ``axis``
        Probabilities. It is not checked that rows sum to one (use `check`), and nothing is clipped.
        Classes whose target is 0 are not read: they may hold 0 or NaN.
    targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, reduction, denominator, \
validate
        As in `cross_entropy`. Unlike scikit-learn's function of this name, the scores come first.

    Returns
    -------
    float, or for "none" an array of the shape of ``probs`` without the class axis
        In nats; +inf where the target's probability is 0, NaN where it is negative. float64 for float64, else
        float32.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    cross_entropy : from logits; more accurate, since a probability near 0 or 1 has been rounded.

    Notes
    -----
    For index targets without smoothing one number of each row is read.

    Examples
    --------
    >>> import lastlayer as ll
    >>> float(ll.log_loss([0.1, 0.1, 0.8], 2).round(8)), float(ll.log_loss([0.8, 0.1, 0.1], 2).round(8))
    (0.22314355, 2.30258509)
    """
    given = targets, class_weight, sample_weight
    said = "log_loss", axis, ignore_index, label_smoothing, 1.0, None, 0.0, reduction, denominator, 0
    if type(probs) is not _ndarray and (tensors := tensor_functions(probs)):
        if validate:
            tensors.validate(probs, given, said)
        return tensors.loss(probs, given, said)
    scores = problem.scores("log_loss", probs, axis)
    chosen = backend(scores)
    return chosen.pick_loss(resolve(scores, chosen, given, said), True)


@overload
def row_stats(
    logits: Foreign[R], targets: AnyArray | None = ..., **o: Unpack[RowStatsOptions]
) -> RowStats[R]: ...
@overload
def row_stats(
    logits: AnyArray, targets: AnyArray | None = ..., **o: Unpack[RowStatsOptions]
) -> RowStats[NDArray[Any]]: ...
def row_stats(
    logits: Any,
    targets: Any = None,
    *,
    axis: int = -1,
    class_weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = -100,
    label_smoothing: float | Any = 0.0,
    temperature: float | Any = 1.0,
    softcap: float | Any | None = None,
    class_offset: int | None = None,
    target_logits: Any = None,
    validate: bool = False,
) -> RowStats:
    """Statistics of each row: loss, entropy, argmax, rank and more, from one pass over the logits.

    Parameters
    ----------
    logits, targets, axis, class_weight, sample_weight, ignore_index, label_smoothing, temperature, softcap
        As in `cross_entropy`. Without targets, the result has neither ``nll`` nor ``rank``.
    class_offset : int, 0 or more, optional
        For a shard of the classes: the index, among all classes, of the first class in ``logits``. Class
        indices (also those of top-k targets) count from the first of all classes and may lie in other shards.
        Dense targets and ``class_weight`` cover the shard's classes only. `RowStats.merge` joins the shards.
        Label smoothing and the rest of top-k targets are not possible: they depend on the total number of
        classes.
    target_logits : array, the shape of ``logits`` without the class axis, optional
        With ``class_offset`` and class indices: the raw logit of each row's target, from whichever shard
        holds it. Only ``rank`` needs it.
    validate : bool
        As in `cross_entropy`.

    Returns
    -------
    RowStats
        Arrays of the shape of ``logits`` without the class axis: ``lse``, ``nll`` (the loss), ``entropy``,
        ``confidence`` (the largest probability) and ``sum_p2`` in float64 for float64 logits, else float32;
        ``argmax`` and, for index targets, ``rank`` (0: the target is the argmax) in int64; ``correct`` and
        ``counted`` (False for ignored rows) in bool. Over all rows: ``mean_nll``, which equals
        ``cross_entropy(reduction="mean")`` with the same options, and ``accuracy``, the share of the rows'
        sample weight that belongs to correct rows. The plain means of ``nll`` and ``correct`` would count
        ignored rows as loss 0 and as wrong.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    linear_row_stats : the same from features and weights.
    evaluate : metrics of all rows, with intervals.

    Notes
    -----
    Among equal logits the lowest class index wins. A row with a NaN has ``argmax`` and ``rank`` -1.

    Examples
    --------
    >>> import lastlayer as ll
    >>> stats = ll.row_stats([[3.2, 0.2, 0.9], [0.2, 3.2, 0.1]], [2, 1])
    >>> stats.rank.tolist(), stats.nll.round(4).tolist(), stats.entropy.round(4).tolist()
    ([1, 0], [2.4398, 0.0906], [0.4702, 0.3546])
    >>> stats = ll.row_stats([[3.2, 0.2, 0.9], [0.2, 3.2, 0.1]], [-100, 1])
    >>> stats.counted.tolist(), float(stats.mean_nll.round(4)), float(stats.accuracy)
    ([False, True], 0.0906, 1.0)
    >>> left = ll.row_stats([[3.2, 0.2], [0.2, 3.2]], [2, 1], class_offset=0, target_logits=[0.9, 3.2])
    >>> right = ll.row_stats([[0.9], [0.1]], [2, 1], class_offset=2, target_logits=[0.9, 3.2])
    >>> whole = left.merge(right)
    >>> whole.rank.tolist(), whole.nll.round(4).tolist()
    ([1, 0], [2.4398, 0.0906])
    """
    shard = None if class_offset is None and target_logits is None else (class_offset, target_logits)
    given = targets, class_weight, sample_weight
    said = "row_stats", axis, ignore_index, label_smoothing, temperature, softcap, 0.0, "none", None, 0
    if type(logits) is not _ndarray and (tensors := tensor_functions(logits)):
        if validate:
            tensors.validate(logits, given, said, shard)
        found: RowStats = tensors.row_stats(logits, given, Options(*said), shard)
        return found
    scores = problem.scores("row_stats", logits, axis, None, temperature, softcap)
    chosen = backend(scores)
    if shard is not None:
        fields = _NO_TARGETS if targets is None else _ALL
        return shards.row_stats(scores, chosen, fields, shard, given, Options(*said))
    if targets is None:
        return chosen.row_stats(problem.without_targets(scores), _NO_TARGETS)
    return chosen.row_stats(resolve(scores, chosen, given, said), _ALL)


@overload
def predict(logits: Foreign[R], **o: Unpack[PredictOptions]) -> tuple[R, R]: ...
@overload
def predict(logits: AnyArray, **o: Unpack[PredictOptions]) -> Ranked: ...
def predict(
    logits: Any, *, axis: int = -1, temperature: float | Any = 1.0, softcap: float | Any | None = None
) -> tuple[Array, Array]:
    """The most probable class of each row, and its probability.

    ::

        label = argmax_j z_j        prob = max_j p_j

    Parameters
    ----------
    logits, axis, temperature, softcap
        As in `cross_entropy`.

    Returns
    -------
    label : int64 array, the shape of ``logits`` without the class axis
        The lowest index on ties; -1 in a row with a NaN.
    prob : array of the same shape, float64 for float64 logits, else float32

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    top_k : the k best classes.
    row_stats : also loss, entropy and rank.

    Examples
    --------
    >>> import lastlayer as ll
    >>> label, prob = ll.predict([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]])
    >>> label.tolist(), prob.round(4).tolist()
    ([2, 0], [0.6804, 0.8695])
    """
    if type(logits) is not _ndarray and (tensors := tensor_functions(logits)):
        found: tuple[Array, Array] = tensors.predict(
            logits, Options("predict", axis, temperature=temperature, softcap=softcap)
        )
        return found
    scores = problem.scores("predict", logits, axis, None, temperature, softcap)
    stats = backend(scores).row_stats(problem.without_targets(scores), _ARGMAX)
    return stats.argmax, stats.confidence


@overload
def top_k(logits: Foreign[R], k: int, **o: Unpack[TopKOptions]) -> tuple[R, R]: ...
@overload
def top_k(logits: AnyArray, k: int, **o: Unpack[TopKOptions]) -> Ranked: ...
def top_k(logits: Any, k: int, *, axis: int = -1, temperature: float | Any = 1.0) -> tuple[Array, Array]:
    """The k most probable classes of each row, most probable first, and their probabilities.

    Parameters
    ----------
    logits, axis, temperature
        As in `cross_entropy`.
    k : int in [1, V]
        How many.

    Returns
    -------
    labels : int64 array, the shape of ``logits`` without the class axis, and k at the end
        Ties are ordered by class index; -1 in a row with a NaN.
    probs : array of the same shape, float64 for float64 logits, else float32
        Softmax over all classes, so their sum is below one unless k = V.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    predict : the best class alone.
    linear_top_k : the same from features and weights.

    Examples
    --------
    >>> import lastlayer as ll
    >>> labels, probs = ll.top_k([0.1, 0.9, 4.0], 2)
    >>> labels.tolist(), probs.round(4).tolist()
    ([2, 1], [0.9387, 0.0423])
    """
    if type(logits) is not _ndarray and (tensors := tensor_functions(logits)):
        found: tuple[Array, Array] = tensors.top_k(logits, k, Options("top_k", axis, temperature=temperature))
        return found
    scores = problem.scores("top_k", logits, axis, None, temperature)
    return backend(scores).top_k(scores, problem.top(scores, k))


def _into(compute: Any, scores: problem.Scores, out: Array) -> Array:
    """Write ``compute(scores)`` to ``out``, which may overlap the scores in any way."""
    place = problem.out(scores, out)
    if problem.can_write(scores, place):
        compute(scores, place)
    else:
        place[...] = compute(scores, None)
    return out


def _over_axes(function: str, x: Any, axis: Any, where: Any, temperature: float, out: Array | None) -> Array:
    """`softmax` or `log_softmax` over several axes."""
    x, where, axes = problem.axes(function, x, where, axis)
    scores = problem.scores(function, x, -1, where, temperature)
    result = axes.unfold(getattr(backend(scores), function)(scores, None))
    if out is None:
        return result if result.ndim else result[()]
    problem.out(scores._replace(array=result), out)[...] = result
    return out
