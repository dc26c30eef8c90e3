"""What the tests of the command share: the rows of their files, and the command as a process."""

from __future__ import annotations

import os
import subprocess
import sys

N, V = 400, 5
NAMES = ["ant", "bee", "cat", "dog", "emu"]


def process(folder, *argv, **options):
    """The command as a process of its own."""
    environment = {**os.environ, "COLUMNS": "80", "OMP_WAIT_POLICY": "passive", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "lastlayer", *map(str, argv)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip
