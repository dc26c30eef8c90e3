"""What a user named -> partitions. In: a request, and a client if there is one. Out: `Division`, or None."""

from __future__ import annotations

from typing import Any

from lastlayer.clients import client_of, is_dask
from lastlayer.evaluation.readers.paths import Request

from .partition import Division

__all__ = ["divided"]


def divided(request: Request, client: Any) -> Division | None:
    """The partitions of a collection of Dask; None for data that is read where this runs."""
    if not is_dask(request.scores):
        return None
    client = client_of(request.scores) if client is None else client
    if hasattr(request.scores, "columns"):
        from .frames import of_frame

        return of_frame(request, client)
    from .arrays import of_arrays

    return of_arrays(request, client)
