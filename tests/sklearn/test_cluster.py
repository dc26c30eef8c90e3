"""Fits on a cluster of two processes: the weights of one machine, also where a worker is killed."""

from __future__ import annotations

import os
import signal

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from training_cases import made

from lastlayer.sklearn import SoftmaxClassifier, solving


def test_a_cluster_gives_the_weights_of_one_machine(tmp_path, monkeypatch):
    """One cluster for all: it takes seconds to start."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        nobody_is_killed(client)
        a_worker_is_killed_between_two_passes(client, monkeypatch)
        a_worker_is_killed_while_it_computes(client, tmp_path)


def workers(client):
    """The process of each worker, when there are two."""
    client.wait_for_workers(2, timeout=60)
    return set(client.run(os.getpid).values())


def agree(model, other):
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, other.intercept_, rtol=0, atol=1e-6)


def nobody_is_killed(client):
    x, y = made(0, 3001, 12, 4)
    model = SoftmaxClassifier(tol=1e-8, random_state=0)
    parts = da.from_array(x, chunks=(500, -1))
    with dask.config.set(scheduler="threads"):
        here = SoftmaxClassifier(tol=1e-8, random_state=0).fit(parts, y)
    model.fit(parts, da.from_array(y, chunks=700))  # by the client
    agree(model, SoftmaxClassifier(tol=1e-8, random_state=0).fit(x, y))
    assert np.array_equal(model.coef_, here.coef_)
    newton = SoftmaxClassifier(C=0.01, tol=1e-8, solver="newton-cg")
    agree(newton.fit(da.from_array(x, chunks=(1600, -1)), y), SoftmaxClassifier(C=0.01, tol=1e-8).fit(x, y))
    assert np.array_equal(model.predict(parts).compute(), model.predict(x))


def a_worker_is_killed_between_two_passes(client, monkeypatch):
    x, y = made(1, 3000, 10, 3)
    before, killed = workers(client), []

    def fit(*args, report, **kwargs):
        def kill(step):
            if step.iteration == 2 and not killed:
                killed.append(min(before))
                os.kill(killed[0], signal.SIGKILL)

        return fit_as_ever(*args, report=kill, **kwargs)

    fit_as_ever = solving.fit
    monkeypatch.setattr(solving, "fit", fit)
    model = SoftmaxClassifier(tol=1e-8, random_state=0).fit(da.from_array(x, chunks=(1000, -1)), y)
    monkeypatch.undo()
    assert killed
    assert not set(killed) & workers(client)
    agree(model, SoftmaxClassifier(tol=1e-8, random_state=0).fit(x, y))


def a_worker_is_killed_while_it_computes(client, tmp_path):
    x, y = made(2, 3000, 10, 3)
    before, mark = workers(client), tmp_path / "killed"

    def load(block, block_info=None):
        if block_info and block_info[0]["chunk-location"] == (2, 0) and not mark.exists():
            mark.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    parts = da.from_array(x, chunks=(1000, -1)).map_blocks(load, meta=x[:0])
    model = SoftmaxClassifier(tol=1e-8, random_state=0).fit(parts, y)
    assert int(mark.read_text()) in before - workers(client)
    agree(model, SoftmaxClassifier(tol=1e-8, random_state=0).fit(x, y))
