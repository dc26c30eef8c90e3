"""The kernels in Triton: their tests and the conformance suite, in Triton's interpreter, in a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton", reason="Triton is for Linux")

TESTS = Path(__file__).parent.parent
CONFORMANCE = ["inactive_rows", "row_stats", "shards"]


def test_in_a_process():
    files = [str(TESTS / "triton"), *(str(TESTS / f"conformance/test_{name}.py") for name in CONFORMANCE)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "LASTLAYER_BACKEND": "triton"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
