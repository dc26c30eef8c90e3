"""The drop-ins as modules, with the constructors of ``torch.nn`` and further options as keywords.

Each is a subclass of PyTorch's module of the same name, so that ``isinstance``, ``state_dict``, ``.to()`` and
pickling work. Only the computation is this package's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lastlayer.backends.torch.number_options import differs

from . import functional
from .tracing import leaf

__all__ = ["CrossEntropyLoss", "LogSoftmax", "NLLLoss", "Softmax"]


class Softmax(torch.nn.Softmax):
    """``torch.nn.Softmax``: probabilities from logits.

    Parameters
    ----------
    dim : int
        The class dimension; None is PyTorch's deprecated choice, with its warning.
    temperature : float
        Positive; above 1 flattens, below 1 sharpens. Not in PyTorch.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import Softmax
    >>> Softmax(dim=1)
    Softmax(dim=1)
    >>> Softmax(dim=1)(torch.zeros(1, 4))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """

    temperature: float | Tensor

    def __init__(self, dim: int | None = None, *, temperature: float | Tensor = 1.0) -> None:
        super().__init__(dim)
        self.temperature = temperature

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Probabilities, of the shape and dtype of ``input``."""
        if type(input) is not Tensor and (node := leaf(self, input)) is not None:
            return node  # type: ignore[no-any-return]
        return functional.softmax(input, self.dim, 5, temperature=self.temperature)

    def extra_repr(self) -> str:
        """The options, as they were given."""
        return shown_options(self, {"dim": _ALWAYS, "temperature": 1.0})


class LogSoftmax(torch.nn.LogSoftmax):
    """``torch.nn.LogSoftmax``: log-probabilities from logits.

    Parameters
    ----------
    dim, temperature
        As in `Softmax`.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import LogSoftmax
    >>> LogSoftmax(dim=0)(torch.tensor([0.1, 0.9, 4.0]))
    tensor([-3.9632, -3.1632, -0.0632])
    """

    temperature: float | Tensor

    def __init__(self, dim: int | None = None, *, temperature: float | Tensor = 1.0) -> None:
        super().__init__(dim)
        self.temperature = temperature

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Log-probabilities in nats, of the shape and dtype of ``input``."""
        if type(input) is not Tensor and (node := leaf(self, input)) is not None:
            return node  # type: ignore[no-any-return]
        return functional.log_softmax(input, self.dim, 5, temperature=self.temperature)

    def extra_repr(self) -> str:
        """The options, as they were given."""
        return shown_options(self, {"dim": _ALWAYS, "temperature": 1.0})


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """``torch.nn.CrossEntropyLoss``: the cross-entropy loss from logits.

    The mean over no targets is 0 with a gradient of 0, deliberately; PyTorch's is NaN.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction, label_smoothing
        As in `lastlayer.torch.cross_entropy` and PyTorch. ``weight`` is a buffer: it moves with ``.to()`` and
        is saved in the ``state_dict``.
    temperature, softcap, z_loss
        As in `lastlayer.torch.cross_entropy`. Not in PyTorch.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import CrossEntropyLoss
    >>> criterion = CrossEntropyLoss(label_smoothing=0.1)
    >>> criterion
    CrossEntropyLoss(label_smoothing=0.1)
    >>> criterion(torch.tensor([[1.0, 1.1, 2.5]]), torch.tensor([2]))
    tensor(0.4817)
    """

    temperature: float | Tensor
    softcap: float | Tensor | None
    z_loss: float | Tensor

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        temperature: float | Tensor = 1.0,
        softcap: float | Tensor | None = None,
        z_loss: float | Tensor = 0.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.temperature = temperature
        self.softcap = softcap
        self.z_loss = z_loss

    def forward(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor,
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
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            sample_weight=sample_weight,
            temperature=self.temperature,
            softcap=self.softcap,
            z_loss=self.z_loss,
            denominator=denominator,
            validate=validate,
        )

    def extra_repr(self) -> str:
        """The options that are not the default."""
        return shown_options(
            self,
            {
                "ignore_index": -100,
                "reduction": "mean",
                "label_smoothing": 0.0,
                "temperature": 1.0,
                "softcap": None,
                "z_loss": 0.0,
            },
        )


class NLLLoss(torch.nn.NLLLoss):
    """``torch.nn.NLLLoss``: the loss from log-probabilities.

    The mean over no targets is 0 with a gradient of 0, deliberately; PyTorch's is NaN.

    Parameters
    ----------
    weight, size_average, ignore_index, reduce, reduction
        As in `lastlayer.torch.nll_loss` and PyTorch.
    label_smoothing
        As in `lastlayer.torch.nll_loss`. Not in PyTorch.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import NLLLoss
    >>> NLLLoss(reduction="sum")(torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75]])), torch.tensor([0, 0]))
    tensor(2.0794)
    """

    label_smoothing: float

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.label_smoothing = label_smoothing

    def forward(
        self,
        input: Tensor,  # noqa: A002
        target: Tensor,
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
        return functional.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            sample_weight=sample_weight,
            label_smoothing=self.label_smoothing,
            denominator=denominator,
            validate=validate,
        )

    def extra_repr(self) -> str:
        """The options that are not the default."""
        return shown_options(self, {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0})


_ALWAYS = object()  # as the default of an option that is always shown: it differs from every value


def shown_options(module: torch.nn.Module, defaults: dict[str, Any]) -> str:
    """The options of a module that differ from their defaults, as its constructor takes them."""
    shown = [
        f"{name}={value!r}"
        for name, default in defaults.items()
        if (value := getattr(module, name)) is not default and differs(value, default)
    ]
    weight = getattr(module, "weight", None)
    if weight is not None:
        shown.insert(0, f"weight of {weight.numel()} classes")
    return ", ".join(shown)
