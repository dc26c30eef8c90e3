"""A real browser for the tests of pages: Chromium of the system, driven by Playwright."""

import os
import shutil
from importlib import resources

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser():
    """Chromium, started once."""
    sync_api = pytest.importorskip("playwright.sync_api")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on this machine: `make browser` installs it")
        pytest.skip("no Chromium on this machine: `make browser` installs it")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox does not start for root, as whom containers run.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """A page that was opened, with all that it said and asked for."""

    def __init__(self, context, path, anchor=""):
        self.path, self.said, self.asked = path, [], []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri() + anchor)


def serious_findings(page, excluded=(), rules=None):
    """What axe-core finds of serious or critical impact, and how many of its rules (or of these) passed."""
    axe = resources.files("axe_playwright_python") / "axe.min.js"
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true })")
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate(
        """([excluded, rules]) => axe.run(
          { exclude: excluded.map((one) => [one]) }, rules ? { runOnly: rules } : {})""",
        [list(excluded), rules],
    )
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    return serious, len(found["passes"])


def luminance(page, selector):
    """Of the background, 0 to 1 (BT.601)."""
    color = page.eval_on_selector(selector, "e => getComputedStyle(e).backgroundColor")
    r, g, b = (int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])
    return (0.299 * r + 0.587 * g + 0.114 * b) / 255
