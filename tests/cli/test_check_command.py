"""`lastlayer check`: it finds in files what `check` finds in arrays."""

from __future__ import annotations

import numpy as np
import pytest
from commands import N, V

import lastlayer as ll


@pytest.mark.parametrize("words", [["all.npz"], ["shard*.npz"], ["s.csv"], ["s.parquet"], ["z.npy", "y.npy"]])
def test_check_sees_all_rows_as_one(run, words):
    """Each block of the shards lacks classes; all of them together do not."""
    assert run("check", *words) == (0, "no findings\n", "")


def test_check_reads_what_evaluate_reads(run, data, tmp_path):
    z, y = data
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    for i in range(2):
        part = slice(200 * i, 200 * (i + 1))
        np.savez(tmp_path / f"p{i}.npz", scores=p[part], targets=y[part] + (i == 1) * 5)
    status, out, _ = run("check", tmp_path / "p*.npz")
    assert status == 1
    expected = ll.check(p, np.where(np.arange(N) < 200, y, y + 5))
    assert out == f"{expected}\n"
    assert len(expected) > 1
    np.savez(tmp_path / "named.npz", logits=np.eye(3), targets=np.array(["a", "b", "zebra"]))
    status, out, _ = run("check", tmp_path / "named.npz", "--labels", "a,b,c")
    assert status == 1
    expected = ll.check(np.eye(3), ["a", "b", "zebra"], labels=["a", "b", "c"])
    assert out == f"{expected}\n"
    assert "targets[2] is 'zebra', which is none of labels ('a', 'b', 'c')" in out


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_check_binary_scores(run, tmp_path, kind):
    x = np.linspace(0.1, 0.9, 60) if kind == "probabilities" else np.linspace(-3, 3, 60)
    y = (np.arange(60) + np.arange(60) % 2 * 20) // 40
    np.savez(tmp_path / "b.npz", scores=x[:, None], targets=y)
    assert run("check", tmp_path / "b.npz", "--binary", "--kind", kind) == (0, "no findings\n", "")
    np.savez(tmp_path / "b.npz", scores=np.where(x == x[7], np.nan, x), targets=np.where(y == 1, 2, y))
    status, out, _ = run("check", tmp_path / "b.npz", "--binary", "--kind", kind)
    assert status == 1
    assert "NaN in 1 of 60 rows, first at scores[7, 0]" in out
    assert "targets[" in out


@pytest.mark.parametrize("form", ["csv", "parquet", "npy"])
def test_check_takes_targets_with_gaps(run, data, tmp_path, form):
    """Integers with gaps are floats in a table."""
    from pyarrow import csv, parquet, table

    y = np.where(np.arange(N) % 7 == 0, np.nan, data[1])
    path = tmp_path / f"y.{form}"
    if form == "npy":
        np.save(path, y)
    else:
        column = [None if v != v else int(v) for v in y]
        {"csv": csv.write_csv, "parquet": parquet.write_table}[form](table({"label": column}), path)
    assert run("check", "z.npy", path) == (0, "no findings\n", "")
    names = ",".join(map(str, range(V)))
    assert run("check", "z.npy", path, "--labels", names) == (0, "no findings\n", "")


def test_check_says_what_the_file_says(run, tmp_path, data):
    z, y = data
    np.savez(tmp_path / "p.npz", probabilities=ll.softmax(z), targets=y)
    status, out, _ = run("check", tmp_path / "p.npz")
    assert status == 1
    assert out.startswith("error: the data says that its scores are probabilities. Pass --kind probabilities")


@pytest.mark.parametrize("size", [7, 64, 10_000])
def test_a_source_as_arrays(monkeypatch, data, folder, size):
    from lastlayer.evaluation.readers import arrays, in_order
    from lastlayer.evaluation.readers.paths import Request, source_of

    z, y = data
    monkeypatch.setattr(arrays, "BLOCK_BYTES", size * V * 8)
    monkeypatch.setattr(in_order, "BLOCK_SIZE", 50 * V)
    source = source_of(Request(folder / "all.npz", None, None, None, -1, False, {}))
    scores, targets = in_order.in_order(source, lambda block: block.scores, lambda block: block.targets)
    assert (scores.shape, targets.shape) == ((N, V), (N,))
    passes = []
    monkeypatch.setattr(scores._pass, "_begin", lambda: passes.append(1))
    for start in range(0, N, 50):
        part = slice(start, start + 50)
        assert (scores[part, slice(None)] == z[part]).all()
        assert (targets[part] == y[part]).all()
    assert not passes  # one pass serves both
    monkeypatch.undo()
    monkeypatch.setattr(arrays, "BLOCK_BYTES", size * V * 8)
    assert (scores[slice(0, 8), slice(None)] == z[:8]).all()
    assert (scores[slice(None), slice(0, 2)] == z[:, :2]).all()
