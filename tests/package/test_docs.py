"""The pages: their examples print what they say, their links lead somewhere, their facts agree."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

import lastlayer

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(page):
    blocks = re.findall(r"^```pycon\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return "\n".join(blocks)


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=lambda page: page.name)
def test_the_examples_of_a_page_print_what_it_says(page):
    if "import torch" in examples(page):
        pytest.importorskip("torch")
        pytest.importorskip("array_api_compat")
    if "import transformers" in examples(page) or "from transformers" in examples(page):
        pytest.importorskip("transformers")
    if "import matplotlib" in examples(page):
        pytest.importorskip("matplotlib")
    test = doctest.DocTestParser().get_doctest(examples(page), {}, page.name, str(page), 0)
    failures = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_the_pages_that_promise_examples_have_them():
    for name in ("README.md", "docs/semantics.md"):
        assert ">>>" in examples(ROOT / name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).exists(), link


def test_the_names_of_the_glossary_are_names_of_the_code():
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    source = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("src/lastlayer/**/*.py"))
    names = {name for text in re.findall(r"`([^`]+)`", glossary) for name in text.split(".")} - {"this type"}
    assert len(names) > 30
    assert [name for name in sorted(names) if not re.search(rf"\b{re.escape(name)}\b", source)] == []


WITH_COMMANDS = [
    "README.md",
    "docs/how-to/command-line.md",
    "docs/how-to/compare.md",
    "docs/tutorial/index.md",
]


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_the_pages_show_what_the_command_prints(page, capsys, monkeypatch, tmp_path):
    """The page's Python makes the files of its commands, in an empty folder."""
    for needed in ("typer", "rich", "pyarrow", "sklearn", "matplotlib", "jinja2"):
        pytest.importorskip(needed)
    from lastlayer.cli.main import main

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        exec(code, {})
    blocks = re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    calls = [call for block in blocks for call in block.split("$ lastlayer ")[1:]]
    assert calls
    for call in calls:
        command, _, shown = call.partition("\n")
        main(shlex.split(command))
        captured = capsys.readouterr()
        printed = re.sub(r" +$", "", captured.out + captured.err, flags=re.MULTILINE).strip("\n")
        assert doctest.OutputChecker().check_output(shown.strip("\n"), printed, doctest.ELLIPSIS), printed


def test_every_block_of_code_is_run():
    """Those of ``pycon`` are run above; other code only stands in pages whose test runs it."""
    run = {ROOT / page for page in [*WITH_COMMANDS, "docs/worked/softmax-and-cross-entropy.md"]}
    found = {
        page for page in PAGES if re.search(r"^```(python|console)$", page.read_text("utf-8"), re.MULTILINE)
    }
    assert found == run
    languages = {
        lang for page in PAGES for lang in re.findall(r"^```(\S+)$", page.read_text("utf-8"), re.MULTILINE)
    }
    assert languages <= {"pycon", "python", "console", "text", "{toctree}"}


def test_pre_commit_runs_what_make_check_runs():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    checks = re.search(r"^check: (.*)$", makefile, re.MULTILINE)[1].split()
    hooks = re.findall(r"entry: make (.*)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    assert hooks == checks


def test_one_version_everywhere():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*)"$', project, re.MULTILINE)[1]
    assert lastlayer.__version__ == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
