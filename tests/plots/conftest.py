"""Pictures in the tests: drawn without a screen, and closed after each test."""

import pytest


@pytest.fixture(autouse=True)
def closed_figures():
    """Close what a test has drawn."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
