"""`evaluate` over arrays, batches, tables and files: always the numbers of one tally of all rows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
from assertions import raises

import lastlayer as ll

N, V = 300, 5
NAMES = ["ant", "bee", "cat", "dog", "emu"]


@pytest.fixture(scope="module")
def data():
    r = np.random.default_rng(0)
    z, y = r.normal(size=(N, V)).astype(np.float32) * 3, r.integers(0, V, N)
    tally = ll.Tally(V)
    tally.update(z, y, rows=np.arange(N))
    return z, y, tally.result()


def same(found, expected):
    """Whether two evaluations have the same numbers."""
    a, b = found.to_dict(), expected.to_dict()
    for name in ("findings", "labels"):
        del a[name], b[name]
    assert a == b


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of a few rows."""
    from lastlayer.evaluation.readers import arrays, tables

    monkeypatch.setattr(arrays, "BLOCK_BYTES", 37 * V * 4)
    monkeypatch.setattr(tables, "BLOCK_BYTES", 37 * V * 8)


# --- arrays and batches -------------------------------------------------------------------------------------


def test_arrays_and_tensors(data):
    z, y, expected = data
    same(ll.evaluate(z, y), expected)
    torch = pytest.importorskip("torch")
    same(ll.evaluate(torch.tensor(z), torch.tensor(y)), expected)


def test_sequences_have_positions(data):
    z, y, expected = data
    found = ll.evaluate(z.reshape(30, 10, V), y.reshape(30, 10))
    assert found.log_loss == expected.log_loss
    assert len(found.loss_by_position) == 10


def test_an_open_file_of_hdf5(data, tmp_path):
    h5py = pytest.importorskip("h5py")
    z, y, expected = data
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"] = z
        same(ll.evaluate(file["z"], y), expected)


def test_batches(data):
    z, y, expected = data
    parts = [(z[i : i + 64], y[i : i + 64]) for i in range(0, N, 64)]
    same(ll.evaluate(iter(parts)), expected)
    w = np.linspace(0, 1, N)
    dicts = ({"scores": z[i::3], "targets": y[i::3], "sample_weight": w[i::3]} for i in range(3))
    tally = ll.Tally(V)
    tally.update(z, y, sample_weight=w)
    assert ll.evaluate(dicts).log_loss == tally.result().log_loss


def test_a_data_loader(data):
    torch = pytest.importorskip("torch")
    z, y, expected = data
    dataset = torch.utils.data.TensorDataset(torch.tensor(z), torch.tensor(y))
    same(ll.evaluate(torch.utils.data.DataLoader(dataset, batch_size=50)), expected)


def test_what_else_is_said_of_rows(data):
    z, y, _ = data
    groups, documents = np.arange(N) % 3, np.arange(N) // 10
    tally = ll.Tally(V)
    tally.update(z, y, groups=groups, documents=documents, rows=np.arange(N))
    same(ll.evaluate(z, y, groups=groups, documents=documents), tally.result())


def test_findings_of_check(data):
    z, y, _ = data
    p = ll.softmax(z)
    assert {f.code for f in ll.evaluate(p, y).findings} == {f.code for f in ll.check(p, y)} != set()


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors"])
def test_files_of_arrays(data, tmp_path, form):
    z, y, expected = data
    path = str(tmp_path / f"scores.{form}")
    if form == "npy":
        np.save(path, z)
        np.save(tmp_path / "y.npy", y)
        same(ll.evaluate(path, str(tmp_path / "y.npy")), expected)
        same(ll.evaluate(path, y), expected)
        return
    if form == "npz":
        np.savez(path, logits=z, targets=y)
    else:
        pytest.importorskip("safetensors.numpy").save_file({"logits": z, "targets": y}, path)
    same(ll.evaluate(path), expected)
    same(ll.evaluate(path, label="targets", columns="logits"), expected)


def test_bfloat16(data, tmp_path):
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    z, y, _ = data
    half = torch.tensor(z).bfloat16()
    save({"logits": half, "targets": torch.tensor(y)}, tmp_path / "a.safetensors")
    same(ll.evaluate(tmp_path / "a.safetensors"), ll.evaluate(half, y))


