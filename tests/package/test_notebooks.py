"""The notebooks show what their cells print, and their links lead somewhere."""

import importlib.util
import re
from pathlib import Path

import pytest

for needed in ("nbclient", "ipykernel", "sklearn", "matplotlib", "torch"):
    pytest.importorskip(needed)
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("build_notebooks", FOLDER / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_outputs_are_those_of_the_cells(path, build):
    """Text is compared, of a picture that it is there."""
    shown = build.texts(nbformat.read(path, as_version=4))
    assert any(shown)
    assert build.texts(build.executed(path)) == shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_its_links_lead_somewhere(path):
    notebook = nbformat.read(path, as_version=4)
    links = re.findall(r"\]\(([^)#\s]+)", "\n".join(cell.source for cell in notebook.cells))
    assert links
    assert [link for link in links if not (FOLDER / link).exists()] == []
    assert path.stat().st_size < 200_000


def test_there_is_one_for_each_audience():
    assert [path.stem for path in NOTEBOOKS] == ["evaluation", "numpy", "pytorch"]
