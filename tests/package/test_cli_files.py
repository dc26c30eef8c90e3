"""The commands that read files: their numbers, their files, their exit statuses, also as processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lastlayer as ll
from lastlayer.cli.main import main

N, V = 400, 5
NAMES = ["ant", "bee", "cat", "dog", "emu"]


@pytest.fixture(scope="module")
def data():
    r = np.random.default_rng(3)
    z = r.normal(size=(N, V)) * 2
    return z, (z + r.gumbel(size=z.shape)).argmax(axis=1)


@pytest.fixture(scope="module")
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


def process(folder, *argv, **options):
    """The command as a process of its own."""
    environment = {**os.environ, "COLUMNS": "80", "OMP_WAIT_POLICY": "passive", **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "lastlayer", *map(str, argv)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip


# --- evaluate -----------------------------------------------------------------------------------------------


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


# --- merge, calibrate, check --------------------------------------------------------------------------------


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


# --- errors and interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["evaluate", "nowhere.npy"], "evaluate: scores is 'nowhere.npy'; expected a file, folder"),
        (["evaluate", "z.npy"], "evaluate: targets is None; expected"),
        (["evaluate", "s.csv", "--label", "x"], "evaluate: label is 'x'; expected a column of the table"),
        (["evaluate", "all.npz", "--kind", "x"], "'x' is not one of 'logits'"),
        (["evaluate", "all.npz", "--bins", "x"], "evaluate: invalid value for '--bins': expected a valid"),
        (["evaluate", "all.npz", "--bins", "0"], "bins is 0; expected an int of 1 or more"),
        (["evaluate", "all.npz", "--top-k", "1,x"], "--top-k is '1,x'; expected whole numbers"),
        (["evaluate", "all.npz", "--temperature", "-1"], "temperature is -1.0; expected a finite"),
        (["evaluate", "all.npz", "--temperature", "warm"], "--temperature is 'warm'; expected a number or"),
        (["evaluate", "all.npz", "--json", "no/r.json"], "--json is 'no/r.json'; expected a file in"),
        (["evaluate", "all.npz", "--predictions", "r.txt"], "--predictions is 'r.txt'; expected .par"),
        (["evaluate", "all.npz", "--jso", "x"], "evaluate: no such option: --jso"),
        (["evaluate"], "evaluate: missing argument 'SCORES'; try 'lastlayer evaluate --help'\n"),
        (["evalute", "x"], "lastlayer: no such command 'evalute' (did you mean 'evaluate'?); try 'lastl"),
        (["merge"], "merge: missing argument 'TALLY"),
        (["backends", "x"], "backends: got unexpected extra argument"),
        (["calibrate", "nowhere.npy"], "calibrate: scores is 'nowhere.npy'; expected a file, folder"),
        (["calibrate", "z.npy", "--label"], "calibrate: option '--label' requires an argument; try 'lastl"),
        (["calibrate", "z.npy", "y.npy", "--out", "no/t.json"], "calibrate: out is '"),
        (["calibrate", "all.npz", "--labels", "a"], "calibrate: labels is of 1 names; expected 5 names"),
        (["check", "nowhere.npy"], "check: scores is 'nowhere.npy'; expected a file, folder"),
        (["check", "all.npz", "--labels", "a"], "check: labels is of 1 names; expected 5 names"),
        (["check", "all.npz", "--binary"], "check: targets is of shape (400,); expected (400, 5), one for"),
        (["merge", "one.tally", "--tally", "no/t"], "merge: tally is '"),
        (["calibrate", "z.npy", "z.npy"], "targets"),
        (["check", "s.csv", "--columns", "site"], "site is a column of string; expected numbers"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_status_2_and_one_line(run, folder, argv, message):
    (folder / "one.tally").write_bytes(ll.Tally(3).to_bytes())
    status, out, err = run(*argv)
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("lastlayer: ")
    assert err.count("\n") == 1


def test_wrong_input_of_a_process(folder):
    done = process(folder, "evaluate", "nowhere.npy")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a process alone")
def test_ctrl_c_prints_the_result_so_far_and_exits_130(tmp_path):
    np.save(tmp_path / "z.npy", np.zeros((400_000, 100), np.float32))
    np.save(tmp_path / "y.npy", np.zeros(400_000, np.int64))
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "COLUMNS": "80"}
    words = ["evaluate", "z.npy", "y.npy", "--json", "r.json", "--checkpoint", "c.json"]
    # The process interrupts itself after its third block: a real signal, at a moment that does not vary.
    program = (
        "import os, signal, sys\n"
        "from lastlayer.evaluation.tally import Tally\n"
        "update, calls = Tally.update, []\n"
        "def counted(*a, **k):\n"
        "    update(*a, **k)\n"
        "    calls.append(1)\n"
        "    len(calls) == 3 and os.kill(os.getpid(), signal.SIGINT)\n"
        "Tally.update = counted\n"
        "from lastlayer.cli.main import main\n"
        f"sys.exit(main({words!r}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 130
    rows = re.match(r"([\d,]+) rows, logits\n", done.stdout)[1]
    assert 0 < int(rows.replace(",", "")) < 400_000
    assert done.stderr == f"lastlayer: interrupted after {rows} rows; no file of results was written\n"
    assert not (tmp_path / "r.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for a process alone")
def test_ctrl_c_before_any_row_is_silent(tmp_path):
    os.mkfifo(tmp_path / "names.json")  # the command waits for somebody to write to it
    child = subprocess.Popen(
        [sys.executable, "-m", "lastlayer", "merge", str(tmp_path / "names.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    writing = None
    while writing is None and child.poll() is None:
        time.sleep(0.05)
        with contextlib.suppress(OSError):  # nobody reads yet
            writing = os.open(tmp_path / "names.json", os.O_WRONLY | os.O_NONBLOCK)
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=60) == ("", "")
    assert child.returncode == 130
    os.close(writing)


@pytest.mark.skipif(os.name == "nt", reason="pipes close otherwise on Windows")
@pytest.mark.parametrize(
    "argv",
    [["evaluate", "all.npz"], ["evaluate", "all.npz", "--json", "-"], ["explain", "1", "2"], ["--help"]],
)
def test_a_closed_pipe_is_silent(folder, argv):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "lastlayer", *argv],
        cwd=folder, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_typer_the_remedy_is_named():
    program = (
        "import sys\n"
        "sys.modules['typer'] = None\n"
        "from lastlayer.cli.main import main\n"
        "sys.exit(main(['backends']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "lastlayer: this needs the package typer; run: pip install 'lastlayer[cli]'\n"


# --- Typer --------------------------------------------------------------------------------------------------


def test_the_app_runs_under_typers_runner(folder, monkeypatch):
    from typer.testing import CliRunner

    from lastlayer.cli.app import app

    monkeypatch.chdir(folder)
    runner = CliRunner()
    for words, shown in (
        (["evaluate", "all.npz"], "400 rows, logits"),
        (["calibrate", "all.npz"], "T = "),
        (["check", "all.npz"], "no findings"),
        (["explain", "1", "-2"], "The prediction is 0."),
        (["backends"], "reference"),
        (["--version"], ll.__version__),
    ):
        found = runner.invoke(app, words)
        assert found.exit_code == 0, found.output
        assert shown in found.output
    assert runner.invoke(app, ["evaluate", "all.npz", "--kind", "x"]).exit_code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(folder, shell):
    done = process(folder, env={"_LASTLAYER_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0
    assert "_LASTLAYER_COMPLETE" in done.stdout
    done = process(
        folder, "--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.returncode == 0
    assert "_LASTLAYER_COMPLETE" in done.stdout


def test_completion_knows_commands_options_and_words(folder):
    for words, expected in (("lastlayer ev", "evaluate"), ("lastlayer check --ki", "--kind")):
        done = process(
            folder,
            env={
                "_LASTLAYER_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split()) - 1),
            },
        )
        assert done.stdout.split() == [expected]
