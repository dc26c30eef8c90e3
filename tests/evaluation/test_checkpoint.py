"""Interruptions: whatever stops `evaluate`, rows are counted once and files stay whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from assertions import raises
from evaluations import N, V, assert_same, json_of

import lastlayer as ll
from lastlayer.evaluation import checkpoint, writing

pytestmark = pytest.mark.usefixtures("small_blocks")


@pytest.fixture
def always(monkeypatch):
    """A checkpoint after each block."""
    monkeypatch.setattr(checkpoint, "_EVERY", 0.0)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e9)


def stop_after(rows):
    def stop(done, *_):
        if done >= rows:
            raise KeyboardInterrupt

    return stop


# --- Ctrl-C -------------------------------------------------------------------------------------------------


def test_ctrl_c_has_the_rows_so_far(data):
    z, y, _ = data

    def stop(rows, total, n_bytes):
        assert total == N
        assert n_bytes == rows * V * 4
        if rows > 100:
            raise KeyboardInterrupt

    with pytest.raises(ll.EvaluationInterrupted) as caught:
        ll.evaluate(z, y, progress=stop)
    n = caught.value.tally.n
    assert 100 < n < N
    assert isinstance(caught.value, KeyboardInterrupt)
    assert_same(caught.value.tally.result(), ll.evaluate(z[:n], y[:n]))


def test_ctrl_c_in_the_middle_of_a_block(data, monkeypatch):
    """It waits until the block is counted: a tally is never that of half a block."""
    z, y, _ = data
    add, calls = ll.Tally.update, []

    def interrupted(self, *arguments, **more):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        add(self, *arguments, **more)

    monkeypatch.setattr(ll.Tally, "update", interrupted)
    with pytest.raises(ll.EvaluationInterrupted) as caught:
        ll.evaluate(z, y)
    monkeypatch.undo()
    n = caught.value.tally.n
    assert n == 3 * 37
    assert_same(caught.value.tally.result(), ll.evaluate(z[:n], y[:n]))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_where_nothing_can_be_saved(data, tmp_path):
    """The rows so far are not lost because they cannot be saved."""
    z, y, _ = data

    def stop(rows, *_):
        if rows > 100:
            (tmp_path / "folder").rmdir()
            raise KeyboardInterrupt

    (tmp_path / "folder").mkdir()
    with pytest.raises(ll.EvaluationInterrupted) as caught:
        ll.evaluate(z, y, progress=stop, checkpoint=tmp_path / "folder" / "c")
    assert 100 < caught.value.tally.n < N
    assert isinstance(caught.value.__cause__, ll.OptionError)


# --- checkpoints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 150, N])
def test_a_checkpoint_goes_on(data, tmp_path, rows):
    z, y, expected = data
    path = tmp_path / "c.json"
    with pytest.raises(ll.EvaluationInterrupted):
        ll.evaluate(z, y, progress=stop_after(rows), checkpoint=path)
    assert rows <= json.loads(path.read_text())["state"]["rows"] <= N
    seen = []
    found = ll.evaluate(z, y, checkpoint=path, progress=lambda *a: seen.append(a[0]))
    assert_same(found, expected)
    assert all(n > rows for n in seen)  # what is counted is not read again
    assert_same(ll.evaluate(z, y, checkpoint=path), expected)  # all of it is there


@pytest.mark.parametrize("name", ["probabilities", "constant", "NaN early", "NaN late", "dense"])
def test_a_checkpoint_has_the_findings_so_far(data, tmp_path, name):
    z, y, _ = data
    z = {"probabilities": ll.softmax(z), "constant": np.ones_like(z)}.get(name, z)
    row = {"NaN early": 5, "NaN late": 290}.get(name)
    z = z if row is None else np.where(np.arange(N)[:, None] == row, np.nan, z)
    y = np.eye(V)[y] if name == "dense" else y
    whole = ll.evaluate(z, y)
    assert whole.findings
    with pytest.raises(ll.EvaluationInterrupted):
        ll.evaluate(z, y, progress=stop_after(150), checkpoint=tmp_path / "c")
    assert json_of(ll.evaluate(z, y, checkpoint=tmp_path / "c")) == json_of(whole)


@pytest.mark.parametrize("form", ["table", "parquet", "csv", "npz", "shards", "targets"])
def test_a_checkpoint_of_any_source(data, table, tmp_path, form):
    z, y, _ = data
    path, targets = tmp_path / f"a.{form}", None
    if form == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=50)
    elif form == "csv":
        pytest.importorskip("pyarrow.csv").write_csv(table, path)
    elif form == "npz":
        np.savez_compressed(path, logits=z, targets=y)
    elif form == "table":
        path = table
    else:
        for i in range(3):
            np.savez(
                tmp_path / f"{i}.npz", logits=z[i * 100 : i * 100 + 100], targets=y[i * 100 : i * 100 + 100]
            )
        path, targets = str(tmp_path / "*.npz"), y if form == "targets" else None
    whole = ll.evaluate(path, targets)
    with pytest.raises(ll.EvaluationInterrupted):
        ll.evaluate(path, targets, progress=stop_after(150), checkpoint=tmp_path / "c")
    assert json_of(ll.evaluate(path, targets, checkpoint=tmp_path / "c")) == json_of(whole)


def test_a_checkpoint_of_another_run(data, tmp_path):
    z, y, _ = data
    path = tmp_path / "c"
    ll.evaluate(z, y, checkpoint=path)
    again = "; remove the file to begin again"
    with raises(
        ll.OptionError,
        f"evaluate: checkpoint is '{path}', of options.bins=15; expected options.bins=10{again}",
    ):
        ll.evaluate(z, y, checkpoint=path, bins=10)
    with pytest.raises(
        ll.OptionError, match=r"of source.scores.content='\w+'; expected source.scores.content='"
    ):
        ll.evaluate(z + 1, y, checkpoint=path)
    with pytest.raises(
        ll.OptionError, match=r"of source.scores.content='\w+'; expected source.scores.content='"
    ):
        ll.evaluate(z[:100], y[:100], checkpoint=path)
    with pytest.raises(ll.OptionError, match=r"of source.targets\[0\].content"):
        ll.evaluate(z, (y + 1) % V, checkpoint=path)
    with pytest.raises(ll.OptionError, match=r"of source.sample_weight.content=None"):
        ll.evaluate(z, y, sample_weight=np.ones(N), checkpoint=path)
    with raises(
        ll.OptionError,
        "evaluate: checkpoint is given; "
        "expected None with batches, which may come in another order the next time",
    ):
        ll.evaluate([(z, y)], checkpoint=path)


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors", "parquet", "csv", "hdf5", "targets", "array"])
def test_data_of_which_a_row_changed(data, tmp_path, monkeypatch, form):
    """A row that no sample holds: the rows before it are not mixed with the changed ones after it."""
    from lastlayer.evaluation.readers import files

    monkeypatch.setattr(files, "_PIECE", 1)  # of a large file it is a few bytes here and there
    z, y, _ = data

    def written(value):
        changed = z.copy()
        changed[153] = value
        path = tmp_path / f"a.{form}"
        if form in ("npy", "targets"):
            path = tmp_path / "a.npy"
            np.save(path, changed if form == "npy" else z)
        elif form == "npz":
            np.savez(path, logits=changed, targets=y)
        elif form == "safetensors":
            pytest.importorskip("safetensors.numpy").save_file({"logits": changed, "targets": y}, path)
        elif form == "hdf5":
            file = pytest.importorskip("h5py").File(path, "w")
            file["z"] = changed
            file.close()
        elif form != "array":
            pa = pytest.importorskip("pyarrow")
            columns = pa.table({f"logit:{k}": changed[:, k] for k in range(V)} | {"label": y})
            if form == "csv":
                pytest.importorskip("pyarrow.csv").write_csv(columns, path)
            else:
                pytest.importorskip("pyarrow.parquet").write_table(columns, path, use_dictionary=False)
        targets = None if form in ("npz", "safetensors", "parquet", "csv") else y
        if form == "targets":
            targets = tmp_path / "y.npy"
            np.save(targets, np.where(np.arange(N) == 153, int(value) % V, y))
        return path, targets, changed

    def evaluated(given, **more):
        path, targets, changed = given
        if form == "hdf5":
            with pytest.importorskip("h5py").File(path) as file:
                return ll.evaluate(file["z"], targets, checkpoint=tmp_path / "c", **more)
        return ll.evaluate(changed if form == "array" else path, targets, checkpoint=tmp_path / "c", **more)

    given = written(1)
    sizes = [os.path.getsize(part) for part in given[:2] if isinstance(part, os.PathLike) and part.exists()]
    with pytest.raises(ll.EvaluationInterrupted):
        evaluated(given, progress=stop_after(100))
    time.sleep(0.02)  # a file system counts time in steps of some milliseconds
    given = written(2)
    assert sizes == [os.path.getsize(p) for p in given[:2] if isinstance(p, os.PathLike) and p.exists()]
    with pytest.raises(
        ll.OptionError, match=r"checkpoint is '.*', of source.*; remove the file to begin again"
    ):
        evaluated(given)


def test_files_may_be_moved(data, tmp_path):
    z, y, expected = data
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "z.npy", z)
    with pytest.raises(ll.EvaluationInterrupted):
        ll.evaluate(tmp_path / "a" / "z.npy", y, progress=stop_after(100), checkpoint=tmp_path / "c")
    (tmp_path / "a").rename(tmp_path / "b")
    rows = []
    found = ll.evaluate(
        tmp_path / "b" / "z.npy", y, checkpoint=tmp_path / "c", progress=lambda n, *_: rows.append(n)
    )
    assert_same(found, expected)
    assert rows[0] > 111


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"schema": "other", "state": {}}', "[" * 100_000])
def test_what_is_no_checkpoint(data, tmp_path, text):
    z, y, _ = data
    (tmp_path / "c").write_text(text)
    with pytest.raises(ll.OptionError, match=r"expected a checkpoint \(.*\); remove the file to begin again"):
        ll.evaluate(z, y, checkpoint=tmp_path / "c")
    assert (tmp_path / "c").read_text() == text


def test_a_checkpoint_of_which_a_digit_changed(data, tmp_path):
    z, y, _ = data
    ll.evaluate(z, y, checkpoint=tmp_path / "c")
    saved = json.loads((tmp_path / "c").read_text())
    saved["state"]["tally"]["n"] += 1
    (tmp_path / "c").write_text(json.dumps(saved))
    with pytest.raises(ll.OptionError, match="its digest does not fit what it holds"):
        ll.evaluate(z, y, checkpoint=tmp_path / "c")


# --- files --------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """The system refuses to write: the file stays what it was, and nothing else is left."""
    path = tmp_path / "c.json"
    path.write_text("old")
    code = f"""
    import resource, signal
    from lastlayer.evaluation.writing import write_whole
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    try:
        write_whole("checkpoint", {str(path)!r}, b"x" * 1000)
    except Exception as error:
        print(type(error).__name__, error, end="")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    expected = f"evaluate: checkpoint is '{path}'; expected a file that can be written (File too large)"
    assert done.stdout == f"OptionError {expected}"
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["c.json"]


