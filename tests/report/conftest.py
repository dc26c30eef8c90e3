"""A real browser for the tests of pages, Chromium of the system driven by Playwright, and pages to open."""

import functools
import os
import shutil

import pages
import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def browser():
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


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The evaluation of a case, and the file of its report; each is made once."""
    folder = tmp_path_factory.mktemp("reports")

    @functools.cache
    def made(case):
        result = pages.CASES[case]()
        path = folder / f"{case}.html"
        result.save_html(path, **pages.BESIDE.get(case, dict)())
        return result, path

    return made


class Visit:
    """A page that was opened, with all that it said and asked for."""

    def __init__(self, context, path):
        self.path, self.said, self.asked = path, [], []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.goto(path.as_uri())


@pytest.fixture
def visit(browser, report):
    """Opens the report of a case: visit(case, scheme=, width=)."""
    contexts = []

    def opened(case, scheme="light", width=1280, **options):
        view = {"width": width, "height": 900}
        contexts.append(browser.new_context(color_scheme=scheme, viewport=view, **options))
        return Visit(contexts[-1], report(case)[1])

    yield opened
    for context in contexts:
        context.close()
