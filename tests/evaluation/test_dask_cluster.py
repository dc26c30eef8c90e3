"""Evaluations on a cluster of two processes: the bytes of one machine, also where a worker is killed."""

from __future__ import annotations

import os
import signal

import dask.array as da
import numpy as np
import pytest
from assertions import raises
from distributed import Client, LocalCluster

import lastlayer as ll

N, V = 3001, 7


def test_a_cluster_gives_the_bytes_of_one_machine(tmp_path):
    """One cluster for all: it takes seconds to start."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        nobody_is_killed(client)
        errors_name_the_row_among_all(client)
        a_worker_is_killed_while_it_computes(client, tmp_path)
        a_worker_is_killed_after_its_first_partition(client)
        a_worker_is_killed_between_two_passes(client)


def made(seed):
    r = np.random.default_rng(seed)
    z, y = r.normal(size=(N, V)).astype(np.float32) * 3, r.integers(0, V, N)
    y[r.random(N) < 0.05] = -100
    return z, y


def bytes_of(scores, targets=None, **options):
    """The tally as bytes, and the findings."""
    found = []
    result = ll.evaluate(scores, targets, counted=found.append, **options)
    return found[0].to_bytes(), result.findings


def workers(client):
    """The process of each worker, when there are two."""
    client.wait_for_workers(2, timeout=60)
    return set(client.run(os.getpid).values())


def nobody_is_killed(client):
    z, y = made(0)
    z[2000, 3] = np.nan
    seen = []
    for parts in (1, 2, 7):
        x = da.from_array(z, chunks=(-(-N // parts), -1))
        assert bytes_of(x, y, progress=lambda *step: seen.append(step)) == bytes_of(z, y)
    assert [step for step in seen if step[0] == N] == [(N, N, z.nbytes)] * 3
    assert len(seen) == 1 + 2 + 7


def errors_name_the_row_among_all(client):
    z, y = made(1)
    y[[2345, 2900]] = V + 2
    with raises(
        ll.TargetError,
        "evaluate: targets[2345] is 9; expected a class in [0, 7) or ignore_index=-100; "
        "unknown='wrong' counts such rows as wrong",
    ):
        ll.evaluate(da.from_array(z, chunks=(400, -1)), y)

    def broken(block):
        raise RuntimeError("this file is gone")

    with pytest.raises(RuntimeError, match="this file is gone"):
        ll.evaluate(da.from_array(z, chunks=(400, -1)).map_blocks(broken, meta=z[:0]), y)


def a_worker_is_killed_while_it_computes(client, tmp_path):
    z, y = made(2)
    before, mark = workers(client), tmp_path / "killed"

    def load(block, block_info=None):
        if block_info and block_info[0]["chunk-location"] == (5, 0) and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    x = da.from_array(z, chunks=(429, -1)).map_blocks(load, meta=z[:0])
    assert bytes_of(x, y) == bytes_of(z, y)
    assert int(mark.read_text()) in before - workers(client)


def a_worker_is_killed_after_its_first_partition(client):
    """What it has counted is lost with it, and counted again."""
    z, y = made(3)
    before, killed = workers(client), []

    def kill(rows, total, n_bytes):
        if not killed:
            killed.append(min(before))
            os.kill(killed[0], signal.SIGKILL)

    assert bytes_of(da.from_array(z, chunks=(429, -1)), y, progress=kill) == bytes_of(z, y)
    assert not set(killed) & workers(client)


def a_worker_is_killed_between_two_passes(client):
    """The scores that it has kept are lost with it."""
    z, _ = made(4)
    y = (z + 5 * np.random.default_rng(5).gumbel(size=z.shape)).argmax(axis=1)
    before, killed, passes = workers(client), [], []

    def kill(rows, total, n_bytes):
        passes.append(rows == N)
        if sum(passes) == 2 and not killed:
            killed.append(min(before))
            os.kill(killed[0], signal.SIGKILL)

    found = ll.fit_temperature(da.from_array(z, chunks=(429, -1)), y, progress=kill)
    assert killed
    assert not set(killed) & workers(client)
    assert found == ll.fit_temperature(z, y)
    assert 1 < found.value < 1000
