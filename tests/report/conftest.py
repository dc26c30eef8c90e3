"""Reports of evaluations, and pages of them in the browser."""

import functools

import pages
import pytest
from browser import Visit


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
