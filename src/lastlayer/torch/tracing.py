"""Symbolic tracing by `torch.fx`. In: a module of this package, and its arguments. Out: the module's node.

The modules are leaves of a traced graph, as PyTorch's own modules are: the graph calls them, and does not
contain their operations. The functions are registered by ``torch.fx.wrap`` in the modules that define and
export them, and become calls in the graph.
"""

from __future__ import annotations

from typing import Any

from torch import fx, nn

__all__ = ["leaf"]


def leaf(module: nn.Module, *args: Any, **options: Any) -> Any:
    """The module's node in the traced graph; None if nothing is traced, or the module itself is the root."""
    traced = next((a for a in (*args, *options.values()) if isinstance(a, fx.Proxy)), None)
    if traced is None:
        return None
    tracer: Any = traced.tracer
    path = tracer.path_of_module(module)
    given = {name: value for name, value in options.items() if value is not None}
    return tracer.create_proxy("call_module", path, args, given) if path else None
