"""The pages: their examples print what they say, their links lead somewhere, their facts agree."""

import doctest
import re
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


def test_the_readme_shows_what_the_command_prints(capsys, monkeypatch):
    pytest.importorskip("rich")
    from lastlayer.cli.main import main

    monkeypatch.setenv("COLUMNS", "80")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command, shown = re.search(r"```console\n\$ lastlayer ([^\n]*)\n(.*?)```", readme, re.DOTALL).groups()
    assert main(command.split()) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.strip("\n").splitlines()]
    assert shown.splitlines() == printed


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
