"""Evaluations of files through a client: the bytes and findings of one process, and what each task reads."""

from __future__ import annotations

import time

import dask.array as da
import numpy as np
import pyarrow as pa
import pytest
from assertions import raises
from distributed import Client, LocalCluster
from pyarrow import csv, parquet

import lastlayer as ll
from lastlayer.errors import DtypeError, OptionError
from lastlayer.evaluation.partitions import files as divided

N, NAMES = 1001, ["ant", "bee", "cat", "dog", "emu"]


@pytest.fixture(scope="module")
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as found:
        yield found


@pytest.fixture(scope="module")
def made():
    r = np.random.default_rng(0)
    z = r.normal(size=(N, 5)).astype(np.float32) * 3
    y = (z + 5 * r.gumbel(size=z.shape)).argmax(axis=1)
    return z, y, r.integers(1, 9, N) / 7


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    """The same rows in one file and in three, of each form."""
    found = tmp_path_factory.mktemp("scores")
    z, y, w = made
    table = pa.table({f"logit:{name}": z[:, j] for j, name in enumerate(NAMES)})
    table = table.append_column("label", pa.array(np.array(NAMES)[y])).append_column("w", pa.array(w))
    pieces = {"": slice(0, N), **{str(i): slice(400 * i, 400 * i + 400) for i in range(3)}}
    for name, part in pieces.items():
        np.save(found / f"z{name}.npy", z[part])
        np.save(found / f"y{name}.npy", y[part])
        np.savez(found / f"both{name}.npz", logits=z[part], labels=y[part], w=w[part])
        some = table.slice(part.start, part.stop - part.start)
        parquet.write_table(some, found / f"t{name}.parquet", row_group_size=70)
        csv.write_csv(some, found / f"t{name}.csv")
    return found


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch):
    monkeypatch.setattr(divided, "_LEAST", 1000)
    monkeypatch.setattr(divided, "_MOST", 3000)


def seen(scores, targets=None, **options):
    found = []
    result = ll.evaluate(scores, targets, counted=found.append, **options)
    return found[0].to_bytes(), result.findings


@pytest.mark.parametrize(
    ("scores", "targets", "weight", "partitions"),
    [
        ("z.npy", "y.npy", None, 9),
        ("z.npy", "array", "array", 9),
        ("z?.npy", "y?.npy", None, 10),
        ("z?.npy", "y.npy", None, 10),
        ("z?.npy", "array", "array", 10),
        ("z?.npy", "t.parquet", None, 10),
        ("both.npz", None, "w", 1),
        ("both?.npz", None, "w", 3),
        ("t.parquet", None, "w", 8),
        ("t?.parquet", None, "w", 8),
        ("t?.parquet", "y.npy", "array", 8),
        ("t?.parquet", "t.parquet", "array", 8),
        ("t.csv", None, "w", 1),
        ("t?.csv", None, "w", 3),
        ("t?.csv", "array", "array", 1),  # of which rows: known after the files are read
    ],
)
def test_files_give_the_bytes_of_one_process(
    client, made, folder, scores, targets, weight, partitions, monkeypatch
):
    monkeypatch.chdir(folder)
    _, y, w = made
    targets = y if targets == "array" else targets
    options = {} if weight is None else {"sample_weight": w if weight == "array" else weight}
    if "parquet" in f"{scores}{targets}" or "csv" in scores:
        options["labels"] = NAMES if targets is None or "t.parquet" in str(targets) else range(5)
    steps = []
    found = seen(scores, targets, client=client, progress=lambda *step: steps.append(step), **options)
    assert found == seen(scores, targets, **options)
    assert len(steps) == partitions
    assert steps[-1][0] == N


@pytest.mark.parametrize("targets", ["y.npy", "array"])
def test_temperatures(client, made, folder, targets):
    z, y, w = made
    targets, weight = (folder / targets, None) if targets == "y.npy" else (y, w)
    expected = ll.fit_temperature(z, y, sample_weight=weight)
    assert 1 < expected.value < 1000
    steps, options = [], {"client": client, "progress": lambda *step: steps.append(step)}
    for scores in (folder / "z.npy", f"{folder}/z?.npy"):
        assert ll.fit_temperature(scores, targets, sample_weight=weight, **options) == expected
    assert len(steps) == (9 + 10) * (expected.steps + 2)


def test_types_are_those_of_the_first_file(client, made, tmp_path):
    """A file of doubles after one of floats is read as floats, as in one process."""
    z, y, _ = made
    for i, kind in enumerate((np.float32, np.float64)):
        part = slice(500 * i, 500 * i + 500)
        columns = {f"logit:{k}": z[part, k].astype(kind) / 3 for k in range(5)}
        parquet.write_table(pa.table({**columns, "label": y[part]}), tmp_path / f"t{i}.parquet")
    assert seen(tmp_path, client=client) == seen(tmp_path)


def test_errors_name_the_row_among_all(client, made, folder):
    z, y, _ = made
    y = y.copy()
    y[[900, 950]] = 7
    with raises(
        ll.TargetError,
        "evaluate: targets[900] is 7; expected a class in [0, 5) or ignore_index=-100; "
        "unknown='wrong' counts such rows as wrong",
    ):
        ll.evaluate(folder / "z.npy", y, client=client)
    z = z.copy()
    z[777, 2] = np.nan
    np.save(folder / "odd.npy", z)
    with raises(OptionError, "fit_temperature: scores[777] is not finite; expected finite logits"):
        ll.fit_temperature(folder / "odd.npy", folder / "y.npy", client=client)


def test_errors_of_the_call(client, made, folder):
    z, y, _ = made
    with raises(
        DtypeError,
        "evaluate: scores is a ndarray; expected data of Dask or a path with client=; "
        "use dask.array.from_array or dask.dataframe.from_pandas",
    ):
        ll.evaluate(z, y, client=client)
    with raises(DtypeError, "evaluate: client is a str; expected a Client of dask.distributed"):
        ll.evaluate(folder / "z.npy", y, client="tcp://127.0.0.1:8786")


def test_interrupts_cancel_the_tasks(client):
    z, y = np.zeros((200, 3)), np.zeros(200, int)
    begun = []

    def load(block):
        begun.append(len(block))
        time.sleep(0.02)
        return block

    def interrupt(rows, total, n_bytes):
        raise KeyboardInterrupt

    x = da.from_array(z, chunks=(2, -1)).map_blocks(load, meta=z[:0])
    with pytest.raises(KeyboardInterrupt):
        ll.evaluate(x, y, client=client, progress=interrupt)
    while any(client.processing().values()):
        time.sleep(0.02)
    assert len(begun) < 50
    assert seen(da.from_array(z, chunks=(50, -1)), y, client=client) == seen(z, y)
