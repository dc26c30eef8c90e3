"""The explorer's page in the browser."""

import pytest
from browser import Visit

from lastlayer.explore import PAGE


@pytest.fixture
def visit(browser):
    """Opens the page in a state: visit("#view=row&z=1,2", scheme=, width=)."""
    contexts = []

    def opened(anchor="", scheme="light", width=1280, **options):
        view = {"width": width, "height": 900}
        contexts.append(browser.new_context(color_scheme=scheme, viewport=view, **options))
        return Visit(contexts[-1], PAGE, anchor)

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def shared(browser):
    """One page for tests that only call its functions."""
    context = browser.new_context()
    yield Visit(context, PAGE).page
    context.close()
