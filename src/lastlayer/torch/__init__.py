"""Drop-ins with the names, signatures and conventions of ``torch.nn.functional`` and ``torch.nn``.

One deliberate difference: the mean over no targets (no rows, or all of them ignored) is 0 with a gradient of
0. PyTorch gives NaN, so that one such batch destroys the weights.

>>> import torch
>>> import lastlayer.torch as F
>>> logits = torch.zeros(2, 3, requires_grad=True)
>>> loss = F.cross_entropy(logits, torch.tensor([-100, -100]))
>>> loss.backward()
>>> loss.item(), logits.grad.tolist()
(0.0, [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
"""

from __future__ import annotations

from torch import fx as _fx

from lastlayer.backends.torch import head_ops as _linear_ops  # noqa: F401 - exported graphs use its operation
from lastlayer.backends.torch import ops as _ops  # noqa: F401 - and these

from .functional import cross_entropy, log_softmax, logsumexp, nll_loss, softmax
from .head import LinearHead
from .linear_functional import linear_cross_entropy
from .linear_modules import LinearCrossEntropyLoss
from .modules import CrossEntropyLoss, LogSoftmax, NLLLoss, Softmax

__all__ = [
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "LinearHead",
    "LogSoftmax",
    "NLLLoss",
    "Softmax",
    "cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "nll_loss",
    "softmax",
]

for _name in __all__:
    if _name.islower():  # a function
        _fx.wrap(_name)
