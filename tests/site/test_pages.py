"""The built site: its links and anchors, what it loads, the names of its reference, its formulas."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = ("lastlayer", "lastlayer.torch", "lastlayer.sklearn", "lastlayer.plots")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


links = load(ROOT / "docs" / "_site" / "links.py")


@pytest.fixture(scope="module")
def pages(site):
    return links.read(site)


def test_links_and_anchors_lead_somewhere(pages):
    assert len(pages) > 40
    assert sum(len(page.links) for page in pages.values()) > 2000
    assert links.broken(pages) == []


def test_broken_links_and_anchors_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="#b"></a><a href="b.html#x"></a><a href="c.html"></a>'
        '<img src="d.png"><a href="https://example.org"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="x"></p>')
    pages = links.read(tmp_path)
    assert links.broken(pages) == ["a.html: #b", "a.html: c.html", "a.html: d.png"]
    assert links.elsewhere(pages) == {"https://example.org": ["a.html"]}


def test_nothing_is_loaded_from_elsewhere(pages, site):
    assert [load for page in pages.values() for load in page.loads if links.is_elsewhere(load)] == []
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"""(url\(\s*['"]?|@import\s+['"]?)(https?:)?//""", text), style.name


def test_the_explorer_is_part_of_the_site(site):
    shipped = ROOT / "src" / "lastlayer" / "explore" / "explorer.html"
    assert (site / "explorer.html").read_bytes() == shipped.read_bytes()
    assert 'href="explorer.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_every_markdown_page_is_a_page_of_the_site(site):
    above = {"README.md": "overview", "CHANGELOG.md": "changelog", "CONTRIBUTING.md": "contributing"}
    docs = ROOT / "docs"
    expected = {str(path.relative_to(docs).with_suffix("")) for path in docs.rglob("*.md")} | set(
        above.values()
    )
    assert {name for name in expected if not (site / f"{name}.html").exists()} == set()
    for file, page in above.items():  # a page at the root is shown whole
        heads = re.findall(r"^## (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
        html = (site / f"{page}.html").read_text(encoding="utf-8")
        assert html.count("<h2>") == len(heads) > 0


@pytest.mark.parametrize("module", MODULES)
def test_the_reference_has_every_public_name(pages, module):
    public = {f"{module}.{name}" for name in importlib.import_module(module).__all__}
    anchors = set().union(*(page.anchors for path, page in pages.items() if path.parent.name == "api"))
    shown = {anchor for anchor in anchors if re.fullmatch(rf"{re.escape(module)}\.\w+", anchor)}
    assert shown == public


def test_the_reference_renders_docstrings(site):
    """Of one function: its formula, parameters, example and what to see also."""
    html = (site / "api" / "losses.html").read_text(encoding="utf-8")
    section = html[
        html.index('id="lastlayer.cross_entropy"') : html.index('id="lastlayer.cross_entropy_grad"')
    ]
    for part in ("<strong>label_smoothing</strong>", "float32", "Examples", "&gt;&gt;&gt; ", "See also"):
        assert part in section, part
    assert "Unpack" not in html  # of the overloads


def test_formulas_are_mathml(tmp_path):
    pytest.importorskip("sphinx")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'docs' / '_site')!r})\nextensions = ['mathml']\n"
    )
    (tmp_path / "index.rst").write_text("T\n=\n\n:math:`\\frac{a}{b}`\n\n.. math:: \\sum_j e^{z_j}\n")
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    with docutils_namespace():
        Sphinx(tmp_path, tmp_path, tmp_path / "out", tmp_path / "trees", "html", status=None).build()
    html = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "<mfrac>" in html
    assert 'display="block"' in html
    assert "mathjax" not in html.lower()
