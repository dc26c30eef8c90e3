"""The linear head as a drop-in: ``torch.nn.functional.linear_cross_entropy``, without the logits.

In: the arguments of PyTorch's function, which is new in PyTorch 2.13 and not needed here. Out: its result.
For several heads (PyTorch's K-dimensional loss) the common function is called once per head, with the same
features.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lastlayer import functional, linear_functional, problem
from lastlayer.backends.torch import canonical, entry
from lastlayer.backends.torch.choice import on_core
from lastlayer.backends.torch.number_options import are_read, over, stand_ins
from lastlayer.backends.torch.targets import Target
from lastlayer.backends.torch.tensors import as_tensor, in_memory, in_strides, is_watched, tracks, wide
from lastlayer.errors import LastlayerError, TensorClassError
from lastlayer.options import Options
from lastlayer.problem import tensor_errors
from lastlayer.typing import ChunkOptions

from .arguments import FULL, as_input, as_torch_takes_it, by_torch, dtype_of_loss, weight_of_rows
from .errors import raise_in_torch_terms

__all__ = ["linear_cross_entropy"]

_NAME = "linear_cross_entropy"
_LEAST_MEMORY = 64 << 20  # bytes: enough for any plan of ordinary sizes; PyTorch's smallest chunks need less


def linear_cross_entropy(
    input: Tensor,  # noqa: A002 - PyTorch's name
    linear_weight: Tensor,
    target: Tensor | tuple[Tensor, ...],
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float | Tensor = 0.0,
    options: ChunkOptions | None = None,
    sample_weight: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | Tensor | None = None,
    z_loss: float | Tensor = 0.0,
    denominator: float | Tensor | None = None,
    max_memory: float | None = None,
    validate: bool = False,
) -> Tensor:
    """``torch.nn.functional.linear_cross_entropy``: the loss of a linear layer's logits, without the logits.

    The mean over no targets is 0 with a gradient of 0, deliberately; PyTorch's is NaN.

    ::

        loss = cross_entropy(linear(input, linear_weight, linear_bias), target)

    Parameters
    ----------
    input : Tensor, floating, (D,) or (N, D)
        Features.
    linear_weight : Tensor, (C, D) or (C, d1, ..., D)
        A row for each of the C classes. With d1, ...: several heads, each with a row for each class.
    target : Tensor
        Class indices of any integer dtype, (), (N,) or (N, d1, ...), or probabilities, (C,), (N, C) or
        (N, C, d1, ...). Or top-k targets, as `lastlayer.cross_entropy` takes them, which are not in PyTorch.
    linear_bias : Tensor, (C,) or (C, d1, ...), optional
        Added to the logits.
    weight : Tensor, (C,), optional
        A finite weight for each class.
    reduction : {"mean", "sum", "none"}
        "mean" divides the sum by the weights of the targets, or by the number of rows for probabilities.
    ignore_index : int, optional
        Rows with this class index are ignored; None means -100. Not allowed for probabilities.
    label_smoothing : float in [0, 1]
        The share of each target that is spread evenly over all classes.
    options : torch.nn.LinearCrossEntropyOptions, optional
        Accepted with any other arguments. ``batch_chunk_size`` bounds the memory to that of PyTorch's chunk
        of so many rows of logits, but never to less than 64 MiB. Its other fields have no effect: sums are
        always accumulated in float32 or wider, and a second backward pass is always possible.
    sample_weight : Tensor that broadcasts to the shape of class indices, optional
        Finite, not negative. This and all following options are not in PyTorch.
    temperature, softcap, z_loss, denominator, validate
        As in `cross_entropy`.
    max_memory : number of bytes, optional
        Memory that the call may use besides its arguments and results: see `lastlayer.linear_cross_entropy`.

    Returns
    -------
    Tensor, (), or for "none" of the shape of class indices
        In nats; of the dtype of ``input``, float32 under autocast.

    Raises
    ------
    ShapeError, DtypeError, OptionError
    TargetError
        For a class index outside [0, C) that is not ``ignore_index``.

    See Also
    --------
    lastlayer.linear_cross_entropy : for any array and any leading axes; float32 losses of 16-bit tensors.

    Examples
    --------
    >>> import torch
    >>> import lastlayer.torch as F
    >>> x = torch.tensor([[1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    >>> linear_weight = torch.tensor([[1.0, 0.0], [0.5, 1.0], [-1.0, 1.0]])
    >>> loss = F.linear_cross_entropy(x, linear_weight, torch.tensor([1, 2]))
    >>> loss.backward()
    >>> round(loss.item(), 4), [round(g, 4) for g in x.grad[1].tolist()]
    (0.6155, [0.4721, -0.0777])
    """
    input = as_input(_NAME, input)  # noqa: A001
    try:
        input = in_strides(_NAME, "x", input)  # noqa: A001
        for name, part in (("weight", linear_weight), ("bias", linear_bias)):
            if not isinstance(part, Tensor) and not (part is None and name == "bias"):
                tensor_errors.not_tensor(_NAME, name, type(part).__name__)
        shape = problem.shape_of_heads(_NAME, input, linear_weight, linear_bias)
        if max_memory is None and options is not None:
            max_memory = _memory_of(options, input, shape)
        if not problem.is_top_k(target):
            target = as_tensor(_NAME, "targets", target, input)
        if ignore_index is not None and isinstance(target, Tensor) and target.shape == shape:
            problem.no_ignore_index(_NAME, ignore_index)
    except LastlayerError as error:
        raise_in_torch_terms(error)
    like = input.new_zeros(()).expand(shape)  # stands for the logits: one zero, broadcast
    heads = _Heads(input, linear_weight, linear_bias, max_memory)
    loss = _loss_of(heads)
    given: dict[str, Any] = {
        "axis": 1 if len(shape) > 1 else 0,
        "class_weight": weight,
        "sample_weight": sample_weight,
        "ignore_index": -100 if ignore_index is None else ignore_index,
        "label_smoothing": label_smoothing,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "reduction": reduction,
        "denominator": denominator,
        "validate": validate,
    }
    value: Tensor
    try:
        value = loss(like, target, **given)
    except TensorClassError as error:
        if linear_weight.ndim != 2 or max_memory is not None:
            raise_in_torch_terms(error)
        logits = torch.nn.functional.linear(input, linear_weight, linear_bias)
        value = by_torch("cross_entropy", error, logits, target, given)
    except LastlayerError as error:
        value = as_torch_takes_it(loss, error, like, target, **given)
    return value if input.dtype in FULL else value.to(dtype_of_loss(input))


def _memory_of(options: Any, x: Tensor, shape: tuple[int, ...]) -> float | None:
    """Bytes for the chunk of rows that PyTorch's options name, plus those that grow with all rows."""
    if not hasattr(options, "batch_chunk_size"):
        tensor_errors.no_options(_NAME, options)
    rows = options.batch_chunk_size
    if rows is None:
        return None
    count = x.shape[0] if x.ndim > 1 else 1
    classes = shape[1] if x.ndim > 1 else shape[0]
    chunk: int = min(rows, count) * classes * x.dtype.itemsize
    return max(chunk, _LEAST_MEMORY) + count * (16 * x.shape[-1] + 1024)


# --- several heads ------------------------------------------------------------------------------------------


class _Heads(NamedTuple):
    """The features, and one or more heads on them."""

    x: Tensor  # (D,) or (N, D)
    weight: Tensor  # (C, D) or (C, d1, ..., D)
    bias: Tensor | None
    memory: float | None


def _loss_of(heads: _Heads) -> Callable[..., Any]:
    """A function with the arguments of a cross-entropy; of its logits it reads only the shape."""

    def linear_cross_entropy(like: Tensor, target: Any, *, axis: int, **options: Any) -> Any:
        x, weight, bias, memory = heads
        if weight.ndim == 2:
            return linear_functional.linear_cross_entropy(
                x, weight, target, bias=bias, max_memory=memory, **options
            )
        if prod(like.shape[2:]) == 0:  # no head at all
            return functional.cross_entropy(like + 0 * x.sum(), target, axis=axis, **options)
        return _of_several(heads, like, target, options)

    return linear_cross_entropy


def _of_several(heads: _Heads, like: Tensor, target: Any, options: dict[str, Any]) -> Tensor:
    """The loss of several heads on the same features."""
    o = Options(_NAME, 1, *(options[name] for name in _NAMED))
    given = target, options["class_weight"], options["sample_weight"]
    if options["validate"]:
        entry.validate(like, given, o)
    _, t, o = entry.arguments_of(like, given, o)
    total = _denominator(like, t, o)
    own = options | {name: getattr(o, name) for name in _NAMED} | {"validate": False}
    if isinstance(total, Tensor):
        own |= {"reduction": "sum", "denominator": None}
    else:
        own["denominator"] = total
    losses = torch.stack([
        linear_functional.linear_cross_entropy(
            heads.x, w, y, bias=b, max_memory=heads.memory, **(own | {"sample_weight": s})
        )
        for w, b, y, s in _each(heads, like, t)
    ], -1)  # fmt: skip
    if o.reduction == "none":
        return losses.reshape(like.shape[:1] + like.shape[2:])
    return over(losses.sum(), total) if isinstance(total, Tensor) else losses.sum()


_NAMED = ("ignore_index", "label_smoothing", "temperature", "softcap", "z_loss", "reduction", "denominator")


def _each(heads: _Heads, like: Tensor, t: Target) -> Any:
    """Weight, bias, target and sample weight of each head, as views: autograd stacks their gradients."""
    weights = heads.weight.flatten(1, -2).unbind(1)
    missing: Any = [None] * len(weights)
    rows = like.shape[:1] + like.shape[2:]

    def parts(a: Tensor | None) -> Any:
        return missing if a is None else a.expand(rows).flatten(1).unbind(1)

    biases = missing if heads.bias is None else heads.bias.flatten(1).unbind(1)
    if t.probabilities is not None:
        listed = (a.flatten(1, -2).unbind(1) for a in (t.y, t.probabilities))
        targets: Any = zip(*listed, parts(t.rest), strict=True)
    else:
        targets = t.y.flatten(2).unbind(2) if t.y.shape == like.shape else t.y.flatten(1).unbind(1)
    return zip(weights, biases, targets, parts(t.sample_weight), strict=True)


def _denominator(like: Tensor, t: Target, o: Options) -> Tensor | float | None:
    """The divisor of a mean over all heads; None if there is no mean. Checks the targets."""
    tensors = [like, *(a for a in t if a is not None)]
    if is_watched(like) or not (on_core(like) and all(in_memory(a) for a in tensors)):
        canonical.form_of(like, t, o)
    else:
        scale = canonical.resolve(like, t, stand_ins(o)).scale
        if are_read(o) and not tracks(t.class_weight, t.sample_weight):
            return (1.0 / scale if scale else 0.0) if o.reduction == "mean" else None
    if o.reduction != "mean" or o.denominator is not None:
        return o.denominator  # type: ignore[no-any-return]
    own = {"axis": 1, "ignore_index": o.ignore_index, **t._asdict()}
    return weight_of_rows(like, like if t.is_top_k else t.y, own, wide(like.dtype))


for _name in __all__:
    torch.fx.wrap(_name)
