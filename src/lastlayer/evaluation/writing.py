"""Files that are replaced atomically. In: bytes and a path. Out: the new file, or the old one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from lastlayer.errors import OptionError

__all__ = ["write_whole"]


def write_whole(argument: str, path: str, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file: the old one stays until the new one is on the disk.

    ``data`` may be pieces, written one after another. A device or a pipe, as ``/dev/stdout``, is written to
    and never replaced.
    ``argument`` is the one that named the file, for the error if it cannot be written.
    """
    parts = [data] if isinstance(data, bytes) else data
    whole = path
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a folder is an error of `open`
            with open(path, "wb") as file:
                file.writelines(parts)
            return
        whole = os.path.realpath(path)  # of a link, the file itself
        _replace(whole, parts)
    except (OSError, ValueError) as error:  # ValueError: a null character
        rule = f"a file that can be written ({getattr(error, 'strerror', None) or error})"
        raise OptionError("evaluate", argument, repr(whole), rule) from error
    with contextlib.suppress(OSError):  # the name is on the disk too, where a folder can be synchronized
        handle = os.open(os.path.dirname(whole), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _replace(path: str, parts: Iterable[bytes | memoryview]) -> None:
    part = path + ".part"  # always this name, so that a killed process leaves no more than one
    try:
        with open(part, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
