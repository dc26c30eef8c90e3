"""Symbolic tracing by `torch.fx`. In: a module of this package, and what it was called with. Out: its node.

The modules are leaves of a graph, as PyTorch's own are: a graph calls them as they are. The functions are
registered with ``torch.fx.wrap`` where they are defined and where they are offered, and become calls.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

__all__ = ["leaf"]


def leaf(module: nn.Module, *args: Any, **options: Any) -> Any:
    """The module's node in the graph that is traced; None where none is, or the module is all of it."""
    traced = next((a for a in (*args, *options.values()) if isinstance(a, fx.Proxy)), None)
    if traced is None:
        return None
    tracer: Any = traced.tracer
    path = tracer.path_of_module(module)
    given = {name: value for name, value in options.items() if value is not None}
    return tracer.create_proxy("call_module", path, args, given) if path else None
