"""A linear head whose logits are not made for their loss. In: features. Out: `deferred.Logits`, or logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from lastlayer import problem, select

from .deferred import deferred
from .linear_call import for_autocast
from .tensors import in_memory, is_watched
from .tracing import leaf

try:
    from lastlayer import native
except ImportError:
    native = None  # type: ignore[assignment]

__all__ = ["LinearHead"]


class LinearHead(nn.Linear):
    """``torch.nn.Linear`` as a classifier's last layer, whose logits are made only where they are needed.

    ::

        logits = x @ weight.T + bias
        cross_entropy(logits, y) = linear_cross_entropy(x, weight, y, bias=bias)

    What it returns works as the logits do. PyTorch's or this package's cross-entropy of it is computed
    without them, in value and gradients, and so are `row_stats`, `predict` and `top_k`. On the way there the
    axes before the last may be reshaped, sliced and indexed, and the logits converted to float32, multiplied
    and divided by positive numbers, and capped by a ``tanh``: what language models do. All else, such as
    ``argmax`` or a softmax, makes the logits, which costs their memory and nothing more.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype
        As in ``torch.nn.Linear``: D, V, whether there is a bias.
    max_memory : number of bytes, optional
        As in `lastlayer.linear_cross_entropy`.

    See Also
    --------
    lastlayer.torch.transformers.without_logits : puts one into a model of Hugging Face.

    Notes
    -----
    The state_dict is that of ``torch.nn.Linear``. Inside ``torch.compile``, ``torch.func`` and inference
    mode, on devices and for tensors of other classes it is ``torch.nn.Linear``. Logits that are not made
    before the weight is written to, such as by an optimiser's step, are lost: a BackendError says so.

    Examples
    --------
    >>> import torch
    >>> from lastlayer.torch import LinearHead
    >>> head = LinearHead.of(torch.nn.Linear(4, 50_000))
    >>> loss = torch.nn.functional.cross_entropy(head(torch.ones(2, 4)), torch.tensor([7, 49_999]))
    >>> loss.backward()
    >>> head.weight.grad.shape
    torch.Size([50000, 4])
    """

    max_memory: float | None = None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        max_memory: float | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self.max_memory = max_memory

    @classmethod
    def of(cls, linear: nn.Linear, *, max_memory: float | None = None) -> LinearHead:
        """A head with the parameters, hooks and everything else of a ``torch.nn.Linear``."""
        if type(linear) not in (nn.Linear, cls) or "forward" in vars(linear):
            raise problem.unknown_head("LinearHead.of", "linear", linear)
        head = cls.__new__(cls)
        head.__dict__ = vars(linear) | {"max_memory": max_memory}
        return head

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """``input @ weight.T + bias``, made when it is looked at."""
        if type(input) is not Tensor and (node := leaf(self, input)) is not None:
            return node  # type: ignore[no-any-return]
        parts: list[Any] = [input, self.weight, self.bias]
        if not _can_wait(*parts):
            return super().forward(input)
        if torch.is_autocast_enabled(input.device.type):
            parts = [None if t is None else for_autocast(t) for t in parts]
        if len({t.dtype for t in parts if t is not None}) > 1:
            return super().forward(input)  # which says so
        return deferred(parts[0], parts[1], parts[2], self.max_memory)


def _can_wait(x: Any, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether a loss of these logits can be computed without them, here and now."""
    return (
        isinstance(x, Tensor)
        and not is_watched(x)
        and not torch._C._get_tracing_state()  # of torch.jit
        and forward_ad._current_level < 0
        and not torch.is_inference_mode_enabled()
        and native is not None
        and select.only != "reference"
        and all(t is None or (in_memory(t) and t.is_floating_point()) for t in (x, weight, bias))
        and x.ndim > 0
        and x.shape[-1:] == weight.shape[1:]
    )
