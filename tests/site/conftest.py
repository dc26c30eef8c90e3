"""The site, built once for all its tests."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The folder of the built site, one for all workers; a warning of Sphinx is an error."""
    for needed in ("sphinx", "myst_nb", "numpydoc", "pydata_sphinx_theme", "sklearn", "torch", "matplotlib"):
        pytest.importorskip(needed)
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "site"
    folder.mkdir(exist_ok=True)
    said = folder / "said.txt"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            options = ["-b", "html", "-W", "--keep-going", "-q", "-d", str(folder / "doctrees")]
            command = [sys.executable, "-m", "sphinx", *options, "docs", str(folder / "html")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            said.write_text("" if done.returncode == 0 else done.stderr or f"status {done.returncode}")
    if said.read_text():
        pytest.fail(said.read_text()[:4000], pytrace=False)
    return folder / "html"
