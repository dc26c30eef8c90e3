"""Files of arrays: .npy, .npz and .safetensors. In: a path. Out: arrays that are read when they are sliced.

Nothing in a file is executed (pickled arrays are refused), and its header is checked against its size before
any memory is taken.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from typing import Any

import numpy as np

from lastlayer.arrays import BFLOAT16
from lastlayer.errors import OptionError

__all__ = ["arrays_of", "opened_file"]

_HEADER = 100 << 20  # bytes of a header at most
_RATIO = 200  # by which a compressed array may grow
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(BFLOAT16),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip


def opened_file(argument: str, path: str) -> Any:
    """The one array of a .npy file, mapped into memory."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(argument, path, error) from error


def arrays_of(argument: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays of a .npz or .safetensors file by name, and its metadata."""
    if path.endswith(".npz"):
        return _of_npz(argument, path), {}
    return _of_safetensors(argument, path)


def _of_npz(argument: str, path: str) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.file_size > _RATIO * max(1, member.compress_size) + (1 << 20):
                    found = (
                        f"{path!r} with {member.filename!r}, which grows from {member.compress_size} bytes"
                    )
                    raise OptionError(
                        "evaluate", argument, f"{found} to {member.file_size}", "an archive of arrays"
                    )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise _unreadable(argument, path, error) from error


def _of_safetensors(argument: str, path: str) -> tuple[dict[str, Any], dict[str, str]]:
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_HEADER, size - 8):
                raise ValueError(f"its header has {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        metadata = header.pop("__metadata__", {})
        found = {name: _mapped(path, 8 + length, size, name, entry) for name, entry in header.items()}
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(argument, path, error) from error
    return found, {str(k): str(v) for k, v in metadata.items()} if isinstance(metadata, dict) else {}


def _mapped(path: str, begin: int, size: int, name: str, entry: Any) -> Any:
    """One tensor of a file, mapped into memory."""
    dtype, shape = _DTYPES.get(entry["dtype"]), tuple(entry["shape"])
    if dtype is None:
        raise ValueError(f"{name!r} is of dtype {entry['dtype']}")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise ValueError(f"{name!r} is of shape {shape}")
    start, stop = entry["data_offsets"]
    if not (0 <= start <= stop <= size - begin and stop - start == math.prod(shape) * dtype.itemsize):
        raise ValueError(f"{name!r} lies at {start} to {stop}, which does not fit its shape {shape}")
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", begin + start, shape)


def _unreadable(argument: str, path: str, error: Exception) -> OptionError:
    if isinstance(error, OptionError):
        return error
    return OptionError("evaluate", argument, repr(path), f"a file of arrays ({error})")
