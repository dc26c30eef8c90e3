"""What a notebook shows of an evaluation and of a comparison."""

import sys

import pages
import pytest

import lastlayer as ll
from lastlayer.report import page


def test_numbers_as_tables():
    result = pages.named()
    text = result._repr_html_()
    assert f"{result.n} rows" in text
    for name in ("log_loss", "accuracy", "ece"):
        assert f'<td style="text-align: left">{name}</td>' in text
    assert '<th style="text-align: left">what it is</th>' in text
    assert '<th style="text-align: right">value</th>' in text
    assert "<script" not in text
    assert "<svg" not in text
    z, y = pages.scores(50, 4)
    assert "b - a" in ll.compare(z, z, y)._repr_html_()


def test_without_jinja2_the_notebook_shows_text(monkeypatch, tmp_path):
    result = pages.of(20, 3)
    page._environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    try:
        assert result._repr_html_() is None
        with pytest.raises(ImportError, match=r"pip install lastlayer\[report\]"):
            result.save_html(tmp_path / "a.html")
    finally:
        page._environment.cache_clear()


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch, tmp_path):
    result = pages.of(20, 3)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"requires matplotlib.*pip install lastlayer\[report\]"):
        result.save_html(tmp_path / "a.html")
