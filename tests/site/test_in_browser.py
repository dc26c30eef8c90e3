"""The site in Chromium, from files and served: nothing from elsewhere, no errors, search, accessibility."""

import functools
import http.server
import itertools
import threading

import pytest
from browser import Visit, serious_findings

FOLDERS = (".", "api", "how-to", "notebooks", "tutorial", "worked")
KINDS = (
    "index.html",
    "api/losses.html",
    "notebooks/numpy.html",
    "tutorial/04-gradient.html",
    "worked/softmax-and-cross-entropy.html",
)
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 30)"}


def pages(site):
    """The pages of the site by folder. The explorer, a page of its own, has its own tests."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        folder = path.parent.relative_to(site).as_posix()
        if not folder.startswith("_static") and path.name != "explorer.html":
            found.setdefault(folder, []).append(path)
    return found


@pytest.fixture
def visit(browser, site):
    contexts = []

    def opened(name, scheme="light", width=1280, query=""):
        contexts.append(browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}))
        return Visit(contexts[-1], site / name, query)

    yield opened
    for context in contexts:
        context.close()


def resize(page, width):
    page.set_viewport_size({"width": width, "height": 900})


def faults(seen, scheme, width):
    """What the page of a visit asked for elsewhere and said, and whether it has the background and fits."""
    found = [url for url in seen.asked if not url.startswith("file://")]
    found += [text for text in seen.said if not text.startswith("[PST]: ")]  # the theme's notes
    if (shown := seen.page.evaluate("document.documentElement.scrollWidth")) > width:
        found.append(f"{shown} pixels wide in a window of {width}")
    background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found + [background] * (background != BACKGROUND[scheme])


def barriers(page, looks=None):
    """What axe-core finds, and whether it looked at all."""
    serious, passed = serious_findings(page, looks=looks)
    return serious + [f"only {passed} rules passed"] * (passed <= 20)


def test_the_folders_are_those_of_the_site(site):
    assert sorted(pages(site)) == sorted(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_pages_fit_the_window_ask_for_nothing_elsewhere_and_are_accessible(visit, site, folder):
    """Every page of a folder, light: as wide as a desktop and as a telephone."""
    seen, found, looks = visit("index.html"), {}, set()
    for path in pages(site)[folder]:
        resize(seen.page, 390)
        seen.open(path)
        found[path.name] = faults(seen, "light", 390) + barriers(seen.page, looks)
        resize(seen.page, 1280)
        found[path.name] += faults(seen, "light", 1280)
    assert {name: one for name, one in found.items() if one} == {}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390), ("dark", 1280)])
def test_a_page_of_each_kind_is_accessible_dark_and_with_the_side_bars(visit, site, scheme, width):
    seen, found, looks = visit("index.html", scheme, width), {}, set()
    for name in KINDS:
        seen.open(site / name)
        found[name] = faults(seen, scheme, width) + barriers(seen.page, looks)
    assert {name: one for name, one in found.items() if one} == {}


def test_what_is_not_accessible_is_found(browser, tmp_path):
    """Contrast too, where the text is the fourth of its kind but the first with its background."""
    (tmp_path / "page.html").write_text(
        "<html lang='en'><title>t</title><main><h1>Head</h1><p>one</p><p>two</p><p>three</p>"
        "<div style='background: #333'><p>four</p></div><img src='x.png'></main></html>"
    )
    context, looks = browser.new_context(), set()
    seen = Visit(context, tmp_path / "page.html")
    found, _ = serious_findings(seen.page, looks=looks)
    assert sorted(name for name, _ in found) == ["color-contrast", "image-alt"]
    seen.open(tmp_path / "page.html")
    again, _ = serious_findings(seen.page, looks=looks)
    assert [name for name, _ in again] == ["image-alt"]
    context.close()


@pytest.mark.soak
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_element_of_every_page_is_accessible(visit, site, scheme, width):
    seen, found = visit("index.html", scheme, width), {}
    for path in itertools.chain(*pages(site).values()):
        seen.open(path)
        found[str(path.relative_to(site))] = faults(seen, scheme, width) + barriers(seen.page)
    assert {name: one for name, one in found.items() if one} == {}


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
