"""Tests of the kernels in Triton's interpreter, in a process of their own: see `test_in_a_process`.

Those in files ``test_compiled*.py`` compile kernels, which the interpreter cannot: they run with all others.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from interpreter import INTERPRETED

from lastlayer import selection


def pytest_ignore_collect(collection_path):
    compiled = collection_path.name.startswith("test_compiled")
    return True if collection_path.suffix == ".py" and compiled is INTERPRETED else None


@pytest.fixture(autouse=True)
def by_kernels(request):
    """Compute CPU tensors by the kernels."""
    with selection.use("triton" if INTERPRETED else None):
        yield


@pytest.fixture
def called(monkeypatch):
    """The names of the functions of `calls` that a test calls; for `scaled` with its last argument."""
    import torch

    from lastlayer.backends.torch import choice
    from lastlayer.backends.triton import calls

    choice.way_of(torch.zeros(1))  # imports `calls`
    names = []

    def recorded(name):
        def run(*arguments):
            names.append((name, arguments[-1]) if name == "scaled" else name)
            return getattr(calls, name)(*arguments)

        return run

    monkeypatch.setattr(
        choice, "kernels", SimpleNamespace(**{name: recorded(name) for name in calls.__all__})
    )
    return names
