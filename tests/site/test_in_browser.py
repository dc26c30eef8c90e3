"""The site in Chromium, from files: nothing from elsewhere, no error, no overflow, search, accessibility."""

import pytest
from browser import Visit, serious_findings

PAGES = ("index.html", "api/losses.html", "worked/softmax-and-cross-entropy.html")


@pytest.fixture
def visit(browser, site):
    contexts = []

    def opened(name, scheme="light", width=1280, query=""):
        contexts.append(browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}))
        return Visit(contexts[-1], site / name, query)

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_window_and_ask_for_nothing_elsewhere(visit, scheme, width):
    for name in PAGES:
        seen = visit(name, scheme, width)
        assert [url for url in seen.asked if not url.startswith("file://")] == []
        assert [text for text in seen.said if not text.startswith("[PST]: ")] == []  # the theme's notes
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 30)")


def test_search_works_from_files(visit):
    seen = visit("search.html", query="?q=logsumexp")
    seen.page.wait_for_selector("#search-results li")
    found = seen.page.eval_on_selector_all("#search-results li a", "links => links.map((a) => a.href)")
    assert any("api/probabilities.html#lastlayer.logsumexp" in link for link in found)
    assert [text for text in seen.said if not text.startswith("[PST]: ")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme):
    found, passed = serious_findings(visit("index.html", scheme).page)
    assert found == []
    assert passed > 20
