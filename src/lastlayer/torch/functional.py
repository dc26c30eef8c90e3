"""The drop-ins: functions with the signatures and conventions of ``torch.nn.functional``, class dimension 1.

In: the arguments of PyTorch's function. Out: its result. Each function passes its arguments, under other
names, to the common function of `lastlayer`; arguments that only PyTorch accepts are handled in `arguments`.

One deliberate difference: the mean over no targets is 0 with a gradient of 0, where PyTorch gives NaN. All
differences are listed in ``docs/semantics.md``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lastlayer import functional
from lastlayer.errors import LastlayerError, TensorClassError

from .arguments import (
    FLOATS,
    FULL,
    as_input,
    as_torch_takes_it,
    dtype_of_loss,
    implicit_dim,
    is_given,
    named_reduction,
)
from .errors import raise_in_torch_terms

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "nll_loss", "softmax"]


def softmax(
    input: Tensor,  # noqa: A002 - PyTorch's name
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
    *,
    where: Tensor | None = None,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """``torch.nn.functional.softmax``: probabilities from logits along one dimension.

    ::

        p_j = exp(z_j) / sum_k exp(z_k)        z = input / temperature

    Parameters
    ----------
    input : Tensor, floating, of any shape
        Logits, in nats.
    dim : int
        The class dimension. None is PyTorch's deprecated choice, with its warning: 0 for a tensor of 0, 1 or
        3 dimensions, else 1.
    dtype : torch.dtype, optional
        A floating dtype to convert ``input`` to first.
    where : Tensor of bools that broadcasts to ``input``, optional
        False marks impossible classes: their probability is 0. Not in PyTorch.
    temperature : float
        Positive; above 1 flattens, below 1 sharpens. Not in PyTorch.

    Returns
    -------
    Tensor, the shape and dtype of ``input``, or ``dtype``

    Raises
    ------
    ShapeError, DtypeError, OptionError

    See Also
    --------
    lastlayer.softmax : the same for any array, over the last axis.

    Examples
    --------
    >>> import torch
    >>> import lastlayer.torch as F
    >>> F.softmax(torch.tensor([0.1, 0.9, 4.0]), dim=0)
    tensor([0.0190, 0.0423, 0.9387])
    """
    return _softmax(functional.softmax, input, dim, _stacklevel, dtype, where, temperature)


def log_softmax(
    input: Tensor,  # noqa: A002
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
    *,
    where: Tensor | None = None,
    temperature: float | Tensor = 1.0,
) -> Tensor:
    """``torch.nn.functional.log_softmax``: logarithms of the softmax, computed from the logits.

    ::

        log p_j = z_j - log sum_k exp(z_k)        z = input / temperature

    Parameters
    ----------
    input, dim, dtype, where, temperature
        As in `softmax`.

    Returns
    -------
    Tensor, the shape and dtype of ``input``, or ``dtype``
        In nats; -inf where ``where`` is False.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    Examples
    --------
    >>> import torch
    >>> import lastlayer.torch as F
    >>> F.log_softmax(torch.tensor([0.1, 0.9, 4.0]), dim=0)
    tensor([-3.9632, -3.1632, -0.0632])
    """
    return _softmax(functional.log_softmax, input, dim, _stacklevel, dtype, where, temperature)


def _softmax(
    function: Callable[..., Tensor],
    x: Tensor,
    dim: int | None,
    stacklevel: int,
    dtype: torch.dtype | None,
    where: Tensor | None,
    temperature: float | Tensor,
) -> Tensor:
    name = function.__name__
    if dim is None:
        dim = implicit_dim(name, x, stacklevel + 1)
    x = as_input(name, x, dtype)
    if x.ndim == 0:  # PyTorch treats a 0-d tensor as a distribution over one class
        return _softmax(function, x.reshape(1), dim, stacklevel, dtype, where, temperature).reshape(())
    try:
        return function(x, dim, where=where, temperature=temperature)
    except TensorClassError as error:
        if where is not None or is_given(temperature, 1.0):
            raise_in_torch_terms(error)
        return getattr(torch.nn.functional, name)(x, dim)  # type: ignore[no-any-return]
    except LastlayerError as error:
        raise_in_torch_terms(error)


def logsumexp(input: Tensor, dim: int | tuple[int, ...], keepdim: bool = False) -> Tensor:  # noqa: A002
    """``torch.logsumexp``: the logarithm of the sum of exponentials, a smooth maximum.

    ::

        lse = log sum_j exp(input_j)

    Parameters
    ----------
    input : Tensor, real, of any shape
        Logits, in nats. Integers are taken as PyTorch's default float.
    dim : int or tuple of ints
        The class dimensions.
    keepdim : bool
        Keep them, with length 1.

    Returns
    -------
    Tensor, the shape of ``input`` without the class dimensions, the dtype of ``input``
        In nats; -inf for a row of -inf, and for a row without any class.

    Raises
    ------
    ShapeError, DtypeError, OptionError

    Examples
    --------
    >>> import torch
    >>> import lastlayer.torch as F
    >>> F.logsumexp(torch.tensor([1.0, 1.1, 2.5]), dim=0)
    tensor(2.8851)
    """
    counts = isinstance(input, Tensor) and not (input.is_floating_point() or input.is_complex())
    x = as_input("logsumexp", input, torch.get_default_dtype() if counts else None)
    if x.ndim == 0:
        return logsumexp(x.reshape(1), dim).reshape(())
    try:
        result: Tensor = functional.logsumexp(x, dim, keepdims=keepdim)
    except TensorClassError:
        return torch.logsumexp(x, dim, keepdim)
    except LastlayerError as error:
        raise_in_torch_terms(error)
    return result.to(x.dtype)


def cross_entropy(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float | Tensor = 0.0,
    *,
    sample_weight: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | Tensor | None = None,
    z_loss: float | Tensor = 0.0,
    denominator: float | Tensor | None = None,
    validate: bool = False,
) -> Tensor:
    """``torch.nn.functional.cross_entropy``: the negative log-probability of the targets, in nats.

    The mean over no targets is 0 with a gradient of 0, deliberately; PyTorch's is NaN.

    ::

        loss_i = mass_i lse_i - sum_j t_ij z_ij + s_i z_loss lse_i^2        mass_i = sum_j t_ij
        t_ij   = s_i w_j ((1 - e) q_ij + e / C)                             e = label_smoothing
        z      = softcap tanh(input / softcap) / temperature                lse = logsumexp(z)

    Parameters
    ----------
    input : Tensor, floating, (C,), (N, C) or (N, C, d1, ...)
        Logits, in nats: the softmax is part of the loss.
    target : Tensor of integers, (), (N,) or (N, d1, ...); or one of the shape of ``input``
        Class indices in [0, C), of any integer dtype; or probabilities ``q``, or one-hot integers.
    weight : Tensor, (C,), optional
        ``w``: a weight for each class.
    size_average, reduce : bool, optional
        PyTorch's deprecated way to say ``reduction``, with its warning.
    ignore_index : int
        Rows with this class index are ignored: loss 0, gradient 0, whatever their logits are.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by ``sum_i s_i w[y_i]`` over the rows that are not ignored, for probabilities
        by ``sum_i s_i``.
    label_smoothing : float in [0, 1]
        The share of each target that is spread evenly over all classes.
    sample_weight : Tensor that broadcasts to the shape of ``input`` without dimension C, optional
        ``s``: finite, not negative. This and all following options are not in PyTorch.
    temperature : float
        Positive; divides the logits.
    softcap : float, optional
        Positive; bounds the logits smoothly to (-softcap, softcap).
    z_loss : float
        Not negative; the weight of ``lse^2`` in the loss.
    denominator : float, optional
        For "mean": a number to divide the sum by instead, such as the token count of a larger batch.
    validate : bool
        On a GPU: read targets, weights and options, and raise the error that the CPU raises; see
        `lastlayer.cross_entropy`.

    Returns
    -------
    Tensor, (), or for "none" the shape of ``input`` without dimension C
        Of the dtype of ``input``, float32 under autocast.

    Raises
    ------
    ShapeError, DtypeError, OptionError
    TargetError
        For a class index outside [0, C) that is not ``ignore_index``, and for a row of integers of the shape
        of ``input`` that is not one-hot.

    See Also
    --------
    lastlayer.cross_entropy : the same for any array, classes last; float32 losses of 16-bit logits.

    Examples
    --------
    >>> import torch
    >>> import lastlayer.torch as F
    >>> logits = torch.tensor([[1.0, 1.1, 2.5], [1.0, 3.1, 0.5], [2.1, 0.1, 0.5]], requires_grad=True)
    >>> loss = F.cross_entropy(logits, torch.tensor([2, 1, 0]))
    >>> loss.backward()
    >>> round(loss.item(), 4), [round(g, 4) for g in logits.grad[0].tolist()]
    (0.2851, [0.0506, 0.0559, -0.1065])
    """
    if type(input) is not Tensor or input.dtype not in FLOATS:
        input = as_input("cross_entropy", input)  # noqa: A001
    if size_average is not None or reduce is not None or reduction == "elementwise_mean":
        reduction = named_reduction(size_average, reduce)
    axis = 1 if input.ndim > 1 else 0
    try:
        loss: Tensor = functional.cross_entropy(  # type: ignore[call-overload, misc]  # reduction is a str, as in PyTorch
            input,
            target,
            axis=axis,
            class_weight=weight,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            temperature=temperature,
            softcap=softcap,
            z_loss=z_loss,
            reduction=reduction,
            denominator=denominator,
            validate=validate,
        )
    except LastlayerError as error:
        loss = as_torch_takes_it(
            functional.cross_entropy,
            error,
            input,
            target,
            axis=axis,
            class_weight=weight,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            temperature=temperature,
            softcap=softcap,
            z_loss=z_loss,
            reduction=reduction,
            denominator=denominator,
            validate=validate,
        )
    return loss if input.dtype in FULL else loss.to(dtype_of_loss(input))


def nll_loss(
    input: Tensor,  # noqa: A002
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    sample_weight: Tensor | None = None,
    label_smoothing: float | Tensor = 0.0,
    denominator: float | Tensor | None = None,
    validate: bool = False,
) -> Tensor:
    """``torch.nn.functional.nll_loss``: the loss from log-probabilities, such as `log_softmax` returns.

    The mean over no targets is 0 with a gradient of 0, deliberately; PyTorch's is NaN.

    ::

        loss_i = -sum_j t_ij log p_ij        0 times -inf = 0

    Parameters
    ----------
    input : Tensor, floating, (C,), (N, C) or (N, C, d1, ...)
        Log-probabilities, in nats. It is not checked that they are normalised.
    target, weight, size_average, ignore_index, reduce, reduction
        As in `cross_entropy`.
    sample_weight, label_smoothing, denominator, validate
        As in `cross_entropy`. Not in PyTorch.

    Returns
    -------
    Tensor, (), or for "none" the shape of ``input`` without dimension C
        Of the dtype of ``input``, float32 under autocast.

    Raises
    ------
    ShapeError, DtypeError, OptionError, TargetError

    See Also
    --------
    cross_entropy : from logits; more accurate, since a stored log-probability has been rounded.

    Examples
    --------
    >>> import torch
    >>> import lastlayer.torch as F
    >>> log_probs = F.log_softmax(torch.tensor([1.0, 1.1, 2.5]), dim=0)
    >>> F.nll_loss(log_probs, torch.tensor(2))
    tensor(0.3851)
    """
    input = as_input("nll_loss", input)  # noqa: A001
    if size_average is not None or reduce is not None or reduction == "elementwise_mean":
        reduction = named_reduction(size_average, reduce)
    axis = 1 if input.ndim > 1 else 0
    try:
        loss: Tensor = functional.nll_loss(  # type: ignore[call-overload]  # reduction is a str, as in PyTorch
            input,
            target,
            axis=axis,
            class_weight=weight,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            denominator=denominator,
            validate=validate,
        )
    except LastlayerError as error:
        loss = as_torch_takes_it(
            functional.nll_loss,
            error,
            input,
            target,
            axis=axis,
            class_weight=weight,
            sample_weight=sample_weight,
            ignore_index=ignore_index,
            label_smoothing=label_smoothing,
            reduction=reduction,
            denominator=denominator,
            validate=validate,
        )
    return loss if input.dtype in FULL else loss.to(dtype_of_loss(input))


for _name in __all__:
    torch.fx.wrap(_name)
