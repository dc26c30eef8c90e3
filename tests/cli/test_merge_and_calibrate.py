"""`lastlayer merge` and `lastlayer calibrate`."""

from __future__ import annotations

import json

import numpy as np
import pytest
from commands import N, process

import lastlayer as ll


def test_merged_tallies_are_the_tally_of_all_rows(run, tmp_path):
    parts = []
    for i in range(4):
        parts.append(tmp_path / f"{i}.tally")
        assert run("evaluate", f"shard{i}.npz", "--tally", parts[-1])[0] == 0
    status, out, err = run("merge", *parts, "--json", tmp_path / "r.json", "--tally", tmp_path / "all.tally")
    assert (status, err) == (0, "")
    assert out.startswith("400 rows, logits\n")
    _, whole, _ = run("evaluate", "all.npz", "--json", "-")
    merged, whole = json.loads((tmp_path / "r.json").read_text()), json.loads(whole)
    for name in ("log_loss", "accuracy", "ece", "confusion", "by_class"):
        assert merged[name] == whole[name]
    assert ll.Tally.from_bytes((tmp_path / "all.tally").read_bytes()).n == N


def test_tallies_that_do_not_add(run, tmp_path):
    for name, more in (("a", []), ("b", ["--bins", "10"])):
        assert run("evaluate", "all.npz", "--tally", tmp_path / name, *more)[0] == 0
    for words, message in (
        (["a", "b"], "b': Tally: other is of bins=10; expected bins=15"),
        (["a", "a"], "a' twice; expected each file once"),
        (["a", "none"], "none'; expected a saved tally ([Errno 2]"),
    ):
        status, out, err = run("merge", *(tmp_path / word for word in words))
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1
    for text in ("", "[]", "{}", '{"schema": "lastlayer.tally/1"}'):
        (tmp_path / "bad").write_text(text)
        status, _, err = run("merge", tmp_path / "bad")
        assert status == 2
        assert "expected a saved tally (" in err


def test_calibrate_as_a_process(folder, data, tmp_path):
    from scipy.optimize import minimize_scalar

    z, y = data
    np.save(tmp_path / "hot.npy", 3 * z)
    done = process(folder, "calibrate", tmp_path / "hot.npy", "y.npy", "--out", tmp_path / "t.json")
    assert (done.returncode, done.stderr) == (0, "")

    def loss(t):
        x = 3 * z / t
        return (np.log(np.exp(x).sum(axis=1)) - x[np.arange(N), y]).mean()

    best = minimize_scalar(loss, bounds=(0.1, 10), options={"xatol": 1e-10})
    saved = ll.Temperature.load(tmp_path / "t.json")
    assert saved.value == pytest.approx(best.x, rel=1e-6)
    assert f"{loss(1):.6f}  {best.fun:.6f}" in done.stdout
    after = process(
        folder, "evaluate", tmp_path / "hot.npy", "y.npy", "--temperature", tmp_path / "t.json", "--json", "-"
    )
    assert json.loads(after.stdout)["log_loss"]["value"] == pytest.approx(best.fun, rel=1e-12)


def test_a_temperature_without_a_minimum_is_a_warning(run, tmp_path):
    np.savez(tmp_path / "right.npz", logits=np.eye(3), targets=[0, 1, 2])
    status, out, err = run("calibrate", tmp_path / "right.npz")
    assert status == 0
    assert out.startswith("T = 0.001")
    assert err.startswith("lastlayer: warning: ")