def test_a_folder_of_shards(data, tmp_path):
    z, y, expected = data
    (tmp_path / "z").mkdir()
    (tmp_path / "y").mkdir()
    for i, part in enumerate(np.array_split(np.arange(N), 4)):
        np.save(tmp_path / "z" / f"{i}.npy", z[part])
        np.save(tmp_path / "y" / f"{i}.npy", y[part])
    same(ll.evaluate(tmp_path / "z", tmp_path / "y"), expected)
    same(ll.evaluate(str(tmp_path / "z" / "*.npy"), tmp_path / "y"), expected)


@pytest.fixture
def table(data):
    pa = pytest.importorskip("pyarrow")
    z, y, _ = data
    columns = {f"logit:{name}": z[:, j] for j, name in enumerate(NAMES)}
    return pa.table(columns | {"label": [NAMES[k] for k in y], "language": ["de", "en", "fr"] * 100})


def test_tables(data, table):
    _, _, expected = data
    found = ll.evaluate(table)
    same(found, expected)
    assert found.labels == tuple(NAMES)
    same(ll.evaluate(table.to_pandas()), expected)
    polars = pytest.importorskip("polars")
    same(ll.evaluate(polars.from_arrow(table)), expected)
    by_language = ll.evaluate(table, groups="language").loss_by_group
    assert set(by_language) == {"de", "en", "fr"}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_files_of_tables(data, table, tmp_path, form):
    _, _, expected = data
    for i in range(3):
        part, path = table.slice(i * 100, 100), tmp_path / f"{i}.{form}"
        if form == "parquet":
            pytest.importorskip("pyarrow.parquet").write_table(part, path, row_group_size=33)
        else:
            pytest.importorskip("pyarrow.csv").write_csv(part, path)
    found = ll.evaluate(tmp_path)
    if form == "parquet":
        same(found, expected)
    assert found.log_loss.value == pytest.approx(expected.log_loss.value, rel=1e-6)
    assert found.accuracy == expected.accuracy


def test_a_column_of_lists_and_what_the_file_says_of_its_kind(data, tmp_path):
    pa = pytest.importorskip("pyarrow")
    z, y, expected = data
    lists = pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), V)
    table = pa.table({"scores": lists, "y": y}, metadata={"lastlayer.kind": "logits"})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    same(ll.evaluate(tmp_path / "a.parquet", columns="scores", label="y"), expected)
    with raises(
        ll.OptionError,
        "evaluate: kind is 'probabilities'; expected 'logits', as the data says; pass kind='logits'",
    ):
        ll.evaluate(tmp_path / "a.parquet", columns="scores", label="y", kind="probabilities")


def test_gaps_in_a_csv(tmp_path):
    pytest.importorskip("pyarrow")
    text = "logit:a,logit:b,label\n1.0,2.0,a\n0.5,0.1,\n3.0,1.0,b\n,1.0,a\n"
    (tmp_path / "a.csv").write_text(text)
    found = ll.evaluate(tmp_path / "a.csv")
    assert (found.n, found.ignored, found.invalid) == (3, 1, 1)


# --- faults -------------------------------------------------------------------------------------------------


def test_wrong_files(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 3)))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ll.OptionError, match=r"evaluate: scores is '.*a.npy'; expected a file of arrays"):
        ll.evaluate(path, [0])
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ll.OptionError, match="Python objects"):
        ll.evaluate(path, [0])
    path.write_bytes(b"")
    with pytest.raises(ll.OptionError, match="expected a file of arrays"):
        ll.evaluate(path, [0])
    with raises(
        ll.OptionError,
        "evaluate: scores is 'nowhere.npy'; "
        "expected a file, folder or pattern of .npy, .npz, .safetensors, .parquet, .csv",
    ):
        ll.evaluate("nowhere.npy", [0])


