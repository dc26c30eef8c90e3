"""Arrays of any length that repeat one period, in the memory of that period: mapped pages of a file."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys

import numpy as np
import pytest

__all__ = ["repeated"]

_FIXED = 0x10  # MAP_FIXED, which the mmap module does not name


def repeated(period: np.ndarray, count: int) -> np.ndarray:
    """``count`` elements that repeat ``period``; writing to an element changes all its copies.

    ``period`` has a multiple of 2**16 bytes. The addresses are never given back: a few tests need some.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("pages are mapped twice by calls of Linux")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
    ]  # fmt: skip
    file = os.memfd_create("period")
    os.write(file, period.tobytes())
    size, length = period.nbytes, -(-count * period.itemsize // period.nbytes) * period.nbytes
    access = mmap.PROT_READ | mmap.PROT_WRITE
    start = libc.mmap(None, length, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for at in range(start, start + length, size):
        assert libc.mmap(at, size, access, mmap.MAP_SHARED | _FIXED, file, 0) == at
    os.close(file)
    memory = (ctypes.c_char * length).from_address(start)
    return np.frombuffer(memory, period.dtype, count)
