"""`evaluate` over arrays, batches, tables and files: always the numbers of one tally of all rows."""

from __future__ import annotations

import numpy as np
import pytest
from assertions import raises
from evaluations import NAMES, N, V, assert_same

import lastlayer as ll

pytestmark = pytest.mark.usefixtures("small_blocks")

# --- arrays and batches -------------------------------------------------------------------------------------


def test_arrays_and_tensors(data):
    z, y, expected = data
    assert_same(ll.evaluate(z, y), expected)
    torch = pytest.importorskip("torch")
    assert_same(ll.evaluate(torch.tensor(z), torch.tensor(y)), expected)


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
        assert_same(ll.evaluate(file["z"], y), expected)


def test_batches(data):
    z, y, expected = data
    parts = [(z[i : i + 64], y[i : i + 64]) for i in range(0, N, 64)]
    assert_same(ll.evaluate(iter(parts)), expected)
    w = np.linspace(0, 1, N)
    dicts = ({"scores": z[i::3], "targets": y[i::3], "sample_weight": w[i::3]} for i in range(3))
    tally = ll.Tally(V)
    tally.update(z, y, sample_weight=w)
    assert ll.evaluate(dicts).log_loss == tally.result().log_loss


def test_a_data_loader(data):
    torch = pytest.importorskip("torch")
    z, y, expected = data
    dataset = torch.utils.data.TensorDataset(torch.tensor(z), torch.tensor(y))
    assert_same(ll.evaluate(torch.utils.data.DataLoader(dataset, batch_size=50)), expected)


def test_what_else_is_said_of_rows(data):
    z, y, _ = data
    groups, documents = np.arange(N) % 3, np.arange(N) // 10
    tally = ll.Tally(V)
    tally.update(z, y, groups=groups, documents=documents, rows=np.arange(N))
    assert_same(ll.evaluate(z, y, groups=groups, documents=documents), tally.result())


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
        assert_same(ll.evaluate(path, str(tmp_path / "y.npy")), expected)
        assert_same(ll.evaluate(path, y), expected)
        return
    if form == "npz":
        np.savez(path, logits=z, targets=y)
    else:
        pytest.importorskip("safetensors.numpy").save_file({"logits": z, "targets": y}, path)
    assert_same(ll.evaluate(path), expected)
    assert_same(ll.evaluate(path, label="targets", columns="logits"), expected)


def test_bfloat16(data, tmp_path):
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    z, y, _ = data
    half = torch.tensor(z).bfloat16()
    save({"logits": half, "targets": torch.tensor(y)}, tmp_path / "a.safetensors")
    assert_same(ll.evaluate(tmp_path / "a.safetensors"), ll.evaluate(half, y))


def test_a_folder_of_shards(data, tmp_path):
    z, y, expected = data
    (tmp_path / "z").mkdir()
    (tmp_path / "y").mkdir()
    for i, part in enumerate(np.array_split(np.arange(N), 4)):
        np.save(tmp_path / "z" / f"{i}.npy", z[part])
        np.save(tmp_path / "y" / f"{i}.npy", y[part])
    assert_same(ll.evaluate(tmp_path / "z", tmp_path / "y"), expected)
    assert_same(ll.evaluate(str(tmp_path / "z" / "*.npy"), tmp_path / "y"), expected)


def test_tables(data, table):
    _, _, expected = data
    found = ll.evaluate(table)
    assert_same(found, expected)
    assert found.labels == tuple(NAMES)
    assert_same(ll.evaluate(table.to_pandas()), expected)
    polars = pytest.importorskip("polars")
    assert_same(ll.evaluate(polars.from_arrow(table)), expected)
    categories = polars.from_arrow(table).with_columns(polars.col("label").cast(polars.Categorical))
    assert_same(ll.evaluate(categories), expected)
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
        assert_same(found, expected)
    assert found.log_loss.value == pytest.approx(expected.log_loss.value, rel=1e-6)
    assert found.accuracy == expected.accuracy


def test_a_column_of_lists_and_what_the_file_says_of_its_kind(data, tmp_path):
    pa = pytest.importorskip("pyarrow")
    z, y, expected = data
    lists = pa.FixedSizeListArray.from_arrays(pa.array(z.reshape(-1)), V)
    table = pa.table({"scores": lists, "y": y}, metadata={"lastlayer.kind": "logits"})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    assert_same(ll.evaluate(tmp_path / "a.parquet", columns="scores", label="y"), expected)
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


