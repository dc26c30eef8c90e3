"""Files that the command reads, and the command in this process."""

from __future__ import annotations

import numpy as np
import pytest
import wines
from commands import NAMES, N, V

from lastlayer.cli.main import main


@pytest.fixture(scope="session")
def data():
    r = np.random.default_rng(3)
    z = r.normal(size=(N, V)) * 2
    return z, (z + r.gumbel(size=z.shape)).argmax(axis=1)


@pytest.fixture(scope="session")
def folder(data, tmp_path_factory):
    """The same rows as .npy, .npz, shards, CSV and Parquet with names and gaps."""
    z, y = data
    folder = tmp_path_factory.mktemp("files")
    np.save(folder / "z.npy", z)
    np.save(folder / "y.npy", y)
    np.savez(folder / "all.npz", logits=z, targets=y)
    for i in range(4):
        part = slice(100 * i, 100 * (i + 1))
        order = np.argsort(y[part], kind="stable")  # each file lacks some class in most of its blocks
        np.savez(folder / f"shard{i}.npz", logits=z[part][order], targets=y[part][order])
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from pyarrow import csv

    table = {f"logit:{name}": z[:, k] for k, name in enumerate(NAMES)}
    table["label"] = [None if i % 50 == 0 else NAMES[k] for i, k in enumerate(y)]
    table["site"] = ["north" if i % 2 else "south" for i in range(N)]
    pq.write_table(pa.table(table), folder / "s.parquet", row_group_size=64)
    csv.write_csv(pa.table(table), folder / "s.csv")
    return folder


@pytest.fixture
def run(capsys, monkeypatch, folder):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(folder)

    def run(*argv):
        status = main([str(word) for word in argv])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def wine():
    """Few features of few rows, so that the accuracy is not 1; the rows to fit come first."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_wine
    from sklearn.preprocessing import StandardScaler

    x, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return StandardScaler().fit_transform(x)[order][:, 1:5], y[order]


@pytest.fixture
def files(wine, tmp_path, monkeypatch, run):  # after `run`, which goes to another folder
    """A folder to work in, with the wines in files of every form."""
    monkeypatch.chdir(tmp_path)
    wines.write(*wine, 100)
    return tmp_path