def test_an_archive_that_grows(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logits.npy", b"\0" * (50 << 20))
    with pytest.raises(ll.OptionError, match="which grows from"):
        ll.evaluate(path, [0])


HEADERS = {
    "too long": (1 << 40, b"{}"),
    "no JSON": (4, b"{{{{"),
    "no object": (2, b"[]"),
    "outside": (None, {"logits": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 1 << 40]}}),
    "negative": (None, {"logits": {"dtype": "F32", "shape": [-1, -4], "data_offsets": [0, 16]}}),
    "other size": (None, {"logits": {"dtype": "F32", "shape": [9, 9], "data_offsets": [0, 16]}}),
    "other dtype": (None, {"logits": {"dtype": "F4", "shape": [2, 2], "data_offsets": [0, 16]}}),
    "no offsets": (None, {"logits": {"dtype": "F32", "shape": [2, 2]}}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_hostile_header(tmp_path, name):
    length, header = HEADERS[name]
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    (tmp_path / "a.safetensors").write_bytes(length.to_bytes(8, "little") + text + b"\0" * 16)
    with pytest.raises(ll.OptionError, match="expected a file of arrays"):
        ll.evaluate(tmp_path / "a.safetensors", [0, 0])


def test_what_does_not_fit(data, table):
    z, y, _ = data
    with raises(
        ll.ShapeError, "evaluate: targets is of length 299; expected 300 as scores has on its first axis"
    ):
        ll.evaluate(z, y[:-1])
    with raises(ll.OptionError, "evaluate: targets is None; expected the targets of scores, or their file"):
        ll.evaluate(z)
    with pytest.raises(ll.OptionError, match="label is 'who'; expected a column of the table"):
        ll.evaluate(table, label="who")
    with raises(
        ll.OptionError, "evaluate: scores is an iterable without a batch; expected at least one batch"
    ):
        ll.evaluate(iter([]))
    with pytest.raises(ll.TargetError, match=r"targets\[\d\] is 9"):
        ll.evaluate(z, np.where(np.arange(N) == 150, 9, y))


# --- interruptions ------------------------------------------------------------------------------------------


def test_ctrl_c_has_the_rows_so_far(data):
    z, y, _ = data

    def stop(rows, total, n_bytes):
        assert total == N
        assert n_bytes == rows * V * 4
        if rows > 100:
            raise KeyboardInterrupt

    with pytest.raises(ll.EvaluationInterrupted) as caught:
        ll.evaluate(z, y, progress=stop)
    assert 100 < caught.value.tally.n < N
    assert isinstance(caught.value, KeyboardInterrupt)


def test_a_checkpoint_goes_on(data, tmp_path, monkeypatch):
    from lastlayer.evaluation import stream

    monkeypatch.setattr(stream, "_EVERY", 0.0)
    z, y, expected = data
    path = tmp_path / "c.json"

    def stop(rows, *_):
        if rows > 150:
            raise KeyboardInterrupt

    with pytest.raises(ll.EvaluationInterrupted):
        ll.evaluate(z, y, progress=stop, checkpoint=path)
    assert 0 < json.loads(path.read_text())["rows"] < N
    same(ll.evaluate(z, y, checkpoint=path), expected)
    same(ll.evaluate(z, y, checkpoint=path), expected)  # all of it is there
    with pytest.raises(ll.OptionError, match="evaluate: checkpoint is of options"):
        ll.evaluate(z, y, checkpoint=path, bins=10)
    with pytest.raises(ll.OptionError, match="evaluate: checkpoint is of source"):
        ll.evaluate(z[:100], y[:100], checkpoint=path)
    path.write_text("{")
    with pytest.raises(ll.OptionError, match="expected a checkpoint"):
        ll.evaluate(z, y, checkpoint=path)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    from lastlayer.evaluation import stream

    path = tmp_path / "c.json"
    path.write_text("old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ll.OptionError, match="No space left on device"):
        stream.write_whole("checkpoint", str(path), b"new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["c.json"]


RUN = """
import sys, time
import numpy as np
import lastlayer as ll
from lastlayer.evaluation import stream
from lastlayer.evaluation.readers import arrays
stream._EVERY, arrays.BLOCK_BYTES = 0.0, 5 * 4 * 8
slow = (lambda *_: time.sleep(0.003)) if sys.argv[2] == "slow" else None
folder = sys.argv[1]
found = ll.evaluate(folder + "/z.npy", folder + "/y.npy", progress=slow, checkpoint=folder + "/c")
print(found.to_json())
"""


@pytest.mark.parametrize("count", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_killed_at_random_moments(data, tmp_path, count):
    z, y, expected = data
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "y.npy", y)
    command = [sys.executable, "-c", textwrap.dedent(RUN), str(tmp_path)]
    r = np.random.default_rng(count)
    killed = 0
    for _ in range(count):
        (tmp_path / "c").unlink(missing_ok=True)
        process = subprocess.Popen([*command, "slow"], stdout=subprocess.PIPE)
        try:
            process.wait(timeout=0.3 + r.random() * 0.5)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
        done = subprocess.run([*command, "fast"], capture_output=True, text=True, check=True)
        found, whole = json.loads(done.stdout), json.loads(expected.to_json())
        for name in ("findings", "labels"):
            del found[name], whole[name]
        assert found == whole
    assert killed
