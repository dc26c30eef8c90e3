"""Files of arrays: .npy, .npz and .safetensors. In: a path. Out: arrays that are read when they are sliced.

Nothing in a file is executed (pickled arrays are refused), and its header is checked against its size before
any memory is taken.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lastlayer.arrays import BFLOAT16
from lastlayer.errors import OptionError

from .npz import UNREADABLE, ZippedArray, members_of
from .values import digest, stamp

__all__ = ["ArrayFile", "content_of", "opened_file"]

_HEADER = 100 << 20  # bytes of a header at most
_PIECE, _PIECES = 4096, 64  # bytes of a file that tell it from others
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(BFLOAT16),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}  # fmt: skip


class ArrayFile(NamedTuple):
    """The arrays of a file by name, each opened when it is asked for; and its metadata."""

    arrays: dict[str, Callable[[], Any]]
    metadata: dict[str, str]


def opened_file(argument: str, path: str) -> ArrayFile:
    """A .npy (whose only array has no name), .npz or .safetensors file."""
    form = os.path.splitext(path)[1].lower()

    def guarded(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except UNREADABLE as error:
            what = str(error) or type(error).__name__
            raise OptionError("evaluate", argument, repr(path), f"a file of arrays ({what})") from error

    if form == ".npy":
        return ArrayFile({"": lambda: guarded(lambda: _of_npy(path))}, {})
    if form == ".npz":
        return ArrayFile(
            {
                member.filename.removesuffix(".npy"): lambda member=member: guarded(  # type: ignore[misc]
                    lambda: ZippedArray(argument, path, member)
                )
                for member in guarded(lambda: members_of(path))
            },
            {},
        )
    header, metadata, begin = guarded(lambda: _safetensors_header(path))
    return ArrayFile(
        {
            name: lambda name=name, entry=entry: guarded(  # type: ignore[misc]
                lambda: _mapped(path, begin, name, entry)
            )
            for name, entry in header.items()
        },
        metadata,
    )


def _of_npy(path: str) -> Any:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(found, np.ndarray):  # an archive or something else under this name
        raise ValueError("it is no .npy file")
    return found


def _safetensors_header(path: str) -> tuple[dict[str, Any], dict[str, str], int]:
    """The entries of the tensors, the metadata, and where the tensors begin."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_HEADER, size - 8):
            raise ValueError(f"its header has {length} bytes in a file of {size}")
        header = json.loads(file.read(length), object_pairs_hook=_once)
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is no object")
    return header, {str(k): str(v) for k, v in metadata.items()}, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _mapped(path: str, begin: int, name: str, entry: Any) -> Any:
    """One tensor of a file, mapped into memory."""
    size, dtype, shape = os.path.getsize(path), _DTYPES.get(entry["dtype"]), tuple(entry["shape"])
    if dtype is None:
        raise ValueError(f"{name!r} is of dtype {entry['dtype']}")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise ValueError(f"{name!r} is of shape {shape}")
    start, stop = entry["data_offsets"]
    if type(start) is not int or type(stop) is not int:
        raise ValueError(f"{name!r} lies at {start!r} to {stop!r}")
    if not (0 <= start <= stop <= size - begin and stop - start == math.prod(shape) * dtype.itemsize):
        raise ValueError(f"{name!r} lies at {start} to {stop}, which does not fit its shape {shape}")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", begin + start, shape)


def content_of(path: str) -> dict[str, Any]:
    """The size of a file, its time of change, and a digest of pieces here and there."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        parts = []
        for k in range(_PIECES):
            file.seek(max(0, size - _PIECE) * k // (_PIECES - 1))
            parts.append(file.read(_PIECE))
    return stamp(path) | {"content": digest(*parts)}
