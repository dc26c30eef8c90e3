"""A real browser for the tests of pages: Chromium of the system, driven by Playwright."""

import functools
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
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.open(path, anchor)

    def open(self, path, anchor=""):
        """Another page, or the same one again, in the same window."""
        self.path, self.said, self.asked = path, [], []
        self.page.goto(path.as_uri() + anchor)


@functools.cache
def axe():
    """The source of axe-core."""
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


# Contrast depends on these computed styles alone, unless one element covers another.
MARK_LOOKS = r"""(known) => {
  const grounds = new Map([[null, ""]]);
  const ground = (e) => {
    if (!grounds.has(e)) {
      const { backgroundColor, backgroundImage, opacity } = getComputedStyle(e);
      grounds.set(e, [backgroundColor, backgroundImage, opacity, ground(e.parentElement)].join());
    }
    return grounds.get(e);
  };
  const marked = new Map(known.map((look) => [look, 3]));
  for (const e of document.querySelectorAll("body, body *")) {
    e.removeAttribute("data-look");
    if (!e.checkVisibility()) continue;
    if (![...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && /\w\w/.test(n.data))) continue;
    const { color, fontSize, fontWeight, textShadow, visibility } = getComputedStyle(e);
    const look = [color, fontSize, fontWeight, textShadow, visibility, ground(e)].join();
    const count = marked.get(look) ?? 0;
    if (count < 3) e.setAttribute("data-look", "");
    marked.set(look, count + 1);
  }
  axe.configure({ rules: [{ id: "color-contrast", selector: "[data-look]" }] });
  return [...marked.keys()];
}"""


def serious_findings(page, excluded=(), rules=None, looks=None):
    """What axe-core finds of serious or critical impact, and how many of its rules (or of these) passed.

    With ``looks``, a set that the calls for many pages share, the contrast is measured at three of the
    elements with the same colors and fonts, and not again on later pages: this takes half the time.
    """
    page.evaluate("document.querySelectorAll('details').forEach((e) => { e.open = true })")
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe())
    if looks is not None:
        looks.update(page.evaluate(MARK_LOOKS, list(looks)))
    found = page.evaluate(
        """async ([excluded, rules]) => {
          const { violations, passes } = await axe.run({ exclude: excluded.map((one) => [one]) },
            { preload: false, resultTypes: ["violations"], ...(rules && { runOnly: rules }) });
          return { violations, passes: passes.length };
        }""",
        [list(excluded), rules],
    )
    serious = [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    return serious, found["passes"]


def luminance(page, selector):
    """Of the background, 0 to 1 (BT.601)."""
    color = page.eval_on_selector(selector, "e => getComputedStyle(e).backgroundColor")
    r, g, b = (int(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])
    return (0.299 * r + 0.587 * g + 0.114 * b) / 255
