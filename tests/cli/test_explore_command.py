"""`lastlayer explore`: what is opened, and what is printed where nothing can be."""

import webbrowser
from pathlib import Path

import pytest

from lastlayer.cli.main import main


def test_the_page_is_opened(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    assert main(["explore"]) == 0
    assert capsys.readouterr().out == ""
    assert len(opened) == 1
    assert opened[0].startswith("file:///")
    assert opened[0].endswith("/explorer.html")


@pytest.mark.parametrize("words", [["explore", "--print-path"], ["explore"]])
def test_the_path_is_printed_if_asked_for_or_if_there_is_no_browser(monkeypatch, capsys, words):
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    assert main(words) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
