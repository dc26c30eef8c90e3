"""The linear head as a module: ``LinearCrossEntropyLoss``, also for PyTorch before 2.13, which has none.

In: the constructor's arguments. Out: a module with PyTorch's parameters, initial values and ``state_dict``,
whose loss is `lastlayer.torch.linear_cross_entropy`.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.modules.loss import _WeightedLoss

from lastlayer import problem
from lastlayer.errors import LastlayerError
from lastlayer.typing import ChunkOptions

from .errors import raise_in_torch_terms
from .linear_functional import linear_cross_entropy
from .modules import shown_options
from .tracing import leaf

__all__ = ["LinearCrossEntropyLoss"]

if TYPE_CHECKING:
    _Base = _WeightedLoss
else:
    _Base = getattr(torch.nn, "LinearCrossEntropyLoss", _WeightedLoss)  # new in 2.13


class LinearCrossEntropyLoss(_Base):
    """``torch.nn.LinearCrossEntropyLoss``: a linear layer and the loss of its logits, without the logits.

    The mean over no targets is 0 with a gradient of 0, deliberately; PyTorch's is NaN.

    Parameters
    ----------
    in_features : int
        D, the number of features.
    num_classes : int
        C, the number of classes.
    out_features : tuple of int
        (d1, ...): the shape of several heads; by default there is one.
    bias : bool
        Whether the layer has a bias.
    device, dtype
        Of the layer's parameters.
    reduction, weight, ignore_index, label_smoothing, options
        As in `lastlayer.torch.linear_cross_entropy` and PyTorch. ``weight`` is a buffer: it moves with
        ``.to()`` and is saved in the ``state_dict``.
    temperature, softcap, z_loss, max_memory
        As in `lastlayer.torch.linear_cross_entropy`. Not in PyTorch.

    Attributes
    ----------
    linear : torch.nn.Linear
        The layer: its weight is of shape (C d1 ..., D), its bias of shape (C d1 ...) or None.

    Raises
    ------
    ShapeError, OptionError

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import LinearCrossEntropyLoss
    >>> criterion = LinearCrossEntropyLoss(5, 10, label_smoothing=0.1)
    >>> loss = criterion(torch.randn(2, 5), torch.tensor([3, 9]))
    >>> loss.backward()
    >>> list(criterion.state_dict()), criterion.linear.weight.grad.shape
    (['linear.weight'], torch.Size([10, 5]))
    """

    linear: torch.nn.Linear
    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: ChunkOptions | None = None,
        temperature: float | Tensor = 1.0,
        softcap: float | Tensor | None = None,
        z_loss: float | Tensor = 0.0,
        max_memory: float | None = None,
    ) -> None:
        name = type(self).__name__
        try:
            if weight is not None:
                problem.class_weight_shape(name, weight, num_classes)
            if not 0 <= label_smoothing <= 1:
                number = label_smoothing.item() if isinstance(label_smoothing, Tensor) else label_smoothing
                problem.bad_number(name, "label_smoothing", number, 1.0, False)
        except LastlayerError as error:
            raise_in_torch_terms(error)
        _WeightedLoss.__init__(self, weight, None, None, reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        rows = prod(out_features, start=num_classes)
        self.linear = torch.nn.Linear(in_features, rows, bias=bias, device=device, dtype=dtype)
        self.options = options
        self.temperature = temperature
        self.softcap = softcap
        self.z_loss = z_loss
        self.max_memory = max_memory

    def forward(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor | tuple[Tensor, ...],
        *,
        sample_weight: Tensor | None = None,
        denominator: float | Tensor | None = None,
        validate: bool = False,
    ) -> Tensor:
        """The loss in nats; the keyword arguments are those of this batch."""
        if type(input) is not Tensor:
            given = {"sample_weight": sample_weight, "denominator": denominator}
            node = leaf(self, input, target, **given, validate=None if validate is False else validate)
            if node is not None:
                return node  # type: ignore[no-any-return]
        weight: Tensor = self.linear.weight
        bias: Tensor | None = self.linear.bias
        if self.out_features:
            weight = weight.reshape(self.num_classes, *self.out_features, self.linear.in_features)
            bias = None if bias is None else bias.reshape(self.num_classes, *self.out_features)
        return linear_cross_entropy(
            input,
            weight,
            target,
            linear_bias=bias,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
            sample_weight=sample_weight,
            temperature=self.temperature,
            softcap=self.softcap,
            z_loss=self.z_loss,
            denominator=denominator,
            validate=validate,
            max_memory=self.max_memory,
        )

    def extra_repr(self) -> str:
        """The options as PyTorch shows them, and those of the others that are not the default."""
        linear = self.linear
        shown = (
            f"in_features={linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={linear.bias is not None}, reduction={self.reduction}, "
            f"ignore_index={self.ignore_index}, label_smoothing={self.label_smoothing}, "
            f"options={self.options}"
        )
        more = shown_options(self, {"temperature": 1.0, "softcap": None, "z_loss": 0.0, "max_memory": None})
        return f"{shown}, {more}" if more else shown
