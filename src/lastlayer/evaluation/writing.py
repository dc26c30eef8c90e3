"""Files that are never seen half-written. In: bytes and a path. Out: the new file, or the old one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from lastlayer.errors import OptionError

__all__ = ["write_whole"]


def write_whole(argument: str, path: str, data: bytes | Iterable[bytes | memoryview]) -> None:
    """Write a file: the old one stays until the new one is on the disk.

    ``data`` may be pieces, written one after another.
    ``argument`` is the one that named the file, for the error if it cannot be written.
    """
    parts = [data] if isinstance(data, bytes) else data
    path = os.path.realpath(path)  # of a link, the file itself
    part = path + ".part"  # always this name, so that a killed process leaves no more than one
    try:
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
    except OSError as error:
        rule = f"a file that can be written ({error.strerror or error})"
        raise OptionError("evaluate", argument, repr(path), rule) from error
    with contextlib.suppress(OSError):  # the name is on the disk too, where a folder can be synchronized
        handle = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
