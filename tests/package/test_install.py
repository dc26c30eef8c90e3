"""Wheels built with and without a C++ compiler, installed where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("scikit_build_core", reason="the build tools are not installed")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not (ROOT / "CMakeLists.txt").exists(),
    reason="needs the source tree, on Linux",
)

SMOKE = """
import numpy as np
import lastlayer as ll
print(ll.show_backends())
z, y = np.array([[1.0, 1.1, 2.5], [3.2, 0.2, 0.9]], np.float32), [2, 0]
loss, grad = ll.cross_entropy_grad(z, y)
assert abs(loss - 0.262440) < 1e-6 and abs(grad.sum()) < 1e-6, (loss, grad)
x, w = np.eye(2, dtype=np.float32), z.T.copy()
assert abs(ll.linear_cross_entropy(x, w, y) - loss) < 1e-6
assert ll.row_stats(z, y).correct.all() and ll.top_k(z, 2)[0].tolist() == [[2, 1], [0, 2]]
assert ll.softmax(z).sum(1).round(6).tolist() == [1, 1]
ll.set_num_threads(1)
try:
    import lastlayer.sklearn
except ModuleNotFoundError as error:
    assert "You can install it with `pip install lastlayer[sklearn]`" in str(error), error
"""


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with what a build needs besides a compiler."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "env", "uname", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    scripts = Path(sys.executable).parent
    for tool in ("cmake", "ninja"):
        (tools / tool).symlink_to(shutil.which(tool, path=f"{scripts}{os.pathsep}{os.environ['PATH']}"))
    return str(tools)


def wheel_of(tmp_path, path):
    """The wheel built with this PATH, and what pip printed."""
    environment = {k: v for k, v in os.environ.items() if k not in ("CC", "CXX", "CMAKE_GENERATOR")}
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-build-isolation", "--no-deps",
         "--wheel-dir", tmp_path / "wheels", "--config-settings", f"build-dir={tmp_path / 'build'}", ROOT],
        env=environment | {"PATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "wheels").glob("lastlayer-*.whl")
    return wheel, done.stdout + done.stderr


def smoke(tmp_path, wheel, path):
    """What the smoke test prints in a new environment that holds NumPy and the wheel alone."""
    new = tmp_path / "venv"
    venv.create(new, symlinks=True)
    python = new / "bin" / "python"
    (site,) = (new / "lib").glob("python*/site-packages")
    shutil.unpack_archive(wheel, site, "zip")
    import numpy

    for part in ("numpy", "numpy.libs"):
        (site / part).symlink_to(Path(numpy.__file__).parents[1] / part)
    done = subprocess.run(
        [python, "-W", "error", "-c", SMOKE], env={"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_compiler(tmp_path, bare_path):
    wheel, log = wheel_of(tmp_path, bare_path)
    log = " ".join(log.split())
    assert log.count("no C++17 compiler was found") == 1
    assert "it is installed without its compiled core, and will be many times slower" in log
    assert "CMake Error" not in log
    shown = smoke(tmp_path, wheel, bare_path)
    assert "native     not available: this installation was built without a C++ compiler" in shown


@pytest.mark.slow  # compiles the core
def test_with_a_compiler(tmp_path, bare_path):
    wheel, log = wheel_of(tmp_path, os.environ["PATH"])
    assert "no C++17 compiler" not in log
    assert "native     NumPy arrays and CPU tensors, C++ core on" in smoke(tmp_path, wheel, bare_path)
