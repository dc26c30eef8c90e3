"""Scores and targets that the tests of `evaluate` share, with the numbers of one tally of all rows."""

import numpy as np
import pytest
from evaluations import NAMES, N, V

import lastlayer as ll


@pytest.fixture(scope="session")
def data():
    r = np.random.default_rng(0)
    z, y = r.normal(size=(N, V)).astype(np.float32) * 3, r.integers(0, V, N)
    tally = ll.Tally(V)
    tally.update(z, y, rows=np.arange(N))
    return z, y, tally.result()


@pytest.fixture
def table(data):
    pa = pytest.importorskip("pyarrow")
    z, y, _ = data
    columns = {f"logit:{name}": z[:, j] for j, name in enumerate(NAMES)}
    return pa.table(columns | {"label": [NAMES[k] for k in y], "language": ["de", "en", "fr"] * 100})


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows."""
    from lastlayer.evaluation.readers import arrays, tables

    monkeypatch.setattr(arrays, "BLOCK_BYTES", 37 * V * 4)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 37 * V * 8)
