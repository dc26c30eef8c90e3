"""Errors for operations that deferred logits do not allow."""

from __future__ import annotations

from typing import NoReturn

from lastlayer.errors import BackendError

__all__ = ["changed_in_place", "data_set", "freed", "traced_whole", "written"]

_LOGITS, _CLONE = "Logits", "write logits.clone() before"


def written(name: str) -> NoReturn:
    """Refuse to compute logits after the features, weight or bias were written to."""
    rule = "it as it was when the logits were asked for"
    raise BackendError(_LOGITS, name, "written to since", rule, _CLONE, verb="has been")


def freed(name: str) -> NoReturn:
    """Refuse to compute logits after the memory of the features, weight or bias was freed."""
    rule, remedy = "it to stay until a loss is taken", "write fully_shard(head, reshard_after_forward=False)"
    raise BackendError(_LOGITS, name, "freed since", rule, remedy, verb="has been")


def changed_in_place(operation: str) -> NoReturn:
    """Refuse an in-place operation on deferred logits."""
    rule = "an operation that returns others"
    raise BackendError(_LOGITS, operation, "them in place", rule, _CLONE, verb="changes")


def data_set() -> NoReturn:
    """Refuse ``logits.data = ...``."""
    remedy = "write logits.copy_(data) under torch.no_grad(), or logits.clone() before"
    raise BackendError(_LOGITS, "data", "set", "it as it is", remedy)


def traced_whole(owner: str) -> NoReturn:
    """Refuse deferred logits in a graph compiled with ``fullgraph=True``."""
    found, rule = "a graph compiled with fullgraph=True", "a tensor with numbers"
    raise BackendError(owner, "deferred logits", found, rule, _CLONE, verb="enter")
