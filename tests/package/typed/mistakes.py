"""Calls that type checkers refuse, each with the kind of its error."""

import numpy as np
import torch

import lastlayer as ll
import lastlayer.torch as lt

logits, y = np.zeros((2, 3)), [2, 0]
tensor, indices = torch.zeros(2, 3), torch.tensor([2, 0])


def refused() -> None:
    ll.cross_entropy(logits, y, reduction="maen")  # type: ignore[call-overload]
    ll.cross_entropy(tensor, indices, reduction="maen")  # type: ignore[call-overload]
    ll.cross_entropy(logits, y, smoothing=0.1)  # type: ignore[call-overload]
    ll.cross_entropy(logits, y, softcap="3")  # type: ignore[call-overload]
    ll.cross_entropy(logits, y, 1)  # type: ignore[call-overload]
    ll.log_loss(logits, y, temperature=2.0)  # type: ignore[call-overload]
    ll.linear_cross_entropy(logits, logits, y, shift=0.5)  # type: ignore[call-overload]
    ll.row_stats(logits, y, reduction="mean")  # type: ignore[call-overload]
    ll.top_k(logits, 1.0)  # type: ignore[call-overload]
    ll.check(logits, y, kind="probability")  # type: ignore[arg-type]
    ll.cross_entropi(logits, y)  # type: ignore[attr-defined]
    ll.cross_entropy(logits, {2, 0})  # type: ignore[call-overload]
    ll.cross_entropy(tensor, indices).backwards()  # type: ignore[attr-defined]
    ll.row_stats(logits).entropy.means()  # type: ignore[attr-defined]
    lt.LinearHead(4, 3, defer="sometimes")  # type: ignore[arg-type]
    lt.cross_entropy(tensor, indices, z_loss=None)  # type: ignore[arg-type]
