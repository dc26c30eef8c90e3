"""Compute by the kernels: on a GPU as always; in a trial on the CPU, by Triton's interpreter."""

import pytest
from interpreter import INTERPRETED

from lastlayer import selection


@pytest.fixture(autouse=True)
def by_kernels():
    with selection.use("triton" if INTERPRETED else None):
        yield
