"""The page that is shipped is what its sources make."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lastlayer.explore import PAGE

SOURCES = Path(__file__).parents[2] / "explorer"


@pytest.fixture
def node():
    """Node.js and the packages of the sources."""
    if shutil.which("node") is None:
        pytest.skip("no Node.js on this machine: the page is built from its sources where it is")
    if not (SOURCES / "node_modules").is_dir():
        pytest.skip("the packages of explorer/ are not installed: `make explorer` installs them")
    return shutil.which("node")


def test_the_shipped_page_is_what_its_sources_make(node, tmp_path):
    subprocess.run([node, "build.mjs", tmp_path / "explorer.html"], cwd=SOURCES, check=True, timeout=60)
    assert (tmp_path / "explorer.html").read_bytes() == PAGE.read_bytes(), "run `make explorer`"


def test_types_agree(node):
    done = subprocess.run(
        [node, "node_modules/typescript/bin/tsc", "-p", "."],
        cwd=SOURCES, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_page_is_light():
    assert PAGE.stat().st_size < 300_000
