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


@pytest.fixture
def scores_files(data, tmp_path):
    """The scores in three files of arrays, in one Parquet file and in three."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    z, _, _ = data
    for i in range(3):
        part = z[i * 100 : i * 100 + 100]
        np.save(tmp_path / f"z{i}.npy", part)
        parquet.write_table(
            pa.table({f"logit:{k}": part[:, k] for k in range(V)}), tmp_path / f"z{i}.parquet"
        )
    return [str(tmp_path / "z*.npy"), str(tmp_path / "z*.parquet")]