def test_any_class_axis(data):
    z, y, expected = data
    assert_same(ll.evaluate(np.ascontiguousarray(z.T), y, axis=0), expected)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_blocks_divide_any_row_axis(data, axis):
    """Rows of several axes are read in boxes; positions and row numbers are those of the whole array."""
    z, y, _ = data
    z, y = np.moveaxis(z.reshape(2, 50, 3, V), -1, axis), y.reshape(2, 50, 3)
    whole = ll.Tally(V, axis=axis)
    whole.update(z, y, rows=np.arange(N).reshape(2, 50, 3), groups=y % 2)
    assert_same(ll.evaluate(z, y, axis=axis, groups=y % 2), whole.result())


@pytest.mark.parametrize("form", ["npy", "npz", "compressed npz", "Fortran npz"])
@pytest.mark.parametrize("shape", [(2, 150), (300, 1)])
def test_sequences_of_files(data, tmp_path, form, shape):
    z, y, _ = data
    z, y = z.reshape(*shape, V), y.reshape(shape)
    whole = ll.Tally(V)
    whole.update(z, y, rows=np.arange(N).reshape(shape))
    z = np.asfortranarray(z) if form == "Fortran npz" else z
    if form == "npy":
        np.save(tmp_path / "z.npy", z)
        assert_same(ll.evaluate(tmp_path / "z.npy", y), whole.result())
        return
    save = np.savez_compressed if form == "compressed npz" else np.savez
    save(tmp_path / "z.npz", logits=z, targets=y)
    assert_same(ll.evaluate(tmp_path / "z.npz"), whole.result())


def test_batches_are_read_again_where_they_can_be(data):
    z, y, _ = data
    parts = [(z[:100], y[:100]), (z[100:], y[100:])]
    assert ll.fit_temperature(parts).value == pytest.approx(ll.fit_temperature(z, y).value, rel=1e-9)
    text = "data that is read several times: a list of batches, a DataLoader, arrays, files"
    with raises(
        ll.DtypeError, f"fit_temperature: scores is a list_iterator, which is read once; expected {text}"
    ):
        ll.fit_temperature(iter(parts))


# --- targets of their own -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["array", "list", "npy", "npz", "csv", "parquet"])
def test_targets_of_their_own(data, scores_files, tmp_path, form):
    pa = pytest.importorskip("pyarrow")
    z, y, expected = data
    targets = {"array": y, "list": y.tolist()}.get(form, tmp_path / f"y.{form}")
    if form == "npy":
        np.save(targets, y)
    elif form == "npz":
        np.savez_compressed(targets, targets=y)
    elif form == "csv":
        pytest.importorskip("pyarrow.csv").write_csv(pa.table({"label": y}), targets)
    elif form == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(pa.table({"label": y, "id": y}), targets)
    for scores in (z, *scores_files):
        assert_same(ll.evaluate(scores, targets), expected)


def test_an_empty_line_of_a_csv_of_one_column_is_a_missing_label(data, tmp_path):
    """Arrow writes a missing value so; beside other columns an empty line is no row."""
    pa, csv = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.csv")
    z, y, _ = data
    gaps = [None if i % 7 == 0 else int(k) for i, k in enumerate(y)]
    csv.write_csv(pa.table({"label": gaps}), tmp_path / "y.csv")
    found = ll.evaluate(z, tmp_path / "y.csv")
    assert_same(found, ll.evaluate(z, np.where(np.arange(N) % 7 == 0, -100, y)))
    (tmp_path / "two.csv").write_text("label,id\n1,a\n\n0,b\n\n")
    assert ll.evaluate(np.eye(2), tmp_path / "two.csv").n == 2


def test_names_of_their_own(data, scores_files):
    pd = pytest.importorskip("pandas")
    z, y, expected = data
    names = [NAMES[k] for k in y]
    for scores in (z, *scores_files):
        for targets in (names, np.array(names), pd.Series(names), pd.Series(names, dtype="category")):
            assert_same(ll.evaluate(scores, targets, labels=NAMES), expected)


def test_names_of_their_own_beside_a_table(data, table, tmp_path):
    """The columns of the scores name the classes; the targets are in another file, list or Series."""
    pa, csv, parquet = (pytest.importorskip(f"pyarrow{part}") for part in ("", ".csv", ".parquet"))
    _, _, expected = data
    scores = table.drop_columns(["label"])
    parquet.write_table(scores, tmp_path / "scores.parquet")
    csv.write_csv(table.select(["label"]), tmp_path / "labels.csv")
    for given in (scores, tmp_path / "scores.parquet"):
        for targets in (table["label"].to_pylist(), table["label"].to_pandas(), tmp_path / "labels.csv"):
            found = ll.evaluate(given, targets)
            assert_same(found, expected)
            assert found.labels == tuple(NAMES)
    moved = scores.select([f"logit:{name}" for name in NAMES[::-1]])
    named = ll.evaluate(moved, table["label"].to_pylist())
    assert named.accuracy == expected.accuracy
    numbers = pa.table({f"logit:{k}": table[f"logit:{NAMES[k]}"] for k in (4, 3, 2, 1, 0)})
    assert ll.evaluate(numbers, data[1]).accuracy == expected.accuracy


