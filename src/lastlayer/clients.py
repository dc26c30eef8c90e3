"""What is asked of Dask. In: collections of Dask, a client. Out: which scheduler computes; values kept by it.

Dask is imported by none who has no data of it: `is_dask` tells by a type's name.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["any_size", "client_of", "is_dask", "persisted"]


def is_dask(values: Any) -> bool:
    """Whether values are a collection of Dask: an array, a DataFrame or a Series."""
    return type(values).__module__.partition(".")[0] == "dask" and hasattr(values, "__dask_graph__")


def client_of(*collections: Any) -> Any:
    """The client of `dask.distributed` that computes collections, or None: another scheduler does."""
    from dask.base import get_scheduler

    get = get_scheduler(collections=collections)
    owner = getattr(get, "__self__", None)
    return owner if type(owner).__module__.partition(".")[0] == "distributed" else None


def persisted(values: Sequence[Any]) -> list[Any]:
    """Delayed values, computed once and kept where they were computed."""
    import dask

    with any_size():
        return list(dask.persist(*values))


def any_size() -> Any:
    """Send large parameters without a warning: they are no mistake of the user's."""
    import dask

    if "distributed" not in sys.modules:  # its settings are loaded when it is imported
        return contextlib.nullcontext()
    return dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 PiB"})
