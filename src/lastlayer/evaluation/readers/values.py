"""Values of a user as arrays that are sliced by rows. In: lists, Series, arrays of any library. Out: arrays.

Missing numbers become NaN, missing names None.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

import numpy as np

from lastlayer.blocks import UnreadableError, opened, to_host
from lastlayer.errors import DtypeError, ShapeError

__all__ = ["Part", "array_of", "digest", "fingerprint", "keys_of", "sliced", "spread", "stamp", "with_gaps"]

_SAMPLES = 64  # rows of a large array that a fingerprint reads
_SMALL = 1 << 26  # bytes of an array in memory that is read as a whole


def array_of(name: str, values: Any) -> Any:
    """An array with a shape and a dtype; arrays of other libraries are returned unread."""
    library = type(values).__module__.partition(".")[0]
    if library in ("pandas", "polars") and hasattr(values, "to_numpy"):
        return _of_series(values, library)
    if isinstance(values, (list, tuple)):
        return _of_list(name, values)
    try:
        found = opened(values)
    except UnreadableError as error:
        raise DtypeError("evaluate", name, f"no array ({error})", "an array") from error
    if isinstance(found, np.ndarray) and found.dtype == object:
        return with_gaps(found)
    return found


def _of_list(name: str, values: Any) -> Any:
    try:
        found = np.asarray(values)
    except ValueError as error:
        raise ShapeError("evaluate", name, "a list of lists of unequal length", "an array") from error
    return found if found.dtype.kind in "iufb" else with_gaps(np.asarray(values, dtype=object))


def _of_series(values: Any, library: str) -> Any:
    """A column of pandas or polars, whose missing values have a type of their own."""
    if library == "polars":
        return (
            with_gaps(np.asarray(values.to_list(), dtype=object)) if values.null_count() else _numpy(values)
        )
    missing = np.asarray(values.isna())
    if not missing.any():
        return _numpy(values)
    found = np.asarray(values, dtype=object)
    found[missing] = None
    return with_gaps(found)


def _numpy(values: Any) -> Any:
    found = values.to_numpy()
    return found if found.dtype.kind in "iufb" else with_gaps(np.asarray(found, dtype=object))


def with_gaps(values: Any) -> Any:
    """Objects that are all numbers or missing as numbers; others as they are."""
    flat = values.reshape(-1).tolist()
    if all(v is None or isinstance(v, (int, float, np.integer, np.floating)) for v in flat):
        plain = np.array([np.nan if v is None else v for v in flat], np.float64)
        if np.isnan(plain).any() or any(isinstance(v, (float, np.floating)) for v in flat):
            return plain.reshape(values.shape)
        return np.array(flat, np.int64).reshape(values.shape)
    return values


def keys_of(name: str, values: Any, function: str = "evaluate") -> Any:
    """Groups or documents: a missing name is ""; a missing number is an error, since it could be any."""
    if not isinstance(values, np.ndarray):
        return values
    if values.dtype.kind == "f" and np.isnan(values).any():
        first = int(np.flatnonzero(np.isnan(values.reshape(-1)))[0])
        raise DtypeError(function, f"{name}[{first}]", "missing", "a value in each row")
    if values.dtype == object:
        return np.array(["" if _is_missing(v) else str(v) for v in values.reshape(-1)]).reshape(values.shape)
    return values


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


class Part:
    """Some rows of the first axis of an array."""

    def __init__(self, array: Any, start: int, length: int) -> None:
        self.array, self.start, self.dtype = array, start, array.dtype
        self.shape = (length, *(int(n) for n in array.shape[1:]))

    def __getitem__(self, index: Any) -> Any:
        """Slices, as of an array."""
        first, *rest = index if isinstance(index, tuple) else (index,)
        moved = slice(self.start + (first.start or 0), self.start + min(first.stop, self.shape[0]))
        return sliced(self.array, (moved, *rest))


def sliced(array: Any, box: tuple[slice, ...]) -> Any:
    """The box's part of an array, which may have fewer axes."""
    box = box[: len(array.shape)]
    return array[box if len(box) != 1 else box[0]]


def spread(function: str, name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """One element for each row; an array without the last row axes is repeated along them."""
    array = np.asarray(to_host(value) if hasattr(value, "shape") else value)
    while array.ndim < len(shape) and array.ndim and array.shape == shape[: array.ndim]:
        array = array[..., None]
    try:
        return np.broadcast_to(array, shape).reshape(-1)
    except ValueError:
        raise ShapeError(function, name, f"of shape {array.shape}", f"{shape}, one for each row") from None


# --- what tells data from other data ------------------------------------------------------------------------


def digest(*parts: bytes) -> str:
    """A short digest of bytes."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:24]


def fingerprint(array: Any) -> dict[str, Any]:
    """The shape, the dtype and a digest: of all of a small array in memory, else of rows here and there.

    An array that lies in a file is also told by that file's size and time of change.
    """
    shape = [int(n) for n in array.shape]
    found: dict[str, Any] = {"shape": shape, "dtype": str(array.dtype)}
    if (content := getattr(array, "content", None)) is not None:  # known without reading
        return found | {"content": content}
    if isinstance(array, Part):
        return fingerprint(array.array) | {"from": array.start} | found
    if 0 in shape or not shape:
        return found
    if (path := _path_of(array)) is not None:
        found |= stamp(path)
    elif isinstance(array, np.ndarray) and array.nbytes <= _SMALL:
        return found | {"content": digest(_bytes(array))}
    rows = sorted({int(k) for k in np.linspace(0, shape[0] - 1, _SAMPLES)})
    inner = [slice(0, 1)] * max(0, len(shape) - 2) + ([slice(None)] if len(shape) > 1 else [])
    parts = (to_host(sliced(array, (slice(k, k + 1), *inner))) for k in rows)
    return found | {"content": digest(*(_bytes(part) for part in parts))}


def stamp(path: str) -> dict[str, Any]:
    """The size of a file, and when it was changed, in nanoseconds."""
    about = os.stat(path)
    return {"bytes": about.st_size, "changed_ns": about.st_mtime_ns}


def _path_of(array: Any) -> str | None:
    """The file that an array lies in: of memory maps and HDF5."""
    found = getattr(array, "filename", None) if isinstance(array, np.memmap) else None
    if type(array).__module__.startswith("h5py"):
        found = array.file.filename
    return os.fspath(found) if isinstance(found, (str, os.PathLike)) and os.path.exists(found) else None


def _bytes(part: Any) -> bytes:
    plain = np.ascontiguousarray(part)
    return repr(plain.tolist()).encode() if plain.dtype.kind in "OT" else plain.tobytes()
