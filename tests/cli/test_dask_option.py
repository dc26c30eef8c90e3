"""`--dask`: the command with a cluster."""

from __future__ import annotations

import json
import time

import pytest
from commands import process
from distributed import Client, LocalCluster


@pytest.fixture(scope="module")
def address():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(protocol="tcp", **options) as cluster, Client(cluster):
        yield cluster.scheduler_address


def numbers(text):
    return {name: value for name, value in json.loads(text).items() if name != "run"}


def test_evaluate_prints_what_it_prints_without(run, address):
    for words in (["s.parquet", "--group", "site"], ["z.npy", "y.npy"], ["shard*.npz"]):
        status, here, _ = run("evaluate", *words)
        assert status == 0
        assert run("evaluate", *words, "--dask", address) == (0, here, "")
    _, here, _ = run("evaluate", "s.csv", "--json", "-")
    _, there, _ = run("evaluate", "s.csv", "--json", "-", "--dask", address)
    assert numbers(there) == numbers(here)


def test_calibrate(run, address, tmp_path):
    for name, more in (("here", []), ("there", ["--dask", address])):
        assert run("calibrate", "shard*.npz", "--out", tmp_path / name, *more)[0] == 0
    assert (tmp_path / "here").read_text() == (tmp_path / "there").read_text()


def test_processes_of_this_machine(run, folder):
    done = process(folder, "evaluate", "z.npy", "y.npy", "--dask", "local")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("evaluate", "z.npy", "y.npy")[1]


def test_a_scheduler_that_does_not_answer(run, monkeypatch):
    from lastlayer.cli import cluster

    monkeypatch.setattr(cluster, "_WAIT", 0.5)
    rule = "expected the address of a scheduler, such as tcp://host:8786, or local"
    for address, why in (
        ("tcp://127.0.0.1:9", "nobody answers in 0.5 s"),
        ("here", "missing port number in address 'here'"),
        ("ftp://127.0.0.1:9", "unknown address scheme 'ftp'"),
    ):
        begin = time.monotonic()
        status, out, err = run("evaluate", "z.npy", "y.npy", "--dask", address)
        assert (status, out) == (2, "")
        assert f"lastlayer: evaluate: --dask is '{address}'; {rule} ({why}" in err
        assert err.count("\n") == 1
        assert time.monotonic() - begin < 5


def test_no_checkpoint(run, address, tmp_path):
    status, _, err = run("evaluate", "z.npy", "y.npy", "--dask", address, "--checkpoint", tmp_path / "c.json")
    assert status == 2
    assert "expected None with Dask" in err
