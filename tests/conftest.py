"""Shared by all tests: Hypothesis profiles, a browser, and how the linear head is computed."""

from __future__ import annotations

import os
from contextlib import ExitStack

import backends
import interpreter
import pytest
from browser import browser  # noqa: F401 - a fixture
from hypothesis import HealthCheck, settings

if interpreter.INTERPRETED:
    interpreter.mend()

settings.register_profile("quick", max_examples=40, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "thorough", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture
def loop():
    """A function that makes the rest of the test use the loop over tiles, for small problems too."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(backends.in_loop())


@pytest.fixture
def cut(loop):
    """A function that makes the rest of the test use tiles of given rows and classes, and keep some."""
    with ExitStack() as stack:

        def cut(rows, classes, kept=2, aliased=False):
            loop()
            stack.enter_context(backends.in_tiles(rows, classes, kept, aliased))

        yield cut
