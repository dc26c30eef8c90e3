"""The user's data -> partitions. In: a request, and a client if there is one. Out: `Division`, or None."""

from __future__ import annotations

import os
from typing import Any

from lastlayer.clients import client_of, is_dask
from lastlayer.errors import DtypeError, OptionError
from lastlayer.evaluation.readers.paths import Request

from .partition import Division

__all__ = ["divided"]


def divided(request: Request, client: Any) -> Division | None:
    """The partitions of a collection of Dask; None for data that is read where this runs."""
    if client is not None:
        _check_client(client)
    if not is_dask(request.scores):
        if client is None:
            return None
        if isinstance(request.scores, (str, os.PathLike)):
            from .files import of_files

            return of_files(request, client)
        remedy = "use dask.array.from_array or dask.dataframe.from_pandas"
        found = f"a {type(request.scores).__name__}"
        raise DtypeError("evaluate", "scores", found, "data of Dask or a path with client=", remedy)
    client = client_of(request.scores) if client is None else client
    if hasattr(request.scores, "columns") and request.scores.ndim == 2:  # no Series
        from .frames import of_frame

        return of_frame(request, client)
    from .arrays import of_arrays

    return of_arrays(request, client)


def _check_client(client: Any) -> None:
    is_client = type(client).__module__.partition(".")[0] == "distributed" and hasattr(client, "compute")
    if not is_client:
        found = f"a {type(client).__name__}"
        raise DtypeError("evaluate", "client", found, "a Client of dask.distributed")
    if client.asynchronous:
        raise OptionError("evaluate", "client", "asynchronous", "one made without asynchronous=True")
