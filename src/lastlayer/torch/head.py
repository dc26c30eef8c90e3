"""A linear head whose logits are not materialized for their loss. In: features. Out: `Logits`, or logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lastlayer import problem
from lastlayer.backends.torch.choice import can_defer
from lastlayer.backends.torch.head_call import for_autocast
from lastlayer.linear.plan import is_small
from lastlayer.typing import Defer

from . import deferred_losses as _deferred_losses  # noqa: F401 - which answers for a loss of deferred logits
from .deferred import deferred, is_possible
from .tracing import leaf

__all__ = ["LinearHead"]

_WORTH_IT = (
    256  # rows: looking whether the weights have changed costs what the product of some twenty rows does
)


class LinearHead(nn.Linear):
    """``torch.nn.Linear`` as a classifier's last layer; its logits are materialized only where needed.

    ::

        logits = x @ weight.T + bias
        cross_entropy(logits, y) = linear_cross_entropy(x, weight, y, bias=bias)

    In training it returns deferred logits: a tensor that works as the logits do and is computed when its
    numbers are needed. PyTorch's or this package's cross-entropy does not need them, nor do `row_stats`,
    `predict` and `top_k`. On the way there the axes before the last may be reshaped, sliced and indexed, and
    the logits converted to float32, multiplied and divided by positive numbers, and capped by a ``tanh``, as
    language models do. All else, such as ``argmax`` or a softmax, materializes the logits, which costs their
    memory and time.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype
        As in ``torch.nn.Linear``: D, V, whether there is a bias.
    max_memory : number of bytes, optional
        As in `lastlayer.linear_cross_entropy`.
    defer : {"training", "always", "never"}
        When the logits are deferred. "training": where autograd records, for 256 rows or more that make
        more than 2^18 logits (for fewer, deferring them would take longer than computing them). "always":
        under ``torch.no_grad()`` too, and for any number of rows; for an evaluation that takes nothing but
        losses, statistics or predictions. "never": this is ``torch.nn.Linear``.

    Raises
    ------
    OptionError
        For another ``defer``.
    BackendError
        Where the numbers of deferred logits are needed after features, weight or bias have been written to,
        by whatever way, such as an optimizer's step. ``logits.clone()`` before that materializes them.

    See Also
    --------
    lastlayer.linear_cross_entropy : the same loss as a function.
    lastlayer.torch.transformers.without_logits : puts one into a model of Hugging Face.

    Notes
    -----
    The state_dict is that of ``torch.nn.Linear``. It is a ``torch.nn.Linear`` inside ``torch.compile``,
    ``torch.func`` and inference mode, on GPUs, for tensors in shared memory or of other classes, and in
    versions of PyTorch that lack what deferred logits are made of.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import LinearHead
    >>> head = LinearHead.of(torch.nn.Linear(4, 50_000))
    >>> loss = torch.nn.functional.cross_entropy(head(torch.ones(256, 4)), torch.arange(256))
    >>> loss.backward()
    >>> head.weight.grad.shape
    torch.Size([50000, 4])
    """

    max_memory: float | None = None
    defer: Defer = "training"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        max_memory: float | None = None,
        defer: Defer = "training",
    ) -> None:
        problem.check_defer("LinearHead", defer)
        super().__init__(in_features, out_features, bias, device, dtype)
        self.max_memory = max_memory
        self.defer = defer

    @classmethod
    def of(
        cls, linear: nn.Linear, *, max_memory: float | None = None, defer: Defer = "training"
    ) -> LinearHead:
        """A head with the parameters, hooks and everything else of a ``torch.nn.Linear``."""
        problem.check_defer("LinearHead.of", defer)
        if type(linear) not in (nn.Linear, cls) or "forward" in vars(linear):
            problem.unknown_head("LinearHead.of", "linear", linear)
        head = cls.__new__(cls)
        head.__dict__ = vars(linear) | {"max_memory": max_memory, "defer": defer}
        return head

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """``input @ weight.T + bias``, now or when its numbers are needed."""
        if type(input) is not Tensor and (node := leaf(self, input)) is not None:
            return node  # type: ignore[no-any-return]
        parts: list[Any] = [input, self.weight, self.bias]
        if not self._is_worth_it(input) or not (can_defer(*parts) and is_possible()):
            return super().forward(input)
        if torch.is_autocast_enabled(input.device.type):
            parts = [None if t is None else for_autocast(t) for t in parts]
        if len({t.dtype for t in parts if t is not None}) > 1:
            return super().forward(input)  # which says so
        return deferred(parts[0], parts[1], parts[2], self.max_memory)

    def extra_repr(self) -> str:
        """The options of the layer, and ``defer`` if it is not the default."""
        return super().extra_repr() + ("" if self.defer == "training" else f", defer={self.defer!r}")

    def _is_worth_it(self, x: Any) -> bool:
        """Whether the user wants deferred logits of these features."""
        if self.defer != "training":
            return self.defer == "always"
        if not torch.is_grad_enabled() or not isinstance(x, Tensor):
            return False
        recorded = any(t is not None and t.requires_grad for t in (x, self.weight, self.bias))
        rows = x.numel() // max(1, self.in_features)
        return recorded and rows >= _WORTH_IT and not is_small(rows, self.out_features, None)
