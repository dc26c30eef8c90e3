"""Statements that Ctrl-C does not interrupt. In: a block. Out: it runs to its end, then Ctrl-C is raised."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["whole"]


@contextmanager
def whole() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python interrupts the main thread alone
        return
    pressed: list[tuple[int, FrameType | None]] = []
    usual: Any = signal.getsignal(signal.SIGINT)
    if not callable(usual):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:
        usual(*pressed[0])
