"""Arrays of a .npz archive. In: a path. Out: arrays that are read from the beginning to the end, by slices.

Nothing is unpacked beyond the slice that is asked for, so memory does not depend on the size of the archive;
a slice before the last one starts again from the beginning. Checksums are verified at the end of a member.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from typing import Any, BinaryIO, cast

import numpy as np

from lastlayer.errors import OptionError

__all__ = ["UNREADABLE", "ZippedArray", "members_of"]

_RATIO = 200  # by which a compressed array may grow ...
_FREE = 64 << 20  # ... beyond this many bytes
_CHUNK = 1 << 20
UNREADABLE = (
    ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, IndexError, SyntaxError, MemoryError,
    OverflowError, RecursionError, NotImplementedError, RuntimeError, zipfile.BadZipFile,
    zlib.error, tokenize.TokenError,
)  # fmt: skip  # what the readers of corrupt files raise


def members_of(path: str) -> list[zipfile.ZipInfo]:
    """The arrays of an archive; one that grows out of all proportion is refused before it is read."""
    with zipfile.ZipFile(path) as archive:
        found = [member for member in archive.infolist() if member.filename.endswith(".npy")]
    for member in found:
        if member.file_size > _RATIO * member.compress_size + _FREE:
            grows = f"it grows from {member.compress_size} to {member.file_size} bytes"
            raise ValueError(f"{member.filename!r} is no array that was compressed: {grows}")
    return found


class ZippedArray:
    """One array of an archive, of which slices of the first axes are read in order."""

    def __init__(self, argument: str, path: str, member: zipfile.ZipInfo) -> None:
        self.argument, self.path, self.member = argument, path, member
        self._file: BinaryIO | None = None
        self._whole: Any = None
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            self.shape, self.is_fortran, self.dtype = _header(cast(BinaryIO, file))
            self._begin = file.tell()
        size = math.prod(self.shape) * self.dtype.itemsize
        if self._begin + size != member.file_size:
            found = f"{member.filename!r} has {member.file_size - self._begin} bytes"
            raise ValueError(f"{found}; {size} were expected for shape {self.shape} of {self.dtype}")
        self.content = f"{member.CRC:08x}"
        self._position = 0  # the element that is next in the file

    def __getitem__(self, index: Any) -> Any:
        """A box of slices."""
        box = index if isinstance(index, tuple) else (index,)
        ranges = [part.indices(n)[:2] for part, n in zip(box, self.shape, strict=False)]
        ranges += [(0, n) for n in self.shape[len(ranges) :]]
        size = tuple(b - a for a, b in ranges)
        k = next((k for k, n in enumerate(size) if n != 1), len(size))
        if self.is_fortran or any(ranges[j] != (0, self.shape[j]) for j in range(k + 1, len(size))):
            return self._all()[tuple(slice(a, b) for a, b in ranges)]
        start = 0
        for (a, _), n in zip(ranges, self.shape, strict=True):
            start = start * n + a
        return self._read(start, math.prod(size)).reshape(size)

    def _all(self) -> Any:
        """All of it, in memory: what is no run of the file cannot be read otherwise."""
        if self._whole is None:
            flat = self._read(0, math.prod(self.shape))
            self._whole = flat.reshape(self.shape, order="F" if self.is_fortran else "C")
        return self._whole

    def _read(self, start: int, n: int) -> Any:
        """A run of elements."""
        try:
            if self._file is None or start < self._position:
                self._open()
            assert self._file is not None
            self._take((start - self._position) * self.dtype.itemsize, None)
            data = bytearray(n * self.dtype.itemsize)
            self._take(len(data), memoryview(data))
            self._position = start + n
            if self._position == math.prod(self.shape):
                self._file.read(1)  # the checksum is compared at the end
                self._file.close()
                self._file = None
            return np.frombuffer(data, self.dtype)
        except UNREADABLE as error:
            self._file = None
            rule = f"a file of arrays ({self.member.filename!r}: {error})"
            raise OptionError("evaluate", self.argument, repr(self.path), rule) from error

    def _open(self) -> None:
        archive = zipfile.ZipFile(self.path)
        self._file = cast(BinaryIO, archive.open(self.member))
        self._take(self._begin, None)
        self._position = 0

    def _take(self, n: int, into: memoryview | None) -> None:
        """Read bytes, or skip them."""
        assert self._file is not None
        done = 0
        while done < n:
            part = self._file.read(min(_CHUNK, n - done))
            if not part:
                raise EOFError(f"it ends {n - done} bytes too early")
            if into is not None:
                into[done : done + len(part)] = part
            done += len(part)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The shape, whether the first axis is the fastest, and the dtype."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"format {version} is not known")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
        raise ValueError(f"it is of shape {shape}")
    return shape, bool(fortran and len(shape) > 1), dtype
