"""`lastlayer evaluate`: its numbers, its tables and its files."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
from commands import NAMES, N, V, process

import lastlayer as ll


def test_evaluate_as_a_process(folder, data, tmp_path):
    done = process(folder, "evaluate", "z.npy", "y.npy", "--json", tmp_path / "r.json", "--top-k", "1,2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    z, y = data
    right = (z.argmax(axis=1) == y).mean()
    loss = (np.log(np.exp(z).sum(axis=1)) - z[np.arange(N), y]).mean()
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["accuracy"]["value"] == pytest.approx(right, rel=1e-15)
    assert result["log_loss"]["value"] == pytest.approx(loss, rel=1e-14)
    assert re.search(rf"^ accuracy +{right:.6f} ", done.stdout, re.MULTILINE)
    assert re.search(rf"^ log_loss +{loss:.6f} ", done.stdout, re.MULTILINE)
    assert "top_2_accuracy" in done.stdout


def test_evaluate_a_table_with_names_gaps_and_groups(run, data, tmp_path):
    z, y = data
    status, out, err = run("evaluate", "s.parquet", "--group", "site", "--json", tmp_path / "r.json")
    assert (status, err) == (0, "")
    assert out.startswith("392 rows, 8 ignored, logits\n")
    kept = np.arange(N) % 50 != 0
    for site, odd in (("north", 1), ("south", 0)):
        rows = kept & (np.arange(N) % 2 == odd)
        right = (z[rows].argmax(axis=1) == y[rows]).mean()
        assert re.search(rf"^ {site} .* {right:.6f} ", out, re.MULTILINE)
    assert re.search(rf"^ emu .* {np.count_nonzero(y[kept] == 4)}$", out, re.MULTILINE)
    assert json.loads((tmp_path / "r.json").read_text())["labels"] == NAMES


def test_json_to_the_standard_output_is_json_alone(run):
    status, out, err = run("evaluate", "all.npz", "--json", "-")
    assert (status, err) == (0, "")
    assert json.loads(out)["n"] == N


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_predictions(run, data, tmp_path, form):
    from pyarrow import csv, parquet

    z, y = data
    path = tmp_path / f"rows.{form}"
    status, _, err = run("evaluate", "s.csv", "--temperature", "2", "--predictions", path)
    assert (status, err) == (0, "")
    read = {"parquet": parquet.read_table, "csv": csv.read_csv}[form](path).to_pydict()
    assert list(read) == ["row", "label", "predicted", "confidence", "nll", "rank"]
    p = np.exp(z / 2) / np.exp(z / 2).sum(axis=1, keepdims=True)
    assert read["row"] == list(range(N))
    none = "" if form == "csv" else None
    assert read["label"] == [none if i % 50 == 0 else NAMES[k] for i, k in enumerate(y)]
    assert read["predicted"] == [NAMES[k] for k in z.argmax(axis=1)]
    np.testing.assert_allclose(read["confidence"], p.max(axis=1), rtol=1e-14)
    kept = np.flatnonzero(np.arange(N) % 50)
    assert all(read[name][i] is None for name in ("nll", "rank") for i in range(0, N, 50))
    np.testing.assert_allclose(
        np.array(read["nll"], float)[kept], -np.log(p[kept, y[kept]]), rtol=1e-12, atol=1e-15
    )
    rank = (z > z[np.arange(N), y][:, None]).sum(axis=1)
    assert [read["rank"][i] for i in kept] == rank[kept].tolist()
    assert os.listdir(tmp_path) == [path.name]


def test_predictions_of_odd_rows(run, tmp_path):
    from pyarrow import parquet

    z = np.array([[1.0, 0.0], [np.nan, 0.0], [0.0, 1.0], [0.0, 1.0]])
    np.savez(tmp_path / "odd.npz", logits=z, targets=[0, 1, -100, 7])
    path = tmp_path / "rows.parquet"
    status, *_ = run("evaluate", tmp_path / "odd.npz", "--unknown", "wrong", "--predictions", path)
    assert status == 0
    read = parquet.read_table(path).to_pydict()
    assert read["label"] == [0, 1, None, 7]
    assert read["predicted"] == [0, None, 1, 1]
    assert read["rank"] == [0, None, None, None]
    assert [v if v is None else v == v for v in read["nll"]] == [True, False, None, None]
    assert read["confidence"][1] is None


def test_predictions_are_never_written_by_halves(run, tmp_path, folder):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"good")
    np.savez(tmp_path / "bad.npz", logits=np.zeros((3, 2)), targets=[0, 1, 9])
    assert run("evaluate", tmp_path / "bad.npz", "--predictions", path)[0] == 2
    assert path.read_bytes() == b"good"
    from lastlayer.evaluation.options import TallyOptions
    from lastlayer.evaluation.predictions import write_predictions

    with pytest.raises(ll.TargetError):
        write_predictions(path, tmp_path / "bad.npz", options=TallyOptions(2))
    assert path.read_bytes() == b"good"
    assert sorted(os.listdir(tmp_path)) == ["bad.npz", "rows.parquet"]


def test_files_may_be_called_like_numbers(run, tmp_path, monkeypatch):
    assert run("evaluate", "all.npz", "--tally", tmp_path / "1")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert run("merge", "1", "--tally", "1e5")[0] == 0
    assert sorted(os.listdir()) == ["1", "1e5"]


def test_binary_scores(run, tmp_path):
    np.savez(tmp_path / "b.npz", scores=np.array([0.1, 0.4, 0.35, 0.8]), targets=[0, 0, 1, 1])
    status, out, _ = run("evaluate", tmp_path / "b.npz", "--binary", "--kind", "probabilities")
    assert status == 0
    assert re.search(r"^ roc_auc +0\.750000", out, re.MULTILINE)  # three of four pairs are in order


def test_labels_in_a_file(run, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    (tmp_path / "names.json").write_text(json.dumps(NAMES))
    np.savez(tmp_path / "named.npz", logits=np.eye(V), targets=np.array(NAMES))
    for given in (tmp_path / "names.txt", tmp_path / "names.json", ",".join(NAMES)):
        status, out, err = run("evaluate", tmp_path / "named.npz", "--labels", given, "--json", "-")
        assert (status, err) == (0, "")
        assert json.loads(out)["accuracy"]["value"] == 1
    (tmp_path / "names.json").write_text("{")
    status, _, err = run("evaluate", tmp_path / "named.npz", "--labels", tmp_path / "names.json")
    assert status == 2
    assert "expected a file of names" in err


def test_a_narrow_terminal_cuts_no_number(run, monkeypatch):
    _, wide, _ = run("evaluate", "s.parquet")
    monkeypatch.setenv("COLUMNS", "30")
    _, narrow, _ = run("evaluate", "s.parquet")
    assert "…" not in narrow
    assert re.findall(r"\d\.\d{6}", narrow) == re.findall(r"\d\.\d{6}", wide)


def test_colours_only_where_they_are_wanted(folder):
    for environment, coloured in (
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ):
        done = process(folder, "explain", "1", "2", env={"TERM": "xterm-256color", **environment})
        assert done.returncode == 0
        assert ("\x1b[1;36m" in done.stdout) == coloured
