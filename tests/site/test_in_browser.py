"""The site in Chromium, from files and served: nothing from elsewhere, no errors, search, accessibility."""

import functools
import http.server
import threading

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


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def address(site):
    """Of the site on a server."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_served_site_asks_for_nothing_elsewhere(browser, address):
    """Search shows what each page says, which it reads from the same server."""
    context = browser.new_context()
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/index.html")
    page.goto(f"{address}/search.html?q=perplexity")
    page.wait_for_selector("#search-results li p.context")
    context.close()
    assert [url for url in asked if not url.startswith(address)] == []
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme):
    found, passed = serious_findings(visit("index.html", scheme).page)
    assert found == []
    assert passed > 20


@pytest.mark.parametrize(
    ("name", "width"), [("tutorial/04-gradient.html", 1280), ("notebooks/numpy.html", 390)]
)
def test_axe_finds_nothing_serious_in_the_tutorial(visit, name, width):
    found, passed = serious_findings(visit(name, "dark", width).page)
    assert found == []
    assert passed > 20
