"""Faults in data and files: `evaluate` says what is wrong, or gives the right result."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from assertions import raises
from evaluations import NAMES, N, V

import lastlayer as ll

pytestmark = pytest.mark.usefixtures("small_blocks")


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
        archive.writestr("logits.npy", b"\0" * (80 << 20))
    with pytest.raises(ll.OptionError, match="it grows from"):
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
    with pytest.raises(ll.TargetError, match=r"targets\[150\] is 9"):
        ll.evaluate(z, np.where(np.arange(N) == 150, 9, y))


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")  # of a header that is odd
@pytest.mark.parametrize("form", ["npy", "npz", "safetensors", "parquet", "csv"])
def test_any_byte_may_be_wrong(data, tmp_path, form):
    """A file of which a byte was changed, or the end lost: an error of `evaluate`, or a result."""
    z, y, _ = data
    z, y = z[:40], y[:40]
    path = tmp_path / f"a.{form}"
    targets = y if form == "npy" else None
    if form == "npy":
        np.save(path, z)
    elif form == "npz":
        np.savez_compressed(path, logits=z, targets=y)
    elif form == "safetensors":
        pytest.importorskip("safetensors.numpy").save_file({"logits": z, "targets": y}, path)
    else:
        pa = pytest.importorskip("pyarrow")
        table = pa.table({f"logit:{k}": z[:, k] for k in range(V)} | {"label": y})
        if form == "parquet":
            pytest.importorskip("pyarrow.parquet").write_table(table, path)
        else:
            pytest.importorskip("pyarrow.csv").write_csv(table, path)
    whole = path.read_bytes()
    r = np.random.default_rng(3)
    refused = read = 0
    for i in range(150):
        if i % 5 == 0:
            path.write_bytes(whole[: r.integers(len(whole))])
        else:
            broken = bytearray(whole)
            at = r.integers(min(len(broken), 600)) if i % 2 else -1 - r.integers(min(len(broken), 600))
            broken[at] ^= 1 << r.integers(8)
            path.write_bytes(broken)
        try:
            with np.errstate(all="ignore"):
                found = ll.evaluate(path, targets)
        except ll.LastlayerError as error:
            refused += error.function == "evaluate"
        else:
            read += found.n + found.ignored <= 41 or form == "csv"
    assert refused + read == 150
    assert refused > 20


def test_an_archive_whose_checksum_is_wrong(data, tmp_path):
    z, y, _ = data
    path = tmp_path / "a.npz"
    np.savez(path, logits=z, targets=y)
    broken = bytearray(path.read_bytes())
    broken[1000] ^= 1  # a score
    path.write_bytes(broken)
    with pytest.raises(ll.OptionError, match=r"Bad CRC-32 for file 'logits\.npy'"):
        ll.evaluate(path)


def test_an_archive_with_python_objects(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, logits=np.zeros((2, 2)), targets=np.array([None, 1], dtype=object), allow_pickle=True)
    with pytest.raises(ll.OptionError, match="it holds Python objects, which are not loaded"):
        ll.evaluate(path)
    assert ll.evaluate(path, [0, 1]).n == 2  # the other array is sound


def test_an_archive_whose_array_is_no_longer_whole(tmp_path):
    path = tmp_path / "a.npz"
    np.save(tmp_path / "z.npy", np.zeros((9, 3)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("logits.npy", (tmp_path / "z.npy").read_bytes()[:-8])
    with pytest.raises(ll.OptionError, match=r"208 bytes; 216 were expected for shape \(9, 3\) of float64"):
        ll.evaluate(path, [0] * 9)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b'{"x": 1, "x": 2}', b"\xff\xfe\x00\x00"]
)
def test_a_header_that_a_parser_may_not_survive(tmp_path, text):
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ll.OptionError, match="expected a file of arrays"):
        ll.evaluate(tmp_path / "a.safetensors", [0, 0])


# --- nothing there ------------------------------------------------------------------------------------------


def test_no_rows(tmp_path):
    found = ll.evaluate(np.empty((0, 3)), np.empty(0, int))
    assert (found.n, found.ignored) == (0, 0)
    assert np.isnan(found.log_loss.value)
    assert [f.code for f in found.findings] == ["no-rows"]
    np.save(tmp_path / "z.npy", np.empty((0, 3)))
    assert ll.evaluate(tmp_path / "z.npy", []).n == 0
    pytest.importorskip("pyarrow")
    (tmp_path / "a.csv").write_text("logit:a,logit:b,label\n")
    assert ll.evaluate(tmp_path / "a.csv").n == 0


def test_an_empty_file_or_folder(tmp_path):
    (tmp_path / "z").mkdir()
    with pytest.raises(ll.OptionError, match=r"expected a file, folder or pattern of \.npy"):
        ll.evaluate(tmp_path / "z", [0])
    for form in ("npy", "npz", "safetensors"):
        (tmp_path / f"a.{form}").write_bytes(b"")
        with pytest.raises(ll.OptionError, match="expected a file of arrays"):
            ll.evaluate(tmp_path / f"a.{form}", [0])
    pytest.importorskip("pyarrow")
    for form in ("parquet", "csv"):
        (tmp_path / f"a.{form}").write_bytes(b"")
        with pytest.raises(ll.OptionError, match="expected a readable table"):
            ll.evaluate(tmp_path / f"a.{form}")


# --- what does not belong together --------------------------------------------------------------------------


def test_what_a_name_says_of_the_kind(data, tmp_path):
    z, y, _ = data
    np.savez(tmp_path / "a.npz", probabilities=ll.softmax(z), targets=y)
    with raises(
        ll.OptionError,
        "evaluate: kind is 'logits'; expected 'probabilities', as the data says; pass kind='probabilities'",
    ):
        ll.evaluate(tmp_path / "a.npz")
    assert ll.evaluate(tmp_path / "a.npz", kind="probabilities").n == N
    assert ll.evaluate(tmp_path / "a.npz", columns="probabilities").n == N  # named, so it was looked at


def test_what_safetensors_say_of_the_kind(data, tmp_path):
    save, path = pytest.importorskip("safetensors.numpy").save_file, tmp_path / "a.safetensors"
    z, y, _ = data
    arrays = {"scores": ll.softmax(z), "targets": y}
    save(arrays, path, metadata={"lastlayer.kind": "probabilities"})
    with raises(
        ll.OptionError,
        "evaluate: kind is 'logits'; expected 'probabilities', as the data says; pass kind='probabilities'",
    ):
        ll.evaluate(path)
    assert ll.evaluate(path, kind="probabilities").n == N


def test_both_kinds_in_one_table(data, table):
    pa = pytest.importorskip("pyarrow")
    z, _, expected = data
    for j, name in enumerate(NAMES):
        table = table.append_column(f"probability:{name}", pa.array(ll.softmax(z.astype(float))[:, j]))
    assert ll.evaluate(table).accuracy == expected.accuracy
    found = ll.evaluate(table, kind="probabilities")
    assert found.kind == "probabilities"
    assert found.log_loss.value == pytest.approx(expected.log_loss.value, rel=1e-6)


def test_files_that_differ(data, table, tmp_path):
    write = pytest.importorskip("pyarrow.parquet").write_table
    write(table, tmp_path / "0.parquet")
    write(table.drop_columns(["logit:cat"]), tmp_path / "1.parquet")
    with pytest.raises(
        ll.OptionError, match=r"1.parquet' without it; expected a column 'logit:cat' as the fir"
    ):
        ll.evaluate(tmp_path)
    write(table.replace_schema_metadata({"lastlayer.kind": "probabilities"}), tmp_path / "1.parquet")
    with pytest.raises(
        ll.OptionError, match=r"1.parquet' of probabilities; expected no kind as the first file"
    ):
        ll.evaluate(tmp_path)
    z, y, _ = data
    np.savez(tmp_path / "0.npz", logits=z, targets=y)
    np.savez(tmp_path / "1.npz", logits=z[:, :4], targets=y % 4)
    with pytest.raises(
        ll.OptionError, match=r"of 4 classes and 5, .*; expected files of the same classes and"
    ):
        ll.evaluate(str(tmp_path / "*.npz"))
    with pytest.raises(ll.OptionError, match=r"with \.npz and \.parquet; expected files of one form"):
        ll.evaluate(tmp_path)


def test_targets_of_another_length(data, table, tmp_path):
    z, y, _ = data
    for i in range(3):
        np.save(tmp_path / f"z{i}.npy", z[i * 100 : i * 100 + 100])
        np.save(tmp_path / f"y{i + 1}.npy", y[i * 100 : i * 100 + 100])
    files = str(tmp_path / "z*.npy")
    rule = "expected 300, as all files together have on their first axis"
    for targets in (y[:-1], [0] * 299):
        with raises(ll.ShapeError, f"evaluate: targets is of length 299; {rule}"):
            ll.evaluate(files, targets)
    with pytest.raises(
        ll.OptionError, match=r"targets is '.*y1.npy'; expected the file of the targets of '.*z0"
    ):
        ll.evaluate(files, str(tmp_path / "y*.npy"))
    np.save(tmp_path / "y0.npy", y[:99])
    (tmp_path / "y3.npy").unlink()
    with raises(
        ll.ShapeError, "evaluate: targets is of length 99; expected 100 as scores has on its first axis"
    ):
        ll.evaluate(files, str(tmp_path / "y*.npy"))
    with raises(ll.ShapeError, "evaluate: targets is of length 10; expected 300 rows as scores has"):
        ll.evaluate(table, y[:10])
    csv = pytest.importorskip("pyarrow.csv")
    csv.write_csv(table.slice(0, 20), tmp_path / "a.csv")
    for n, rule in ((10, "one for each row of scores, which has more"), (30, "20 rows as scores has")):
        with raises(ll.ShapeError, f"evaluate: targets is of length {n}; expected {rule}"):
            ll.evaluate(tmp_path / "a.csv", y[:n])


def test_rows_are_named_by_their_number_among_all(data, table):
    pa = pytest.importorskip("pyarrow")
    z, y, _ = data
    rule = "expected a class in [0, 5) or ignore_index=-100; unknown='wrong' counts such rows as wrong"
    bad = np.where(np.arange(N) == 257, 7, y)
    with raises(ll.TargetError, f"evaluate: targets[257] is 7; {rule}"):
        ll.evaluate(z, bad)
    with raises(ll.TargetError, f"evaluate: targets[25, 7] is 7; {rule}"):
        ll.evaluate(z.reshape(30, 10, V), bad.reshape(30, 10))
    names = [NAMES[k] for k in y]
    names[211] = "fox"
    wrong = table.drop_columns(["label"]).append_column("label", pa.array(names))
    with raises(
        ll.TargetError,
        "evaluate: targets[211] is 'fox'; expected one of labels ('ant', 'bee', 'cat', 'dog', 'emu'); "
        "unknown='wrong' counts such rows as wrong",
    ):
        ll.evaluate(wrong)
    assert ll.evaluate(wrong, unknown="wrong").unknown_labels == ("fox",)
    with raises(
        ll.OptionError,
        "evaluate: sample_weight[120] is -1.0; expected a weight of 0 or more, at most 2^32",
    ):
        ll.evaluate(z, y, sample_weight=np.where(np.arange(N) == 120, -1.0, 1.0))


def test_wrong_types(data, table):
    pa = pytest.importorskip("pyarrow")
    z, y, _ = data
    with pytest.raises(ll.DtypeError, match="evaluate: scores is of dtype complex64; expected real numbers"):
        ll.evaluate(z.astype(complex).astype(np.complex64), y)
    with pytest.raises(ll.DtypeError, match=r"evaluate: targets is of dtype .*; expected class indices"):
        ll.evaluate(z, [NAMES[k] for k in y])
    with pytest.raises(
        ll.DtypeError, match="evaluate: scores is a int; expected an array, a table, an itera"
    ):
        ll.evaluate(3, y)
    text = table.drop_columns(["logit:bee"]).append_column("logit:bee", pa.array(["x"] * N))
    with raises(ll.DtypeError, "evaluate: logit:bee is a column of string; expected numbers"):
        ll.evaluate(text)
    lists = pa.table({"z": [[1.0, 2.0], [1.0, 2.0, 3.0]], "label": [0, 1]})
    with raises(ll.ShapeError, "evaluate: z[1] is of length 3; expected 2"):
        ll.evaluate(lists, columns="z")
    gaps = pa.table({"z": [[1.0, 2.0], None], "label": [0, 1]})
    with raises(ll.DtypeError, "evaluate: z[1] is missing; expected scores in each row"):
        ll.evaluate(gaps, columns="z")
    numbers = table.append_column("g", pa.array([1, None] * (N // 2)))
    with pytest.raises(
        ll.DtypeError, match=r"evaluate: groups\[1\] is missing; expected a value in each row"
    ):
        ll.evaluate(numbers, groups="g")


def test_what_is_no_batch(data):
    z, y, _ = data
    for batch, text in (
        ((z, y, y), "a tuple of 3; expected (scores, targets), or a dict with these names"),
        ("zy", "a str; expected (scores, targets), or a dict with these names"),
    ):
        with raises(ll.DtypeError, f"evaluate: batch[1] is {text}"):
            ll.evaluate(iter([(z, y), batch]))
    with raises(
        ll.OptionError, "evaluate: batch[0] is with keys ['scores']; expected 'scores' and 'targets'"
    ):
        ll.evaluate(iter([{"scores": z}]))
    with pytest.raises(
        ll.OptionError, match=r"evaluate: batch\[0\] is with keys \['weights'\]; expected no oth"
    ):
        ll.evaluate([{"scores": z, "targets": y, "weights": y}])
    with pytest.raises(
        ll.ShapeError, match=r"evaluate: scores is of shape \(300, 4\); expected 5 classes on"
    ):
        ll.evaluate([(z, y), (z[:, :4], y)])
    with raises(
        ll.OptionError,
        "evaluate: groups is given with an iterable of batches; "
        "expected None: batches are dicts that hold it",
    ):
        ll.evaluate([(z, y)], groups=[0] * N)


def test_what_scores_and_options_may_be(data):
    z, y, _ = data
    with raises(
        ll.DtypeError,
        "evaluate: scores is a dict; expected an iterable of batches; pass [scores] for a single batch",
    ):
        ll.evaluate({"scores": z, "targets": y})
    with raises(TypeError, "evaluate() got an unexpected keyword argument 'bin'"):
        ll.evaluate(z, y, bin=10)
    with raises(ll.OptionError, "evaluate: bins is 0; expected an int of 1 or more"):
        ll.evaluate(z, y, bins=0)
    with raises(ll.OptionError, "evaluate: classes is 0; expected an int of 1 or more"):
        ll.evaluate(z[:, :0], y)
    pd = pytest.importorskip("pandas")
    with raises(
        ll.OptionError, "evaluate: columns is '7'; expected a column of the table ('0', '1', '2', '3', '4')"
    ):
        ll.evaluate(pd.DataFrame(z), y, columns=[0, 1, 7])
    assert ll.evaluate(pd.DataFrame(z), y, columns=range(V)).n == N


def test_what_progress_may_be(data):
    z, y, _ = data
    with raises(
        ll.DtypeError,
        "evaluate: progress is a str; expected True, None or a function of (rows, total, bytes)",
    ):
        ll.evaluate(z, y, progress="yes")
    assert ll.evaluate(z, y, progress=True).n == N  # without a terminal it shows nothing
