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

_MIN_ROWS = 256  # comparing the weights' digests costs as much as the product for some twenty rows


class LinearHead(nn.Linear):
    """``torch.nn.Linear`` as a classifier's last layer; its logits are materialized only where needed.

    ::

        logits = x @ weight.T + bias
        cross_entropy(logits, y) = linear_cross_entropy(x, weight, y, bias=bias)

    In training it returns deferred logits: a tensor that behaves like the logits and is computed only when
    its numbers are needed. PyTorch's and this package's cross-entropy do not need them, nor do `row_stats`,
    `predict` and `top_k`. Before the loss, a model may reshape, slice and index the axes before the last,
    convert the logits to float32, multiply or divide them by positive numbers, and cap them by a ``tanh``.
    All other operations, such as ``argmax`` or a softmax, materialize the logits, at the usual cost in memory
    and time.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype
        As in ``torch.nn.Linear``: D, V, whether there is a bias.
    max_memory : number of bytes, optional
        As in `lastlayer.linear_cross_entropy`.
    defer : {"training", "always", "never"}
        When the logits are deferred. "training": while autograd records, for at least 256 rows and more than
        2^18 logits (for fewer, deferring would take longer than computing them). "always": also under
        ``torch.no_grad()``, and for any number of rows; meant for evaluations that need only losses,
        statistics or predictions. "never": the layer works as ``torch.nn.Linear``.

    Raises
    ------
    OptionError
        For another ``defer``.
    BackendError
        If the numbers of deferred logits are needed after features, weight or bias were written to, by an
        optimizer's step for example. Call ``logits.clone()`` before, to materialize them.

    See Also
    --------
    lastlayer.linear_cross_entropy : the same loss as a function.
    lastlayer.torch.transformers.without_logits : puts such a layer into a Hugging Face model.

    Notes
    -----
    The state_dict is that of ``torch.nn.Linear``. The logits are not deferred inside ``torch.compile``,
    ``torch.func`` and inference mode, on GPUs, for tensors in shared memory or tensor subclasses, and in
    versions of PyTorch in which deferred logits do not work.

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
        """A head that takes over the parameters, hooks and all other attributes of a ``torch.nn.Linear``."""
        problem.check_defer("LinearHead.of", defer)
        if type(linear) not in (nn.Linear, cls) or "forward" in vars(linear):
            problem.unknown_head("LinearHead.of", "linear", linear)
        head = cls.__new__(cls)
        head.__dict__ = vars(linear) | {"max_memory": max_memory, "defer": defer}
        return head

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """``input @ weight.T + bias``, deferred or not."""
        if type(input) is not Tensor and (node := leaf(self, input)) is not None:
            return node  # type: ignore[no-any-return]
        parts: list[Any] = [input, self.weight, self.bias]
        if not self._should_defer(input) or not (can_defer(*parts) and is_possible()):
            return super().forward(input)
        if torch.is_autocast_enabled(input.device.type):
            parts = [None if t is None else for_autocast(t) for t in parts]
        if len({t.dtype for t in parts if t is not None}) > 1:
            return super().forward(input)  # raises PyTorch's error
        return deferred(parts[0], parts[1], parts[2], self.max_memory)

    def extra_repr(self) -> str:
        """The options of the layer, and ``defer`` if it is not the default."""
        return super().extra_repr() + ("" if self.defer == "training" else f", defer={self.defer!r}")

    def _should_defer(self, x: Any) -> bool:
        """Whether ``defer`` asks for deferred logits of these features."""
        if self.defer != "training":
            return self.defer == "always"
        if not torch.is_grad_enabled() or not isinstance(x, Tensor):
            return False
        recorded = any(t is not None and t.requires_grad for t in (x, self.weight, self.bias))
        rows = x.numel() // max(1, self.in_features)
        return recorded and rows >= _MIN_ROWS and not is_small(rows, self.out_features, None)
