"""Read ahead in mapped files. In: a mapped array, some bytes of it. The system fetches them meanwhile."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

__all__ = ["Ahead"]

_BYTES = 1 << 26  # that are fetched beforehand
_CALL = 1 << 21  # that one call asks for: Linux cuts a longer one to the size of its own reading ahead


class Ahead:
    """Asks for the bytes that follow those being read, where an array is a mapped file in C order."""

    def __init__(self, array: Any) -> None:
        self._map: Any = None
        is_mapped = isinstance(array, np.memmap) and array.flags.c_contiguous and array.size > 0
        if is_mapped and hasattr(mmap, "MADV_WILLNEED"):
            self._map = array._mmap
            base = np.frombuffer(self._map, np.uint8).ctypes.data
            self._begin = array.ctypes.data - base  # of a slice, too
            self._size, self._asked = array.nbytes, 0

    def of(self, start: int) -> None:
        """The bytes from here on are read next."""
        if self._map is None:
            return
        stop = min(start + _BYTES, self._size)
        if self._asked > start and stop - self._asked < _BYTES // 2 and stop < self._size:
            return  # enough is on its way
        begin = self._begin + max(start, self._asked)
        page = begin - begin % mmap.PAGESIZE
        if (length := self._begin + stop - page) > 0 and stop > self._asked:
            for offset in range(0, length, _CALL):
                self._map.madvise(mmap.MADV_WILLNEED, page + offset, min(_CALL, length - offset))
            self._asked = stop
