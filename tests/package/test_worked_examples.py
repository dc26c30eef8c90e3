"""The numbers that teach this subject, and the page that shows them."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import lastlayer as ll

ROOT = Path(__file__).parents[2]
WORKED = ROOT / "docs" / "worked"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("logits", "probabilities"),
    [
        ([0.1, 0.9, 3.0], [0.04672966, 0.10399876, 0.84927158]),
        ([0.1, 0.9, 4.0], [0.0190013, 0.04228816, 0.93871054]),
        ([2.0, 1.0, 0.1], [0.65900114, 0.24243297, 0.09856589]),
    ],
)
def test_softmax(logits, probabilities, dtype):
    result = ll.softmax(np.array(logits, dtype=dtype))
    assert result.dtype == dtype
    np.testing.assert_allclose(result, probabilities, rtol=0, atol=6e-9 if dtype == np.float64 else 1.2e-7)


@pytest.mark.parametrize(
    ("probabilities", "target", "loss"),
    [
        ([0.1, 0.1, 0.8], 2, 0.22314355),
        ([0.8, 0.1, 0.1], 2, 2.30258509),
        ([0.7, 0.2, 0.1], 0, 0.35667494),
        ([0.1, 0.3, 0.7], 0, 2.30258509),
    ],
)
def test_log_loss(probabilities, target, loss):
    assert ll.log_loss(probabilities, target) == pytest.approx(loss, abs=6e-9)
    assert ll.log_loss([probabilities], [target]) == pytest.approx(loss, abs=6e-9)


@pytest.mark.parametrize(
    ("probabilities", "printed"), [([0.1, 0.1, 0.8], 0.07438118), ([0.8, 0.1, 0.1], 0.76752836)]
)
def test_the_tutorial_divides_by_the_number_of_classes(probabilities, printed):
    assert ll.log_loss(probabilities, 2) / len(probabilities) == pytest.approx(printed, abs=6e-9)
    assert ll.log_loss(probabilities, 2) != pytest.approx(printed, rel=0.5)


def test_check_names_what_is_no_distribution():
    def words(rows):
        return " ".join(str(finding) for finding in ll.check(np.array(rows), kind="probabilities"))

    assert "1.1" in words([[0.1, 0.3, 0.7]])
    assert "1.1" not in words([[0.7, 0.2, 0.1]])


@pytest.mark.parametrize(
    ("logits", "targets", "loss", "labels"),
    [
        ([1.0, 1.1, 2.5], 2, 0.3850768, 2),
        ([3.2, 0.2, 0.9], 2, 2.4398019, 0),
        ([[1.0, 1.1, 2.5], [1.0, 3.1, 0.5], [2.1, 0.1, 0.5]], [2, 1, 0], 0.28509045, [2, 1, 0]),
        ([[3.2, 0.2, 0.9], [3.2, 0.2, 0.9], [0.2, 3.2, 0.1]], [2, 1, 0], 2.8900697, [0, 0, 1]),
    ],
)
def test_cross_entropy_and_predictions(logits, targets, loss, labels):
    # The pinned numbers were printed in float32: their last digit is its rounding.
    assert ll.cross_entropy(logits, targets) == pytest.approx(loss, abs=2e-7)
    assert ll.cross_entropy(np.array(logits, dtype=np.float32), targets) == pytest.approx(loss, abs=4e-7)
    np.testing.assert_array_equal(ll.predict(logits)[0], labels)


def test_naive_softmax_overflows_and_ours_does_not():
    z = np.array([1000.0, 1001.0, 1002.0])
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(np.exp(z) / np.exp(z).sum()).all()
    np.testing.assert_allclose(ll.softmax(z), [0.09003057, 0.24472847, 0.66524096], atol=6e-9)


def test_the_gradient_is_p_minus_t():
    _, gradient = ll.cross_entropy_grad([0.1, 0.9, 4.0], 1)
    np.testing.assert_allclose(gradient, [0.0190013, 0.04228816 - 1, 0.93871054], atol=6e-9)


def test_the_worked_page_is_what_its_code_prints():
    pytest.importorskip("torch")  # the second half of the page
    page = (WORKED / "softmax-and-cross-entropy.md").read_text(encoding="utf-8")
    assert load(ROOT / "docs" / "build_worked.py").executed(page) == page


def test_the_page_builder_replaces_output_and_keeps_the_rest():
    executed = load(ROOT / "docs" / "build_worked.py").executed
    page = "a\n\n```python\nx = 2\n```\n\n```text\nold\n```\n\nb\n\n```python\nprint(x)\nx + 1\n```\n\nc\n"
    run = "a\n\n```python\nx = 2\n```\n\nb\n\n```python\nprint(x)\nx + 1\n```\n\n```text\n2\n3\n```\n\nc\n"
    assert executed(page) == run
    assert executed(run) == run


@pytest.mark.parametrize(("name", "most_bytes"), [("worked", 110_000), ("tutorial", 60_000)])
def test_the_pictures_of_the_pages_are_there_and_can_be_drawn_again(name, most_bytes, tmp_path):
    for needed in ("matplotlib", "sklearn"):
        pytest.importorskip(needed)
    folder = ROOT / "docs" / name
    pages = "\n".join(page.read_text(encoding="utf-8") for page in folder.glob("*.md"))
    named = set(re.findall(r"!\[[^\]]{20,}\]\((\w+\.svg)\)", pages))  # each with a text in its place
    pictures = load(folder / "pictures.py")
    pictures.main(tmp_path)
    assert named == set(pictures.PICTURES) == {path.name for path in folder.glob("*.svg")}
    assert named == {path.name for path in tmp_path.glob("*.svg")}
    assert max(path.stat().st_size for path in folder.glob("*.svg")) <= most_bytes


def test_the_tutorial_has_the_worked_numbers():
    """Its examples print them, and are run as they stand."""
    pages = (page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "tutorial").glob("*.md"))
    blocks = [
        one for page in pages for one in re.findall(r"^```pycon\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    ]
    shown = set(re.findall(r"\d+\.\d+", "\n".join(blocks)))
    worked = """
    0.0190013 0.04228816 0.93871054 0.04672966 0.10399876 0.84927158 0.65900114 0.24243297
    0.09856589 0.09003057 0.24472847 0.66524096 0.22314355 2.30258509 0.07438118 0.76752836
    0.35667494 0.3850768 2.4398019 0.2850904 2.8900695 0.7254601 1.4545171 0.5418083 0.3250850
    2.1517571 3.1632481 0.95771184
    """
    assert set(worked.split()) - shown == set()