def test_a_folder_that_is_not_there(data, tmp_path):
    z, y, _ = data
    path = tmp_path / "nowhere" / "c"
    rule = "expected a file that can be written (No such file or directory)"
    with raises(ll.OptionError, f"evaluate: checkpoint is '{path}'; {rule}"):
        ll.evaluate(z, y, checkpoint=path)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    writing.write_whole("json", str(tmp_path / "b"), b"new")
    assert (tmp_path / "b").is_symlink()
    assert (tmp_path / "a").read_text() == "new"


# --- kill -9 ------------------------------------------------------------------------------------------------

RUN = """
import dataclasses, signal, sys
import lastlayer as ll
from lastlayer.evaluation import checkpoint
from lastlayer.evaluation.readers import arrays
checkpoint._EVERY, checkpoint._SHARE, arrays.BLOCK_BYTES = 0.0, 1e9, 5 * 4 * 8
folder, to_be_killed = sys.argv[1], sys.argv[2] == "killed"

def tell(rows, total, _):  # before the checkpoint of these rows is written
    print(rows, flush=True)
    if to_be_killed and rows == total:
        signal.pause()  # it never ends by itself, however late the kill comes

found = ll.evaluate(folder + "/z.npy", folder + "/y.npy", progress=tell, checkpoint=folder + "/c")
print(dataclasses.replace(found, run=None).to_json())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("count", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_killed_at_random_moments(data, tmp_path, count):
    z, y, _ = data
    z = np.where(np.arange(N)[:, None] == 7, np.nan, z)  # a finding, too, has to survive
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "y.npy", y)
    expected = json_of(ll.evaluate(tmp_path / "z.npy", tmp_path / "y.npy"))
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    r = np.random.default_rng(count)
    for _ in range(count):
        process = subprocess.Popen([*command, "killed"], stdout=subprocess.PIPE, text=True)
        moment = r.integers(0, N)
        while int(process.stdout.readline()) <= moment or not (tmp_path / "c").exists():
            pass  # the line of the last rows comes after the first checkpoint
        time.sleep(r.random() * 0.002)  # somewhere in reading, counting and writing
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        saved = json.loads((tmp_path / "c").read_text())["state"]["rows"]
        assert 0 < saved < N
        done = subprocess.run([*command, "whole"], capture_output=True, text=True, check=True)
        *rows, found = done.stdout.splitlines()
        assert found == expected
        assert [int(n) for n in rows] == [*range(saved + 8, N, 8), N]  # none is counted twice
        (tmp_path / "c").unlink()