def test_targets_with_gaps(data):
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    z, y, _ = data
    gap = np.arange(N) % 7 == 0
    expected = ll.evaluate(z, np.where(gap, -100, y))
    given = [None if g else int(k) for g, k in zip(gap, y, strict=True)]
    for targets in (given, pd.Series(given, dtype="Int64"), pd.Series(given), pl.Series(given)):
        assert_same(ll.evaluate(z, targets), expected)
    names = [None if k is None else NAMES[k] for k in given]
    for targets in (names, pd.Series(names), pd.Series(names, dtype="category"), pl.Series(names)):
        assert_same(ll.evaluate(z, targets, labels=NAMES), expected)


def test_facts_beside_files(data, scores_files):
    z, y, _ = data
    facts = {
        "sample_weight": np.linspace(0, 2, N),
        "groups": np.arange(N) % 3,
        "documents": np.arange(N) // 9,
    }
    expected = ll.evaluate(z, y, **facts)
    for scores in scores_files:
        assert_same(ll.evaluate(scores, y, **facts), expected)


# --- what a table says --------------------------------------------------------------------------------------


def test_classes_that_are_numbers_in_another_order(data):
    """A column "logit:2" holds the scores of class 2, wherever it stands."""
    pa = pytest.importorskip("pyarrow")
    z, y, expected = data
    order = [2, 0, 1, 4, 3]
    table = pa.table({f"logit:{k}": z[:, k] for k in order} | {"label": y})
    found = ll.evaluate(table)
    assert found.labels == tuple(map(str, order))
    assert found.log_loss.value == pytest.approx(expected.log_loss.value, rel=1e-8)  # of float32 sums
    assert found.by_class.recall[1] == expected.by_class.recall[0]


@pytest.mark.parametrize("name", ["NA", "null", "NaN", "None", "1.0", "true"])
def test_a_class_of_any_name_in_a_csv(tmp_path, name):
    """Nothing but an empty label is missing."""
    pytest.importorskip("pyarrow")
    text = f"logit:{name},logit:b,label\n2.0,1.0,{name}\n2,1,b\n3,4,\n"
    (tmp_path / "a.csv").write_text(text)
    found = ll.evaluate(tmp_path / "a.csv")
    assert (found.n, found.ignored, found.accuracy.value) == (2, 1, 0.5)
    assert found.by_class.support.tolist() == [1, 1]


def test_a_csv_whose_first_rows_are_whole_numbers(tmp_path):
    pytest.importorskip("pyarrow")
    rows = ["1,2,0"] * 200_000 + ["1.5,2,1"]  # more than Arrow looks at to guess a column's type
    (tmp_path / "a.csv").write_text("logit:0,logit:1,label\n" + "\n".join(rows) + "\n")
    assert ll.evaluate(tmp_path / "a.csv").n == 200_001


@pytest.mark.parametrize("kind", ["list", "large_list", "fixed_size_list"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_lists_of_scores(data, kind, dtype):
    pa = pytest.importorskip("pyarrow")
    z, y, _ = data
    kind = getattr(pa, "list_" if kind != "large_list" else kind)
    inner = {"float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64()}[dtype]
    kind = kind(inner, V) if kind is pa.list_ and dtype == "float32" else kind(inner)
    rows = list(z.astype(dtype))
    table = pa.table({"z": pa.array(rows, kind), "label": y})
    assert_same(ll.evaluate(table.slice(10), columns="z"), ll.evaluate(z[10:].astype(dtype), y[10:]))


def test_binary_scores_of_a_table(data):
    pa = pytest.importorskip("pyarrow")
    z, y, _ = data
    p, y = 1 / (1 + np.exp(-z[:, 0].astype(float))), y % 2
    table = pa.table({"p": p, "label": y})
    found = ll.evaluate(table, columns="p", kind="probabilities", binary=True)
    assert_same(found, ll.evaluate(p, y, kind="probabilities", binary=True))


def test_groups_with_gaps(data, table):
    z, y, _ = data
    pa = pytest.importorskip("pyarrow")
    names = [None if k % 5 == 0 else f"g{k % 3}" for k in range(N)]
    found = ll.evaluate(table.append_column("g", pa.array(names)), groups="g")
    assert sorted(found.loss_by_group) == ["", "g0", "g1", "g2"]
    assert_same(found, ll.evaluate(z, y, groups=["" if g is None else g for g in names]))
