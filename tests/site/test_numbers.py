"""The numbers of the start page and of the README, and the pictures: those that were measured."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def pictures():
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("pictures_of_the_facts", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of(table, **keys):
    """The only row of a table with these values."""
    (found,) = [row for row in table if all(row[key] == value for key, value in keys.items())]
    return found


def summary(name):
    """The rows of the table of results, without links."""
    text = (ROOT / name).read_text(encoding="utf-8")
    table = re.search(r"^\| \| lastlayer \|.*\n\|[-|]*\n((?:\|.*\n)+)", text, re.MULTILINE)[1]
    return [
        [re.sub(r"\(docs/", "(", cell.strip()) for cell in line.split("|")[1:-1]]
        for line in table.split("\n")[:-1]
    ]


def test_the_readme_has_the_start_page_s_table():
    assert summary("README.md") == summary("docs/index.md")


def test_the_table_has_the_measured_numbers(pictures):
    loss, softmax, numpy, torch, head = summary("docs/index.md")
    exact = pictures.table("accuracy.md", "Declared and measured")
    worst = {
        name: max(
            float(of(exact, dtype="float32", implementation=set_)[name])
            for set_ in ("avx512", "avx2", "baseline")
        )
        for name in ("`softmax`", "loss of a row")
    }
    assert loss[1].startswith(f"{worst['loss of a row']:.1f} ULP")
    assert loss[2].startswith(of(exact, dtype="float32", implementation="torch")["loss of a row"] + " ULP")
    assert softmax[1].startswith(f"{worst['`softmax`']:.1f} ULP")
    softmax_of = [
        float(of(exact, dtype="float32", implementation=who)["`softmax`"]) for who in ("torch", "SciPy")
    ]
    assert softmax[2] == "{:.0f} ULP in PyTorch, {:.0f} in SciPy".format(*softmax_of)
    declared = of(exact, dtype="float32", implementation="declared")
    assert f"at most {declared['`softmax`']}," in softmax[1]
    assert f"at most {declared['loss of a row']}," in loss[1]

    grad = of(pictures.table("performance.md", "`cross_entropy_grad`"), problem="1024x32000", threads="1")
    assert (numpy[1], numpy[2]) == (
        f"{grad['lastlayer']} ms",
        f"{grad['torch']} ms in PyTorch, forward and backward",
    )
    both = of(
        pictures.table("performance.md", "`cross_entropy, autograd`"), problem="1024x32000", threads="1"
    )
    assert torch[1] == f"{both['lastlayer']} ms"
    assert torch[2] == f"{both['torch']} ms; {both['torch.compile']} ms with `torch.compile`"

    problem = "8192x512x50257-bfloat16"
    times = of(pictures.table("performance-linear.md", "Times"), problem=problem)
    memory = pictures.memory()[problem]
    seconds = [float(times[name]) / 1000 for name in ("lastlayer, 64 MiB", "torch")]
    assert head[1] == f"{seconds[0]:.2f} s with {memory[1]:.0f} MB"
    assert head[2] == f"{seconds[1]:.2f} s with {memory[0]:.0f} MB in PyTorch"


def test_the_pictures_show_the_tables(pictures, tmp_path):
    assert pictures.errors()["loss of a row"]["torch"][20.0] == 16_586_151
    assert pictures.errors()["`softmax`"]["lastlayer"] == {1.0: 2.04, 5.0: 2.66, 20.0: 2.17}
    assert pictures.times("`softmax`", ("scipy",))["scipy"][1000] == pytest.approx(23.0e6 / 8_192_000)
    pictures.main(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {path.name for path in (DOCS / "pictures").glob("*.svg")}
    shown = re.findall(r"\]\(pictures/(.*?)\)", (DOCS / "reference.md").read_text(encoding="utf-8"))
    assert set(shown) == names


def test_the_sections_on_gpus_have_the_numbers_of_the_records():
    spec = importlib.util.spec_from_file_location("pages_of_records", ROOT / "benchmarks" / "gpu_pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    advice = "run python benchmarks/gpu_pages.py"
    assert pages.marked(pages.speed()) in (DOCS / "performance.md").read_text(encoding="utf-8"), advice
    losses = re.search(r"the loss is (\S+ to \S+ times)", pages.speed())[1]
    assert f"are {losses} as fast as PyTorch's own" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert pages.marked(pages.errors()) in (DOCS / "accuracy.md").read_text(encoding="utf-8"), advice
