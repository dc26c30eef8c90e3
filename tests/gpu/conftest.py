"""Compute by the kernels: on a GPU as always; in a trial on the CPU, by Triton's interpreter.

``LASTLAYER_TEST_SECONDS``: the tests that have not begun by then are skipped.
"""

import os
import time

import pytest
from interpreter import INTERPRETED

from lastlayer import selection

END = time.monotonic() + float(os.environ.get("LASTLAYER_TEST_SECONDS", "inf"))


@pytest.fixture(autouse=True)
def by_kernels():
    if time.monotonic() > END:
        pytest.skip("no time is left")
    with selection.use("triton" if INTERPRETED else None):
        yield
